"""What looks like a secret is kept out of the journal, and nothing else is."""

from __future__ import annotations

import time

import pytest

from golive.engine.confidential import SecretRefused, cleaned, refuse_secrets

# secret-scan: example
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U"

SECRETS = {
    "private key": "x\n-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEA\n-----END OPENSSH PRIVATE KEY-----",
    "age key": "AGE-SECRET-KEY-1QQQ",
    "aws": "using AKIAIOSFODNN7EXAMPLE now",
    "aws session": "ASIAIOSFODNN7EXAMPLE",
    "github": "ghp_" + "a1B2" * 9,
    "github fine": "github_pat_11ABCDEFG0abcdefghijkl_mnopqrstuvwxyz",
    "gitlab": "glpat-abcdefghij0123456789",  # secret-scan: example
    "slack": "xoxb-123456789012-abcdef",
    "slack hook": "https://hooks.slack.com/services/T0000/B0000/XXXXXXXXXXXXXXXXXXXX",
    "google": "AIza" + "a" * 35,
    "stripe": "sk_live_" + "a1" * 10,
    "vault": "hvs." + "a1" * 14,
    "jwt": f"token {JWT} end",
    "url": "git clone https://user:hunter2@git.example.net/x",
    "url without user": "redis://:hunter2@cache:6379/0",
    "database": "postgresql://golive:p%40ss@db/golive",  # secret-scan: example
    "basic": "curl -H 'Authorization: Basic dXNlcjpodW50ZXIy'",
    "bearer": "authorization: bearer abcdef123456",
    "json header": '{"Authorization": "Bearer abcdef123456"}',
    "variable": "env PGPASSWORD=hunter2 psql",
    "variable 2": "AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMI/K7MDENG ansible",
}

HARMLESS = [
    "3.0.0-bbbbbbbbbbbb",
    "a" * 64,
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ operator@dwcp-lab",
    "-----BEGIN CERTIFICATE-----",
    "-----BEGIN SSH SIGNATURE-----\nU1NIU0lHAAAAAQ",
    "-----BEGIN PUBLIC KEY-----",
    "ssh://git@host:22/path",
    "https://dwcp-lab-ops:9090/api/v1/alerts?at=12:00@x",
    "https://10.0.0.1:8443/a, mailto:me@example.net",
    "postgresql://golive@db.example.net:5432/golive",
    "postgresql:///?service=golive",
    "https://example.net:443?mail=a@b.net",
    "2030-01-01T00:00:00+00:00",
    "user@host: Permission denied (publickey,password).",
    "Authorization: required",
    "the authorization of ams-1 failed",
    "the password is in ~/.pgpass",
    "AKIA is how their keys begin; AKIAshort is none",
    "token 7 of run 20300101T000000Z-abcdef",
    "fatal: could not read Username for 'https://github.com'",
    "eyJ.eyJ.x",
    "ghp_short",
    "dwcp-agent@3.0.0-abcdefabcdef.service: Main process exited, code=exited",
]


@pytest.mark.parametrize("name", SECRETS)
def test_text_in_the_shape_of_a_secret_is_refused_wherever_it_is_and_never_repeated(name: str) -> None:
    text = SECRETS[name]
    for value in (text, {"out": text}, {"deep": [{"er": [text]}]}, {text: 1}):
        with pytest.raises(SecretRefused) as caught:
            refuse_secrets(value)
        assert text not in str(caught.value) and "hunter2" not in str(caught.value)


@pytest.mark.parametrize("text", HARMLESS)
def test_text_of_everyday_is_no_secret(text: str) -> None:
    refuse_secrets({"out": text, text: [text]})
    assert cleaned({"out": text}) == ({"out": text}, [])


@pytest.mark.parametrize(
    "key",
    [
        "password",
        "db_password",
        "vault-password",
        "apiKey",
        "api_key",
        "clientSecret",
        "accessToken",
        "ansible_become_pass",
        "Authorization",
        "Set-Cookie",
        "AWS_SECRET_ACCESS_KEY",
        "refresh_token",
        "Private Key",
    ],
)
def test_text_under_the_name_of_a_secret_is_refused_and_cleaned(key: str) -> None:
    with pytest.raises(SecretRefused, match="by its name"):
        refuse_secrets({"a": {key: "hunter2"}})
    value, said = cleaned({"a": {key: "hunter2", "kept": 1}})
    assert value == {"a": {key: "(removed: a secret by its name)", "kept": 1}}
    assert said == [f"data.a.{key} looks like a secret by its name"]


@pytest.mark.parametrize(
    "value", [{"token": 7}, {"password": None}, {"password": ""}, {"secrets": "2 files"}, {"key": "x"}, {"pass": "12"}]
)
def test_names_that_only_sound_like_it_and_empty_values_are_no_secrets(value: dict) -> None:
    refuse_secrets(value)


@pytest.mark.parametrize("name", SECRETS)
def test_what_is_cleaned_passes_and_holds_nothing_of_the_secret(name: str) -> None:
    value, said = cleaned({"out": [f"before {SECRETS[name]} after {SECRETS[name]}"], "n": 1})
    assert said and value["n"] == 1
    refuse_secrets(value)
    for part in ("hunter2", "IOSFODNN7", "b3BlbnNz", "abcdef123456", "wJalr", "p%40ss", "dXNlcjpo", "dozjgNry", "a1B2", "XXXX"):
        assert part not in str(value)


def test_what_is_around_a_token_stays() -> None:
    assert cleaned(f"curl -H x: {JWT} https://h/") == (
        "curl -H x: (removed: a JSON web token) https://h/",
        ["data looks like a JSON web token"],
    )


@pytest.mark.parametrize("text", ["a" * 200_000, "a:" * 100_000, "://" * 70_000, "eyJ" * 70_000, "x://" + "a:" * 100_000, "A_" * 100_000])
def test_long_text_is_looked_through_in_a_moment(text: str) -> None:
    begun = time.process_time()
    refuse_secrets(text)
    assert time.process_time() - begun < 2.0
