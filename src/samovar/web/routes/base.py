"""What all routes share: who answers, how a page is asked for, and how much of a list an answer has."""

from __future__ import annotations

from typing import Annotated, cast

from fastapi import Depends, Query, Request

from samovar.web.actions import Actions
from samovar.web.details import Details
from samovar.web.lookout import Lookout
from samovar.web.runs import Runs

LARGEST = 500
"""Items of a page."""

LONGEST = 4096
"""Characters of a parameter."""


class House:
    """Who answers; one for an application."""

    def __init__(self, lookout: Lookout) -> None:
        self.lookout = lookout
        self.actions = Actions(lookout)
        self.runs = Runs(lookout, self.actions)
        self.details = Details(lookout, self.actions)


def _house(request: Request) -> House:
    return cast(House, request.app.state.house)


In = Annotated[House, Depends(_house)]
Limit = Annotated[int, Query(ge=1, le=LARGEST)]
After = Annotated[str, Query(max_length=LONGEST, description="The `next` of the page before.")]
Word = Annotated[str, Query(max_length=LONGEST)]
Since = Annotated[float | None, Query(ge=0, le=1e11, allow_inf_nan=False)]
