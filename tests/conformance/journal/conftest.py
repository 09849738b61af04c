"""Each test of the suite is run over each journal."""

from __future__ import annotations

import pytest

from .worlds import NAMES, Memory, Postgres, SQLite


@pytest.fixture(params=NAMES)
def world(request, tmp_path):
    if request.param == "memory":
        here = Memory()
    elif request.param == "sqlite":
        here = SQLite(tmp_path)
    else:
        here = Postgres(request.getfixturevalue("postgres_server"))
    yield here
    here.close()


@pytest.fixture
def journal(world):
    return world.journal
