#!/usr/bin/python
"""Ansible module: several files and directories in one task."""

from __future__ import annotations

DOCUMENTATION = """
module: dwcp_files
short_description: Puts several files and directories in place in one round trip
description:
  - A task costs a connection per host whatever it does; a role with ten files would pay it ten times.
  - Files are written whole or not at all. A file that is a mount point (F(/etc/hosts) in a container) is written in place.
options:
  user:
    description: A system user that is made first when it is missing, with a group of the same name, no home and no login.
    type: str
  entries:
    description: What is to be there.
    type: list
    elements: dict
    required: true
    suboptions:
      path: {description: Absolute path., type: path, required: true}
      state: {description: What it is., type: str, choices: [file, directory, absent], default: file}
      content: {description: Text of a file., type: str}
      base64: {description: Content of a file that is no text., type: str}
      source: {description: A file of this host that it is a copy of., type: path}
      block: {description: The content is a block between two marked lines of a file that others write too., type: bool, default: false}
      owner: {description: Name of the owner., type: str, default: root}
      group: {description: Name of the group., type: str, default: root}
      mode: {description: Octal mode., type: str}
      validate:
        description:
          - Commands that have to succeed before new content takes its place; C(%s) is a file beside it that holds the new content.
          - Not run in check mode, nor when the content is there already.
        type: list
        elements: str
        default: []
author: [DWCP]
"""

EXAMPLES = """
- name: Settings are in place
  dwcp_files:
    entries:
      - {path: /etc/dwcp, state: directory, mode: "0755"}
      - {path: /etc/dwcp/agent.yaml, content: "{{ lookup('template', 'agent.yaml.j2') }}", mode: "0644"}
"""

RETURN = """
changed_paths:
  description: Paths that were, or in check mode would be, changed.
  type: list
  returned: always
"""

import base64  # noqa: E402
import errno  # noqa: E402
import grp  # noqa: E402
import os  # noqa: E402
import pwd  # noqa: E402
import shlex  # noqa: E402
import shutil  # noqa: E402
import stat  # noqa: E402
import tempfile  # noqa: E402
from pathlib import Path  # noqa: E402

from ansible.module_utils.basic import AnsibleModule  # noqa: E402


class Invalid(Exception):
    """A command refused the new content of a file."""


BEGIN, END = "# dwcp: begin", "# dwcp: end"


def number(module, lookup, name, field):
    """The id of a user or group; None in check mode when an earlier task would have made it."""
    try:
        return getattr(lookup(name), field)
    except KeyError:
        if module.check_mode:
            return None
        module.fail_json(msg=f"there is no user or group {name!r} on this host")


def wanted_content(module, entry, path):
    """Bytes of the file, or None when the content is not ours to say."""
    if entry["base64"] is not None:
        return base64.b64decode(entry["base64"])
    if entry["source"] is not None:
        try:
            return Path(entry["source"]).read_bytes()
        except FileNotFoundError:
            # An earlier task would have put it there.
            if module.check_mode:
                return b""
            raise
    if entry["content"] is None:
        return None
    content = entry["content"]
    if content and not content.endswith("\n"):
        content += "\n"
    if not entry["block"]:
        return content.encode()
    try:
        lines = Path(path).read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except FileNotFoundError:
        lines = []
    if BEGIN in lines and END in lines[lines.index(BEGIN) :]:
        first = lines.index(BEGIN)
        last = lines.index(END, first)
        before, after = lines[:first], lines[last + 1 :]
    else:
        before, after = lines, []
    block = [BEGIN, *content.splitlines(), END]
    return "".join(line + "\n" for line in [*before, *block, *after]).encode(errors="surrogateescape")


