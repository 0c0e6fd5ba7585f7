#!/usr/bin/python
"""Ansible module: several systemd units, in one task."""

from __future__ import annotations

DOCUMENTATION = """
module: dwcp_units
short_description: Units run, now and after a reboot
description:
  - Each unit is unmasked, enabled and active when the task ends; one that is so already is not touched.
  - Units are read anew first when systemd says that what it knows is not what is on disk.
options:
  units: {description: Names of units with their suffix., type: list, elements: str, required: true}
author: [DWCP]
"""

EXAMPLES = """
- name: The gateway runs
  dwcp_units:
    units: [haproxy.service, dwcp-guard.service]
"""

RETURN = """
acted_on:
  description: What was, or in check mode would be, done to which unit.
  type: list
  returned: always
"""

from ansible.module_utils.basic import AnsibleModule  # noqa: E402

PROPERTIES = ("Id", "LoadState", "ActiveState", "UnitFileState", "NeedDaemonReload")


def show(module, units):
    """Properties of each unit, by the name that was asked for. Fails the task when systemd does not answer for every one."""
    _, out, _ = module.run_command(["systemctl", "show", f"--property={','.join(PROPERTIES)}", "--", *units], check_rc=True)
    blocks = [dict(line.split("=", 1) for line in block.splitlines() if "=" in line) for block in out.strip().split("\n\n")]
    if len(blocks) != len(units) or any(set(PROPERTIES) - set(block) for block in blocks):
        module.fail_json(msg=f"systemctl does not say how {', '.join(units)} are: {out.strip()[:400]!r}")
    return dict(zip(units, blocks, strict=True))


def main():
    module = AnsibleModule(argument_spec={"units": {"type": "list", "elements": "str", "required": True}}, supports_check_mode=True)
    units = list(dict.fromkeys(module.params["units"]))
    if not units:
        module.exit_json(changed=False, acted_on=[])
    done = []

    def act(verb, *names):
        done.append(" ".join([verb, *names]))
        if not module.check_mode:
            module.run_command(["systemctl", verb, *(["--"] if names else []), *names], check_rc=True)

    state = show(module, units)
    # A unit that is not known may have been written a moment ago.
    if any(unit["NeedDaemonReload"] == "yes" or unit["LoadState"] == "not-found" for unit in state.values()):
        act("daemon-reload")
        state = show(module, units)
    missing = [name for name in units if state[name]["LoadState"] == "not-found"]
    if missing and not module.check_mode:
        module.fail_json(msg=f"there is no unit {', '.join(missing)} on this host", acted_on=done)
    masked = [name for name in units if state[name]["LoadState"] == "masked" or state[name]["UnitFileState"].startswith("masked")]
    if masked:
        act("unmask", *masked)
    disabled = [name for name in units if name in masked or state[name]["UnitFileState"] != "enabled"]
    if disabled:
        act("enable", *disabled)
    stopped = [name for name in units if state[name]["ActiveState"] not in ("active", "reloading")]
    if stopped:
        act("start", *stopped)
    module.exit_json(changed=bool(done), acted_on=done)


if __name__ == "__main__":
    main()
