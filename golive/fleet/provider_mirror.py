"""The provider ``dwcp`` where Terraform looks for it: a filesystem mirror, so that plain ``init`` finds it and downloads nothing."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

from golive.environment import ROOT

__all__ = ["install"]

_VERSION = "0.1.0"
_HOST = "golive.internal"
"""A host of no registry: only this mirror can answer for it, with Terraform and OpenTofu alike."""


def install(home: Path) -> Path:
    """The provider stands under ``home``; returns the settings file to name in ``TF_CLI_CONFIG_FILE``."""
    mirror = home.resolve() / "mirror"
    platform = mirror / _HOST / "dwcp" / "dwcp" / _VERSION / _platform()
    platform.mkdir(parents=True, exist_ok=True)
    program = platform / f"terraform-provider-dwcp_v{_VERSION}"
    command = f"PYTHONPATH={shlex.quote(str(ROOT))} exec {shlex.quote(sys.executable)} -m golive.lab.provider"
    program.write_text(f'#!/bin/sh\n{command} "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    settings = home.resolve() / "terraform.rc"
    settings.write_text(f'provider_installation {{\n  filesystem_mirror {{\n    path = "{mirror}"\n  }}\n}}\n', encoding="utf-8")
    return settings


def _platform() -> str:
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
    return f"{sys.platform}_{machine}"
