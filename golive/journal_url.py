"""Where an environment's journal is kept when controllers share it: a ``postgresql://`` URL that holds no secret."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlsplit

from golive.errors import BadInput

__all__ = ["VARIABLE", "checked"]

VARIABLE = "GOLIVE_JOURNAL"
"""Environment variable that says the URL for every environment of this shell."""

_SECRET = {"password", "sslpassword"}
_OURS = {"options"}
"""What the toolkit sets itself, because records depend on it."""


def checked(url: str, where: str) -> str:
    """``url``, which can be used and shown to anyone. Raises BadInput naming ``where`` it was written; a password is never repeated."""
    try:
        parts = urlsplit(url)
        names = {name.lower() for name, _ in parse_qsl(parts.query, keep_blank_values=True)}
        secret = parts.password is not None or names & _SECRET
        _ = parts.port if "," not in parts.netloc else None
    except ValueError as error:
        raise BadInput(f"{where}: not a URL: {error}.") from None
    if secret:
        raise BadInput(
            f"{where}: the URL holds a password; leave it out and put it into ~/.pgpass, the file named by PGPASSFILE, or a service file "
            "(postgresql:///?service=golive)."
        )
    if parts.scheme not in ("postgresql", "postgres"):
        raise BadInput(f"{where}: it begins with postgresql://, as in postgresql://golive@db.example.net/golive?sslmode=verify-full.")
    if names & _OURS:
        raise BadInput(
            f"{where}: `{min(names & _OURS)}` is set by the toolkit, because what a record promises depends on it; leave it out."
        )
    return url
