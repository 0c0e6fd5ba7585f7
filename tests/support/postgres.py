"""The tests' PostgreSQL: one of their own, asked by its superuser."""

from __future__ import annotations

import psycopg

from golive.chaos import postgres

__all__ = ["Postgres"]


class Postgres(postgres.Postgres):
    """A running server."""

    def psql(self, *statements: str) -> list[tuple[object, ...]]:
        """Rows of the last of ``statements``."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            for statement in statements:
                cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def emptied(self) -> None:
        """No journal is there."""
        self.psql("DROP SCHEMA public CASCADE", "CREATE SCHEMA public")
