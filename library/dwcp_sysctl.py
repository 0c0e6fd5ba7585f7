#!/usr/bin/python
"""Ansible module: kernel settings, as far as this host owns them."""

from __future__ import annotations

DOCUMENTATION = """
module: dwcp_sysctl
short_description: Sets the kernel settings that this host owns, and says which ones it left out
description:
  - A container shares the kernel with its machine. There, only C(net.ipv4.*) is the host's own; everything else would change the machine
    below and everyone on it, so it is left out even when it could be written.
  - A setting that this kernel does not have, or a congestion control it has not loaded, is left out too.
  - What is set is read back.
options:
  values: {description: Settings by name., type: dict, required: true}
  path: {description: File that keeps the settings across reboots., type: path, default: /etc/sysctl.d/60-dwcp.conf}
author: [DWCP]
"""

EXAMPLES = """
- name: Kernel settings are in force
  dwcp_sysctl:
    values: {net.ipv4.tcp_mtu_probing: 1}
"""

RETURN = """
applied: {description: Settings in force., type: dict, returned: always}
left_out: {description: Why a setting was left out, by name., type: dict, returned: always}
"""

import os  # noqa: E402
from pathlib import Path  # noqa: E402

from ansible.module_utils.basic import AnsibleModule  # noqa: E402

CONGESTION = "net.ipv4.tcp_congestion_control"


def proc(name):
    return Path("/proc/sys", *name.split("."))


def read(name):
    return " ".join(proc(name).read_text().split())


def reason_to_leave_out(name, value, contained):
    """Why ``name`` is not for this host to set; None when it is."""
    if contained and not name.startswith("net.ipv4."):
        return "belongs to the machine below this container"
    if not proc(name).exists():
        return "this kernel has no such setting here"
    if name == CONGESTION and value not in read("net.ipv4.tcp_available_congestion_control").split():
        return f"this kernel has no {value}"
    return None


def main():
    module = AnsibleModule(
        argument_spec={"values": {"type": "dict", "required": True}, "path": {"type": "path", "default": "/etc/sysctl.d/60-dwcp.conf"}},
        supports_check_mode=True,
    )
    rc, virtual, _ = module.run_command(["systemd-detect-virt", "--container"])
    if virtual.strip() == "":
        module.fail_json(msg="systemd-detect-virt does not say whether this host is a container, so what it owns is unknown")
    contained = rc == 0
    wanted = {name: " ".join(str(value).split()) for name, value in module.params["values"].items()}
    left_out = {}
    for name, value in wanted.items():
        reason = reason_to_leave_out(name, value, contained)
        if reason:
            left_out[name] = reason
    applied = {name: value for name, value in wanted.items() if name not in left_out}
    different = sorted(name for name, value in applied.items() if read(name) != value)
    text = "".join(f"{name} = {value}\n" for name, value in sorted(applied.items()))
    path = Path(module.params["path"])
    try:
        kept = path.read_text()
    except FileNotFoundError:
        kept = None
    changed = bool(different) or kept != text
    if changed and not module.check_mode:
        for name in different:
            try:
                proc(name).write_text(applied[name])
            except OSError as error:
                module.fail_json(msg=f"{name} cannot be set to {applied[name]}: {error.strerror}")
            if read(name) != applied[name]:
                module.fail_json(msg=f"{name} is {read(name)} after it was set to {applied[name]}")
        if kept != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            fresh = path.with_name(path.name + ".new")
            with fresh.open("w") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            fresh.chmod(0o644)
            fresh.rename(path)
    if left_out:
        module.warn("left out: " + "; ".join(f"{name} ({why})" for name, why in sorted(left_out.items())))
    module.exit_json(changed=changed, applied=applied, left_out=left_out, container=virtual.strip())


if __name__ == "__main__":
    main()
