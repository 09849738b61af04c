"""What is particular to databases: the same tests over SQLite and PostgreSQL."""

from __future__ import annotations

import pytest


@pytest.fixture(params=["sqlite", "postgres"])
def url(request, tmp_path) -> str:
    """Of a new database."""
    if request.param == "sqlite":
        return str(tmp_path / "folder" / "journal.db")
    return request.getfixturevalue("postgres_server").database()
