"""Podman as the lab uses it: what exists, whose it is, and which runtime boots systemd on this machine."""

from __future__ import annotations

import json
import os
import resource
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from golive.errors import Occupied, Refused, Unprepared
from golive.lab.commands import must, run

__all__ = [
    "CAPABILITIES",
    "ENV_LABEL",
    "OWNER_LABEL",
    "bootable_runtime",
    "check_ours",
    "container",
    "labels",
    "network",
    "privileges",
    "remove_container",
    "resource_limits",
    "started",
]

ENV_LABEL = "dwcp.env"
OWNER_LABEL = "dwcp.owner"
"""Holds the state directory of the checkout that made a thing: two checkouts on one machine never touch each other's lab."""

CAPABILITIES = "SYS_ADMIN,NET_ADMIN,NET_RAW,SYS_NICE,SYS_PTRACE"
"""What a host's systemd needs to start hardened units (namespaces), set its routes and nice its services."""


def container(name: str) -> dict[str, Any] | None:
    """``podman container inspect``, or None when there is no container of this name."""
    return _inspect("container", name)


def network(name: str) -> dict[str, Any] | None:
    """``podman network inspect``, or None when there is no network of this name."""
    return _inspect("network", name)


def _inspect(kind: str, name: str) -> dict[str, Any] | None:
    ran = run(["podman", kind, "inspect", name])
    if ran.ok:
        found: list[dict[str, Any]] = json.loads(ran.stdout)
        return found[0]
    if "no such" in ran.stderr.lower() or "not found" in ran.stderr.lower():
        return None
    raise Refused(f"`podman {kind} inspect {name}` failed: {ran.complaint}.")


def labels(inspected: Mapping[str, Any]) -> dict[str, str]:
    """Labels of an inspected container or network."""
    return dict(inspected.get("Config", {}).get("Labels") or inspected.get("labels") or {})


def check_ours(what: str, found: Mapping[str, str], env: str, owner: str) -> None:
    """These labels say that environment ``env`` of this checkout (or of one that is gone) made ``what``.

    Raises:
        Unprepared: somebody else made it.
        Occupied: another checkout on this machine did.
    """
    if found.get(ENV_LABEL) != env:
        raise Unprepared(
            f"{what} exists on this machine but was not made by environment {env} (it has no label {ENV_LABEL}={env}); "
            f"it was left alone. Remove or rename it, then run the command again."
        )
    maker = found.get(OWNER_LABEL, "")
    if maker != owner and Path(maker).is_dir():
        raise Occupied(
            f"{what} belongs to the environment {env} whose state is {maker}; it was left alone. "
            f"Run `./inv destroy --env {env}` in that checkout first."
        )


def started(inspected: Mapping[str, Any]) -> int | None:
    """The pid of a running container's init, or None."""
    state = inspected["State"]
    return int(state["Pid"]) if state.get("Running") and not state.get("Paused") and state.get("Pid") else None


def remove_container(name: str, env: str, owner: str) -> None:
    """There is no container ``name`` any more. Removes nothing, and raises as ``check_ours``, when it is not ours."""
    found = container(name)
    if found is None:
        return
    check_ours(f"Container {name}", labels(found), env, owner)
    must(["podman", "rm", "--force", "--ignore", "--time", "0", name])


def resource_limits() -> list[str]:
    """``--ulimit`` options a container can have here.

    Podman's default (a million files) needs CAP_SYS_RESOURCE; without it the limits must stay under the ones this process has.
    """
    files = _at_most(resource.RLIMIT_NOFILE, 20000)
    processes = _at_most(resource.RLIMIT_NPROC, 4096)
    return ["--ulimit", f"nofile={files}:{files}", "--ulimit", f"nproc={processes}:{processes}"]


def _at_most(which: int, wanted: int) -> int:
    hard = resource.getrlimit(which)[1]
    return wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)


def privileges() -> list[str]:
    """Options without which a hardened unit inside fails with 226/NAMESPACE."""
    return ["--cap-add", CAPABILITIES, "--security-opt", "unmask=ALL", "--systemd=always"]


def bootable_runtime(image: str, cache: Path) -> str:
    """The OCI runtime that starts ``image`` here, tried in turn: podman's default, runc, crun. Remembered until the next boot.

    Raises:
        Unprepared: none of them does; the message holds what the last one said.
    """
    boot_id = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    remembered = cache / "runtime.json"
    try:
        known = json.loads(remembered.read_text(encoding="utf-8"))
        if known["boot_id"] == boot_id and known["image"] == image:
            return str(known["runtime"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        pass
    default = json.loads(must(["podman", "info", "--format", "json"]))["host"]["ociRuntime"]["name"]
    said = ""
    candidates = list(dict.fromkeys([default, "runc", "crun"]))
    for candidate in candidates:
        probe = run(_probe(candidate, image), timeout_s=30)
        if probe.ok:
            cache.mkdir(parents=True, exist_ok=True)
            fresh = remembered.with_suffix(f".{os.getpid()}")
            fresh.write_text(json.dumps({"boot_id": boot_id, "image": image, "runtime": candidate}), encoding="utf-8")
            fresh.replace(remembered)
            return str(candidate)
        said = probe.complaint
    raise Unprepared(f"No container runtime on this machine starts the lab's image (tried {', '.join(candidates)}); the last said: {said}.")


def _probe(runtime: str, image: str) -> Sequence[str]:
    options = ["--rm", "--network", "none", "--runtime", runtime, *resource_limits(), *privileges()]
    return ["podman", "run", *options, "--entrypoint", "/bin/true", image]
