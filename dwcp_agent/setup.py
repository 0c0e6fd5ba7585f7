"""Builds the compiled core and writes into the package what this build is.

Inputs, by environment: ``DWCP_VERSION`` (default: the tree's), ``DWCP_PHASE4`` (0 leaves every Phase 4 optimisation out),
``DWCP_DEFECT`` (JSON, for rehearsals only). The same inputs, tools and SOURCE_DATE_EPOCH give the same bytes, wherever the tree lies.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py

HERE = Path(__file__).resolve().parent
os.chdir(HERE)
os.umask(0o022)  # modes are part of a wheel's bytes
os.environ.setdefault("SOURCE_DATE_EPOCH", "1577836800")

TREE_VERSION = re.search(r'^VERSION: str = "([^"]+)"', Path("src/dwcp_agent/_build.py").read_text(encoding="utf-8"), re.MULTILINE)[1]
VERSION = os.environ.get("DWCP_VERSION") or TREE_VERSION
PHASE4 = {"": True, "1": True, "0": False}[os.environ.get("DWCP_PHASE4", "")]
DEFECT = json.loads(os.environ.get("DWCP_DEFECT") or "null")
KNOWN_DEFECTS = {"errors", "latency", "corrupt", "crash_after_s", "metrics"}
if DEFECT is not None and (not isinstance(DEFECT, dict) or not DEFECT or not DEFECT.keys() <= KNOWN_DEFECTS):
    raise SystemExit(f"DWCP_DEFECT must be a JSON object with keys of {sorted(KNOWN_DEFECTS)}.")

BUILD_MODULE = f'''"""What this build is. Written by setup.py."""

from __future__ import annotations

VERSION: str = {VERSION!r}
PHASE4: bool = {PHASE4!r}
DEFECT: dict[str, float | bool] | None = {DEFECT!r}
'''


class BuildPython(build_py):
    """Copies the package, with this build's own ``_build.py``, and without what the build leaves out."""

    def find_package_modules(self, package: str, package_dir: str) -> list[tuple[str, str, str]]:
        if not PHASE4 and package == "dwcp_agent.phase4":
            return []
        found = super().find_package_modules(package, package_dir)
        return [module for module in found if DEFECT is not None or module[:2] != ("dwcp_agent", "defects")]

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        (Path(self.build_lib) / "dwcp_agent" / "_build.py").write_text(BUILD_MODULE, encoding="utf-8")


class BuildExtension(build_ext):
    """Compiles without a trace of where the tree lies."""

    def build_extension(self, ext: Extension) -> None:
        ext.extra_compile_args = [
            "-std=c11",
            "-O2",
            "-g0",
            "-fno-tree-vectorize",  # a scalar path that the compiler vectorises is not one
            "-Wall",
            "-Wextra",
            "-Werror",
            "-fvisibility=hidden",
            f"-ffile-prefix-map={HERE}=.",
            f"-DDWCP_PHASE4={int(PHASE4)}",
        ]
        ext.extra_link_args = ["-Wl,--build-id=none", "-Wl,-z,relro,-z,now"]
        super().build_extension(ext)


OPTIMISATIONS = ("affinity", "batch", "channel", "channels", "mpmc", "numa", "pool", "pool_store", "ring", "stack", "zerocopy")
SOURCES = sorted(str(path) for path in Path("native").glob("*.c") if PHASE4 or path.stem.removeprefix("py_") not in OPTIMISATIONS)

setup(
    version=VERSION,
    cmdclass={"build_py": BuildPython, "build_ext": BuildExtension},
    ext_modules=[Extension("dwcp_agent._native", sources=SOURCES, depends=sorted(map(str, Path("native").glob("*.h"))))],
)