def write(module, path, content, mode, uid, gid, validate):
    """The file holds ``content``; whole or not at all, unless the path is a mount point, which cannot be replaced."""
    descriptor, fresh = tempfile.mkstemp(dir=Path(path).parent, prefix=".dwcp-")
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), mode)
            os.fchown(file.fileno(), uid, gid)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        for command in validate:
            words = [fresh if word == "%s" else word for word in shlex.split(command)]
            rc, out, err = module.run_command(words)
            if rc != 0:
                lines = [line.strip() for line in (out + "\n" + err).replace(fresh, path).splitlines() if line.strip()]
                said = "; ".join(lines) or f"it ended with status {rc}"
                raise Invalid(f"{path} is left as it was, `{command}` refuses the new content: {said}")
        try:
            Path(fresh).rename(path)
            return
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
        with Path(path).open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    finally:
        Path(fresh).unlink(missing_ok=True)


def make_user(module, name):
    """The system user is there; says whether it had to be, or in check mode would be, made."""
    try:
        pwd.getpwnam(name)
        return False
    except KeyError:
        if not module.check_mode:
            login = ["--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent", "--shell", "/usr/sbin/nologin"]
            module.run_command(["useradd", *login, "--", name], check_rc=True)
        return True


def place(module, entry):
    """Makes one entry true; says whether that changed, or in check mode would change, anything."""
    path, state = entry["path"], entry["state"]
    try:
        now = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        now = None
    if state == "absent":
        if now is not None and not module.check_mode:
            shutil.rmtree(path) if stat.S_ISDIR(now.st_mode) else Path(path).unlink()
        return now is not None
    if now is not None and stat.S_ISLNK(now.st_mode):
        module.fail_json(msg=f"{path} is a symbolic link; it is not followed")
    if now is not None and stat.S_ISDIR(now.st_mode) != (state == "directory"):
        module.fail_json(msg=f"{path} is not a {state}")
    uid = number(module, pwd.getpwnam, entry["owner"], "pw_uid")
    gid = number(module, grp.getgrnam, entry["group"], "gr_gid")
    mode = int(entry["mode"] or ("0755" if state == "directory" else "0644"), 8)
    attributes = now is not None and (stat.S_IMODE(now.st_mode), now.st_uid, now.st_gid) == (mode, uid, gid)
    content = None if state == "directory" else wanted_content(module, entry, path)
    same = now is not None
    if content is not None and now is not None:
        same = Path(path).read_bytes() == content
    if attributes and same:
        return False
    if module.check_mode:
        return True
    if state == "directory":
        if now is None:
            Path(path).mkdir(parents=True, mode=0o755)
    elif content is None:
        if now is None:
            module.fail_json(msg=f"{path} is missing and has no content")
    elif not same:
        write(module, path, content, mode, uid, gid, entry["validate"])
    os.chown(path, uid, gid)
    Path(path).chmod(mode)
    return True


def main():
    module = AnsibleModule(
        argument_spec={
            "user": {"type": "str"},
            "entries": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "path": {"type": "path", "required": True},
                    "state": {"type": "str", "choices": ["file", "directory", "absent"], "default": "file"},
                    "content": {"type": "str"},
                    "base64": {"type": "str"},
                    "source": {"type": "path"},
                    "block": {"type": "bool", "default": False},
                    "owner": {"type": "str", "default": "root"},
                    "group": {"type": "str", "default": "root"},
                    "mode": {"type": "str"},
                    "validate": {"type": "list", "elements": "str", "default": []},
                },
            },
        },
        supports_check_mode=True,
    )
    changed = []
    if module.params["user"] and make_user(module, module.params["user"]):
        changed.append("user " + module.params["user"])
    for entry in module.params["entries"]:
        try:
            if place(module, entry):
                changed.append(entry["path"])
        except Invalid as error:
            module.fail_json(msg=str(error), changed_paths=changed)
        except OSError as error:
            module.fail_json(msg=f"{entry['path']}: {error.strerror or error}", changed_paths=changed)
    module.exit_json(changed=bool(changed), changed_paths=changed)


if __name__ == "__main__":
    main()
