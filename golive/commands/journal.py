"""The journal, for auditors."""

from __future__ import annotations

from typing import Any

from invoke.context import Context
from invoke.tasks import task

from golive.commands.ending import COMMON, TAKE_OVER, finish, lazily
from golive.verbs.result import Result

__all__ = ["journal_anchor", "journal_export", "journal_show", "journal_verify"]


@task(
    name="verify",
    help={
        "env": "environment whose journal is checked",
        "anchors": "where heads were seen: hosts (and this machine), or file (this machine alone)",
        "file": "an export to check instead; needs no environment",
        "key": "file of public keys that are trusted, besides the environment's own",
        "anchor": "SEQ:HASH that somebody noted; several with commas",
        "superseded": "beginning of the identity of an earlier journal that was given up on purpose",
        **COMMON,
    },
)
def journal_verify(
    _: Context,
    env: str = "",
    anchors: str = "hosts",
    file: str = "",
    key: str = "",
    anchor: str = "",
    superseded: str = "",
    json: bool = False,
    debug: bool = False,
) -> None:
    """Find any edit, reorder or cut of the journal; exit 0 only when it fits what hosts saw of it and its signatures."""

    def alone() -> Result:
        from golive.verbs import journal_verify as verb

        return verb.journal_file_verify(file=file, key=key, anchor=anchor)

    options: dict[str, Any] = {"anchors": anchors, "file": file, "key": key, "anchor": anchor, "superseded": superseded}
    finish(alone if file and not env else lazily("journal_verify", env, **options), as_json=json, debug=debug)


@task(
    name="show",
    help={"env": "environment to read", "run": "one run alone", "kind": "one kind alone, as in step.outcome or step", **COMMON},
)
def journal_show(_: Context, env: str = "", run: str = "", kind: str = "", json: bool = False, debug: bool = False) -> None:
    """Print the journal's records."""
    finish(lazily("journal_show", env, run=run, kind=kind), as_json=json, debug=debug)


@task(name="export", help={"env": "environment to read", "out": "file to write; one below .golive by default", **COMMON})
def journal_export(_: Context, env: str = "", out: str = "", json: bool = False, debug: bool = False) -> None:
    """Write the whole journal, its head and a signature into one file that can be checked anywhere."""
    finish(lazily("journal_export", env, out=out), as_json=json, debug=debug)


@task(name="anchor", help={"env": "environment whose last run is over", "take_over": TAKE_OVER, **COMMON})
def journal_anchor(_: Context, env: str = "", take_over: bool = False, json: bool = False, debug: bool = False) -> None:
    """Sign the journal and leave its head on the hosts once more, for those that were away when the run ended."""
    finish(lazily("journal_anchor", env, take_over=take_over), as_json=json, debug=debug)
