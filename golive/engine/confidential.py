"""What looks like a secret, by its shape or by its name: refused from the journal, or taken out of what has to be kept all the same."""

from __future__ import annotations

import re
from typing import Any

from golive.errors import GoliveError

__all__ = ["SecretRefused", "cleaned", "refuse_secrets"]


class SecretRefused(GoliveError):
    """Something that looks like a secret was about to be written down for good."""


_WHOLE = "a private key"
_SHAPES = {
    _WHOLE: r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY|AGE-SECRET-KEY-1|PuTTY-User-Key-File",
    "an AWS access key": r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",
    "a GitHub token": r"\bgh[pousr]_[A-Za-z0-9]{36}|\bgithub_pat_[A-Za-z0-9_]{22}",
    "a GitLab token": r"\bglpat-[A-Za-z0-9_-]{20}",
    "a Slack token": r"\bxox[abeoprs]-[A-Za-z0-9-]{10}|hooks\.slack\.com/services/T[A-Za-z0-9_]+/B[A-Za-z0-9_]+/[A-Za-z0-9]{16}",
    "a Google API key": r"\bAIza[0-9A-Za-z_-]{35}",
    "a Stripe key": r"\b[rs]k_live_[0-9A-Za-z]{16}",
    "a Vault token": r"\bhv[sbr]\.[A-Za-z0-9_-]{24}",
    "a PyPI token": r"\bpypi-AgE[A-Za-z0-9_-]{20}",
    "a JSON web token": r"\beyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*",
    "a URL with a password": r"\b[A-Za-z][A-Za-z0-9+.-]{0,20}://[^\s/:@?#\"']{0,100}:[^\s/@?#\"']{1,200}@",
    "an authorization": r"(?i)\bauthorization[\"']?\s*[:=]\s*[\"']?(?:basic|bearer|token|digest|negotiate|aws4-hmac-sha256)\s+[^\s\"']{6,}",
    "a secret of the environment": r"\b(?:[A-Z0-9]+_)*(?:PGPASSWORD|PASSWORD|PASSWD|SECRET|SECRET_ACCESS_KEY|API_KEY|TOKEN)=[^\s\"']{4,}",
}
_ANY = re.compile("|".join(f"(?P<s{number}>{shape.replace('(?i)', '')})" for number, shape in enumerate(_SHAPES.values())))
_CASELESS = re.compile(_SHAPES["an authorization"])
_NAMES = tuple(_SHAPES)
_TAIL = re.compile(r"[^\s\"',;]*")
"""What follows a shape without a break belongs to it: a token is taken out whole."""

_SECRET_KEYS = re.compile(
    r"(^|_)(password|passwd|passphrase|secret|private_key|api_key|access_key|secret_key|secret_access_key|become_pass|ssh_pass|auth_token"
    r"|access_token|refresh_token|session_token|id_token|bearer|authorization|proxy_authorization|cookie|set_cookie)$"
)
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def refuse_secrets(value: Any, where: str = "data") -> None:
    """Raises SecretRefused when ``value`` (already plain) holds text in the shape of a secret, or under the name of one. Never says it."""
    found = _first(value, where)
    if found:
        raise SecretRefused(f"{found}; the journal keeps no secrets.")


def cleaned(value: Any, where: str = "data") -> tuple[Any, list[str]]:
    """``value`` (already plain) without what :func:`refuse_secrets` refuses, and where that was."""
    if isinstance(value, str):
        what = _shape(value)
        return (value, []) if not what else (_without(value), [f"{where} looks like {what}"])
    if isinstance(value, dict):
        fields: dict[str, Any] = {}
        said: list[str] = []
        for key, item in value.items():
            name, told = cleaned(key, f"a name in {where}")
            if not told and _named(key, item):
                fields[name], more = "(removed: a secret by its name)", [f"{where}.{key} looks like a secret by its name"]
            else:
                fields[name], more = cleaned(item, f"{where}.{name}")
            said += told + more
        return fields, said
    if isinstance(value, list):
        pairs = [cleaned(item, f"{where}[{index}]") for index, item in enumerate(value)]
        return [item for item, _ in pairs], [line for _, lines in pairs for line in lines]
    return value, []


def _first(value: Any, where: str) -> str:
    if isinstance(value, str):
        what = _shape(value)
        return f"{where} looks like {what}" if what else ""
    if isinstance(value, dict):
        for key, item in value.items():
            if _shape(key):
                return f"a name in {where} looks like {_shape(key)}"
            if _named(key, item):
                return f"{where}.{key} looks like a secret by its name"
            found = _first(item, f"{where}.{key}")
            if found:
                return found
    elif isinstance(value, list):
        for index, item in enumerate(value):
            found = _first(item, f"{where}[{index}]")
            if found:
                return found
    return ""


def _named(key: str, item: Any) -> bool:
    return (
        isinstance(item, str) and bool(item) and bool(_SECRET_KEYS.search(_HUMP.sub("_", key).replace("-", "_").replace(" ", "_").lower()))
    )


def _shape(text: str) -> str:
    found = _ANY.search(text)
    if found is not None and found.lastgroup is not None:
        return _NAMES[int(found.lastgroup[1:])]
    return "an authorization" if _CASELESS.search(text) else ""


def _without(text: str) -> str:
    """``text`` with each shape replaced; nothing of it when it holds a private key, whose end no one knows."""
    for _ in range(1000):
        what = _shape(text)
        if not what:
            return text
        found = _ANY.search(text) or _CASELESS.search(text)
        if found is None or what == _WHOLE:
            break
        end = found.end()
        if not what.startswith("a URL"):
            tail = _TAIL.match(text, end)
            end = tail.end() if tail else end
        text = f"{text[: found.start()]}(removed: {what}){text[end:]}"
    return f"(removed: {what})"
