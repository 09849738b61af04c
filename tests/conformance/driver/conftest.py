"""Each test of the suite is run over each driver."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from worlds import WORLDS  # noqa: E402 - found by the line above


@pytest.fixture(params=sorted(WORLDS))
def world(request):
    """Takes the name of a program, to be called inside of the loop."""
    return WORLDS[request.param]
