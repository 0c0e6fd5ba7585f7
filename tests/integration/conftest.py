"""A ``.venv`` that a test makes is used a few times: compiling its libraries would take longer than they are used."""

from __future__ import annotations

import os

os.environ.setdefault("UV_COMPILE_BYTECODE", "0")
