"""The application: routes, what is answered where there are none, and the pages' own files."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import msgspec
from fastapi import FastAPI
from starlette.routing import Match, Mount
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Scope

import samovar
from samovar.entries import RunSummary
from samovar.host.premises import Premises
from samovar.web import models, problems
from samovar.web.feed import Feed, Standing
from samovar.web.guard import is_file
from samovar.web.lookout import Lookout
from samovar.web.routes import logs, metrics, pools, runs, service, timeline
from samovar.web.routes.base import House, Segments
from samovar.web.runs import told

STATIC = Path(__file__).parent / "static"

ROUTERS = [service.router, metrics.router, timeline.router, pools.router, logs.router, runs.router]
"""In the order in which they are asked."""


def application(premises: Premises, closing: Future[None], guarded: Callable[[ASGIApp], ASGIApp]) -> ASGIApp:
    """``closing``: streams end when it is done. ``guarded``: puts a guard in front of it."""
    house = House(Lookout(premises, closing))
    feed = house.lookout.feed
    feed.compose = functools.partial(_events, feed)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        sampling = asyncio.create_task(feed.run())
        try:
            yield
        finally:
            sampling.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await sampling

    app = _App(
        title="samovar",
        version=samovar.__version__,
        description="What a samovar service does, and has done. Times are seconds since 1970.",
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )
    app.state.house = house
    problems.install(app)
    for router in ROUTERS:
        app.include_router(router)
    app.router.routes.append(_Files("/", StaticFiles(directory=STATIC, html=True), name="static"))
    return guarded(Segments(app))


class _App(FastAPI):
    def openapi(self) -> dict[str, Any]:
        described = super().openapi()
        described["components"]["schemas"].setdefault("Problem", models.Problem.model_json_schema())
        return described


class _Files(Mount):
    """What is no file is answered by the routes alone, with what they allow."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        return super().matches(scope) if is_file(scope["path"]) else (Match.NONE, {})


def _events(feed: Feed, standing: Standing, changed: list[RunSummary]) -> list[tuple[str, bytes]]:
    """In a thread: what those who listen are told of a sample."""
    found = [("pools", pools.pool_list(feed, standing).model_dump_json().encode())]
    if changed:
        items = [told(run).model_dump(mode="json") for run in changed]
        found.append(("runs", msgspec.json.encode({"items": items})))
    return found
