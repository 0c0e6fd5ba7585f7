#!/usr/bin/python
"""Ansible module: services answer who shows a certificate."""

from __future__ import annotations

DOCUMENTATION = """
module: dwcp_answers
short_description: Waits until services answer over TLS to a client with a certificate
description:
  - Asked from the host itself, one after the other. Changes nothing, and asks nothing in check mode.
options:
  urls: {description: What is asked with GET; each has to answer with status 200., type: list, elements: str, required: true}
  ca: {description: The CA that the services' certificates come from., type: path, required: true}
  certificate: {description: The client's certificate., type: path, required: true}
  key: {description: The key of it., type: path, required: true}
  wait_s: {description: Seconds after which the task fails., type: float, default: 20}
author: [DWCP]
"""

EXAMPLES = """
- name: The exporter answers
  dwcp_answers:
    urls: ["https://web-1:9100/metrics"]
    ca: /etc/dwcp/tls/ca.crt
    certificate: /etc/dwcp/tls/agent.crt
    key: /etc/dwcp/tls/agent.key
"""

RETURN = """
answered:
  description: Who answered.
  type: list
  returned: always
"""

import http.client  # noqa: E402
import ssl  # noqa: E402
import time  # noqa: E402
from urllib.parse import urlsplit  # noqa: E402

from ansible.module_utils.basic import AnsibleModule  # noqa: E402

ONE_S = 5.0
PAUSE_S = 0.2


def trouble(url, context):
    """Why ``url`` does not answer as it should; empty when it does."""
    parts = urlsplit(url)
    connection = http.client.HTTPSConnection(parts.hostname, parts.port, timeout=ONE_S, context=context)
    try:
        connection.request("GET", parts.path or "/")
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return str(error) or type(error).__name__
    finally:
        connection.close()
    return "" if status == 200 else f"it answered with status {status}"


def main():
    module = AnsibleModule(
        argument_spec={
            "urls": {"type": "list", "elements": "str", "required": True},
            "ca": {"type": "path", "required": True},
            "certificate": {"type": "path", "required": True},
            "key": {"type": "path", "required": True, "no_log": False},
            "wait_s": {"type": "float", "default": 20.0},
        },
        supports_check_mode=True,
    )
    if module.check_mode:
        module.exit_json(changed=False, answered=[], skipped=True)
    answered = []
    deadline = time.monotonic() + module.params["wait_s"]
    try:
        context = ssl.create_default_context(cafile=module.params["ca"])
        context.load_cert_chain(module.params["certificate"], module.params["key"])
    except OSError as error:
        module.fail_json(msg=f"the client's certificate cannot be used: {error}", answered=answered)
    for url in module.params["urls"]:
        while True:
            why = trouble(url, context)
            if not why:
                break
            if time.monotonic() >= deadline:
                module.fail_json(msg=f"{url} does not answer: {why}", answered=answered)
            time.sleep(PAUSE_S)
        answered.append(url)
    module.exit_json(changed=False, answered=answered)


if __name__ == "__main__":
    main()
