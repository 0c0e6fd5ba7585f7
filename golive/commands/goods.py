"""What is shipped: releases, and the controller itself."""

from __future__ import annotations

from typing import Any

from invoke.context import Context
from invoke.tasks import task

from golive.commands.ending import COMMON, finish, lazily

__all__ = ["bundle", "package"]


@task(
    help={
        "release": "version to build; everything the environment needs by default",
        "env": "environment that decides who signs",
        "defect": "lab only: errors=2%, latency=+40%, corrupt=0.1%, crash-after=30s or no-metrics",
        "key": "signing key; needed outside the lab",
        "freeze": "record what this version is made of from now on, instead of building",
        **COMMON,
    }
)
def package(
    _: Context,
    release: str = "",
    env: str = "lab",
    defect: str = "",
    key: str = "",
    freeze: str = "",
    json: bool = False,
    debug: bool = False,
) -> None:
    """Build and sign releases, or freeze one."""
    options: dict[str, Any] = {"release": release or None, "defect": defect or None, "key": key or None, "freeze": freeze or None}
    finish(lazily("package", env, **options), as_json=json, debug=debug)


@task(
    iterable=["release"],
    help={
        "env": "environment that decides who signs and which releases may go in",
        "output": "file to write; under .golive/<env>/bundles by default",
        "release": "version to take along, may be given again; those of the environment by default",
        "key": "signing key; needed outside the lab",
        "image": "the lab's host image too",
        "debs": "the Debian packages of requirements/apt.txt too",
        **COMMON,
    },
)
def bundle(
    _: Context,
    env: str = "",
    output: str = "",
    release: list[str] | None = None,
    key: str = "",
    image: bool = False,
    debs: bool = False,
    json: bool = False,
    debug: bool = False,
) -> None:
    """Pack the controller itself, with every wheel it needs, for a site without registries."""
    options: dict[str, Any] = {"output": output, "release": list(release or []), "key": key or None, "image": image, "debs": debs}
    finish(lazily("bundle", env, **options), as_json=json, debug=debug)
