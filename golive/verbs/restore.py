"""``inv restore``: after a disaster, a host's store becomes that of a snapshot. No go-live and no rollback ever does this."""

from __future__ import annotations

import json
import re

from golive import engine
from golive.actions._backup import settings
from golive.actions._world import answered, command
from golive.engine.alone import alone
from golive.environment import Environment
from golive.errors import BadInput, Held, Refused
from golive.fleet.inventory import read_fleet
from golive.fleet.ssh import Shell
from golive.verbs.result import Result

__all__ = ["restore"]

_SNAPSHOT = re.compile(r"[0-9a-f]{8,64}")
_LIMIT_S = 7200.0


def restore(env: Environment, *, host: str, snapshot: str, reason: str) -> Result:
    """The store of ``host`` is that of ``snapshot``; what was there lies beside it.

    Raises:
        BadInput: no such host, no id, or no reason.
        Occupied, Held: another process or an open run has the environment.
        Refused: an agent runs on the host, the snapshot is another host's, or it does not restore what was saved. Nothing was changed.
    """
    if not reason.strip():
        raise BadInput("A restore needs a reason, for the journal: `./inv restore --env E --host H --snapshot ID --reason ...`.")
    if not _SNAPSHOT.fullmatch(snapshot):
        raise BadInput(f"{snapshot!r} is no id of a snapshot: 8 to 64 hexadecimal digits, as the report and `restic snapshots` have it.")
    fleet = read_fleet(env)
    target = next((each for each in fleet.agents if each.name == host), None)
    if target is None:
        raise BadInput(f"There is no agent host {host!r} in {env.name}; known are {', '.join(each.name for each in fleet.agents)}.")
    given = json.dumps(settings(env, fleet)).encode()
    with alone(env, "restore") as held, Shell(env, fleet) as shell:
        held.note("restore.begun", {"host": host, "snapshot": snapshot, "reason": reason})
        words = ("backup", "restore", "--snapshot", snapshot, "--limit", f"{_LIMIT_S:g}", "--token", str(held.token), "--run", "restore")
        got = shell.run(target, command(target, "dwcp-host", *words), input=given, timeout_s=_LIMIT_S + 60)
        answer = answered(target, got)
        held.note("restore.ended", {"host": host, "snapshot": snapshot, "told": answer.data, "trouble": answer.trouble})
    if answer.data is None:
        raise (Refused if answer.refused else Held)(answer.trouble, host=host)
    told = answer.data
    serving = engine.live(env)
    again = f"systemctl start dwcp-agent@{serving.release}` there" if serving else f"./inv golive --env {env.name}`"
    text = (
        f"{host}: the store is that of snapshot {snapshot[:12]} (run {told['run']}, {told['files']} files), whole. "
        f"What was there lies in {told['before']}. Start the agent with `{again}, then `./inv verify --env {env.name}`."
    )
    return Result({"schema": 1, "env": env.name, "host": host, "snapshot": snapshot, "reason": reason, **told}, text)
