"""Documents generated from evidence."""

from __future__ import annotations

from invoke.context import Context
from invoke.tasks import task

from golive.commands.ending import COMMON, finish, lazily

__all__ = ["document"]


@task(
    positional=["kind"],
    help={
        "kind": "readiness, recommendation, runbook, completion, lessons, health, alternatives, review, or all of them",
        "env": "an environment",
        "run": "a run; the last one when not given",
        "format": "md, html, pdf: one or more, separated by commas",
        "out": "the directory; .golive/ENV/documents when not given",
        **COMMON,
    },
)
def document(
    _: Context,
    kind: str,
    env: str = "",
    run: str = "",
    format: str = "md,html,pdf",
    out: str = "",
    json: bool = False,
    debug: bool = False,
) -> None:
    """Write a document from journal and evidence, as Markdown, HTML and PDF; exit 4 when these are not as they were written."""
    finish(lazily("document", env, kind=kind, run=run, formats=format, out=out), as_json=json, debug=debug)
