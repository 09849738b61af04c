"""Each test of the suite is run over each driver."""

from __future__ import annotations

import pytest

from .worlds import WORLDS


@pytest.fixture(params=sorted(WORLDS))
def world(request):
    """Takes the name of a program, to be called inside of the loop."""
    if request.param == "container":
        request.getfixturevalue("containers")
    return WORLDS[request.param]
