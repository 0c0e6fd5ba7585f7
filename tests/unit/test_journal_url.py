"""Where the journal is can be shown to anyone."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine_world import environment
from golive import journal_url
from golive.environment import Settings
from golive.errors import BadInput


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://golive@db.example.net/golive?sslmode=verify-full",
        "postgres://db/golive",
        "postgresql:///?service=golive",
        "postgresql://golive@/journal?host=/run/postgresql",
        "postgresql://golive@a:5432,b:5433/golive?target_session_attrs=read-write",
    ],
)
def test_a_url_without_a_secret_is_taken(url: str) -> None:
    assert journal_url.checked(url, "here") == url


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://golive:hunter2@db/golive",  # secret-scan: example
        "postgresql://db/golive?password=hunter2",
        "postgresql://db/x?PASSWORD=hunter2",
        "postgresql://golive:@db/golive",
        "postgresql://db/x?sslpassword=hunter2",
    ],
)
def test_a_password_is_refused_with_where_it_belongs_and_not_repeated(url: str) -> None:
    with pytest.raises(BadInput, match=r"here: .*\.pgpass") as caught:
        journal_url.checked(url, "here")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("url", ["mysql://db/x", "sqlite:///x.db", "journal", "", "postgresql://[bad/x"])
def test_anything_else_is_refused(url: str) -> None:
    with pytest.raises(BadInput):
        journal_url.checked(url, "here")


def test_what_records_depend_on_cannot_be_set(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BadInput, match="options"):
        journal_url.checked("postgresql://db/x?options=-csynchronous_commit%3Doff", "here")


def test_the_variable_goes_before_the_setting_and_the_file_is_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOLIVE_STATE", str(tmp_path))
    monkeypatch.delenv("GOLIVE_JOURNAL", raising=False)
    env = environment()
    assert env.journal == tmp_path / "sim/journal.db"
    shared = env.model_copy(update={"settings": env.settings.model_copy(update={"journal": "postgresql://a/b"})})
    assert shared.journal == "postgresql://a/b"
    monkeypatch.setenv("GOLIVE_JOURNAL", "postgresql://c/d")
    assert (env.journal, shared.journal) == ("postgresql://c/d", "postgresql://c/d")
    monkeypatch.setenv("GOLIVE_JOURNAL", "postgresql://x:hunter2@c/d")
    with pytest.raises(BadInput, match=r"\$GOLIVE_JOURNAL"):
        _ = env.journal


def test_a_password_in_the_environments_file_is_refused_when_it_is_read() -> None:
    given = environment().settings.model_dump()
    with pytest.raises(ValueError, match=r"holds a password; leave it out") as caught:
        Settings.model_validate({**given, "journal": "postgresql://x:hunter2@c/d"})
    assert "hunter2" not in caught.value.errors()[0]["msg"]
