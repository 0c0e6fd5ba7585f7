"""HTTPS to the fleet: an operator's certificate that is missing or damaged is a sentence, not a traceback."""

from __future__ import annotations

from pathlib import Path

import pytest

from golive import environment
from golive.actions._https import client
from golive.errors import Unprepared


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_an_operators_certificate_that_cannot_be_used_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None
) -> None:
    monkeypatch.setenv("GOLIVE_STATE", str(tmp_path))
    pki = environment.load("lab").state / "pki"
    pki.mkdir()
    for name in ("ca.crt", "operator.crt", "operator.key") if content is not None else ():
        (pki / name).write_text(content or "")
    with pytest.raises(Unprepared, match=f"certificate in {pki} cannot be used"), client(environment.load("lab")):
        pass
