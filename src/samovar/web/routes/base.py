"""What all routes share: who answers, how a page is asked for, and how much of a list an answer has."""

from __future__ import annotations

from typing import Annotated, cast
from urllib.parse import unquote

from fastapi import Depends, Query, Request
from pydantic import AfterValidator
from starlette.types import ASGIApp, Receive, Scope, Send

from samovar.web.actions import Actions
from samovar.web.details import Details
from samovar.web.lookout import Lookout
from samovar.web.runs import Runs

LARGEST = 500
"""Items of a page."""

LONGEST = 4096
"""Characters of a parameter."""

EVENTS = "text/event-stream"

SLASH = "\ue000"
"""Stands for a slash that was written as ``%2F``: it parts nothing."""


class Segments:
    """An ASGI application in front of routes, by which a name with a slash in it is one segment of a path."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if b"%2f" in scope.get("raw_path", b"").lower():
            segments = scope["raw_path"].decode("latin-1").split("/")
            scope = {**scope, "path": "/".join(unquote(segment).replace("/", SLASH) for segment in segments)}
        await self._app(scope, receive, send)


class House:
    """Who answers; one for an application."""

    def __init__(self, lookout: Lookout) -> None:
        self.lookout = lookout
        self.actions = Actions(lookout)
        self.runs = Runs(lookout, self.actions)
        self.details = Details(lookout, self.actions)


def _house(request: Request) -> House:
    return cast(House, request.app.state.house)


Name = Annotated[str, AfterValidator(lambda text: text.replace(SLASH, "/"))]
"""A name in a path, which may have a slash in it."""

In = Annotated[House, Depends(_house)]
Limit = Annotated[int, Query(ge=1, le=LARGEST)]
After = Annotated[str, Query(max_length=LONGEST, description="The `next` of the page before.")]
Word = Annotated[str, Query(max_length=LONGEST)]
Since = Annotated[float | None, Query(ge=0, le=1e11, allow_inf_nan=False)]
