"""Evidence, the checklist, and whether a release may go live."""

from __future__ import annotations

from typing import Any

from invoke.context import Context
from invoke.tasks import task

from golive.commands.ending import COMMON, finish, lazily
from golive.verbs.result import Result

__all__ = ["attest", "explain", "readiness"]

_ENV = {"env": "an environment"}


@task(
    help={
        "release": "version; the environment's own when not given",
        "only": "ids or patterns, separated by commas, whose evidence is made anew where it has to be",
        "again": "make evidence that still holds anew too",
        "no-collect": "make none, judge what is there",
        **_ENV,
        **COMMON,
    }
)
def readiness(
    _: Context,
    env: str = "",
    release: str = "",
    only: str = "",
    again: bool = False,
    no_collect: bool = False,
    json: bool = False,
    debug: bool = False,
) -> None:
    """Compute from evidence whether the release may go live; exit 0 only on GO."""
    finish(lazily("readiness", env, release=release, only=only, again=again, collect=not no_collect), as_json=json, debug=debug)


@task(positional=["item"], help={"item": "an id such as AMST-007", "release": "version", **_ENV, **COMMON})
def explain(_: Context, item: str, env: str = "", release: str = "", json: bool = False, debug: bool = False) -> None:
    """Show an item of the checklist, its evidence, and how to repeat it."""
    finish(lazily("explain", env, id_=item, release=release), as_json=json, debug=debug)


@task(
    positional=["item"],
    help={
        "item": "an id such as OPS-003",
        "role": "for which you sign",
        "key": "your SSH key",
        "comment": "what you saw, or why it may be left out",
        "deny": "it is not so",
        "waive": "it is not shown, and the release may go all the same",
        "until": "how long that holds, as 14d",
        **_ENV,
        **COMMON,
    },
)
def attest(
    _: Context,
    item: str,
    env: str = "",
    role: str = "",
    key: str = "",
    comment: str = "",
    deny: bool = False,
    waive: bool = False,
    until: str = "",
    json: bool = False,
    debug: bool = False,
) -> None:
    """Sign, with your own SSH key, that an item of the checklist is so, is not so, or may be left out."""
    options: dict[str, Any] = {"id_": item, "role": role, "key": key, "comment": comment, "deny": deny, "waive": waive, "until": until}
    finish(lazily("attest", env, **options), as_json=json, debug=debug)


@task(help={"file": "an archive; the evidence here when not given", "key": "64 hex digits: whose statements count", **_ENV, **COMMON})
def verify(_: Context, env: str = "", file: str = "", key: str = "", json: bool = False, debug: bool = False) -> None:
    """Find any edit, gap or missing output of evidence; exit 0 only when all of it is as it was signed."""

    def alone() -> Result:
        from golive.verbs import evidence_verify as verb

        return verb.evidence_verify(None, file=file, key=key)

    finish(lazily("evidence_verify", env, file=file, key=key) if env else alone, as_json=json, debug=debug)


@task(help={"out": "the file to write", **_ENV, **COMMON})
def export(_: Context, env: str = "", out: str = "", json: bool = False, debug: bool = False) -> None:
    """Write all evidence, the checklist and the decision into one file that can be checked anywhere."""
    finish(lazily("evidence_export", env, out=out), as_json=json, debug=debug)


@task(help={"file": "an archive that another controller exported", **_ENV, **COMMON})
def take(_: Context, env: str = "", file: str = "", json: bool = False, debug: bool = False) -> None:
    """Add the evidence of another controller, whose key the environment pins."""
    finish(lazily("evidence_take", env, file=file), as_json=json, debug=debug)
