"""What tasks print, over HTTP: in pages, and as a stream."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Annotated

import msgspec
from fastapi import APIRouter, Header, Query, Response
from fastapi.responses import StreamingResponse

from samovar.host.lines import LogPage, LogQuery
from samovar.web import models
from samovar.web.feed import QUIET, event
from samovar.web.problems import documented
from samovar.web.routes.base import EVENTS, LONGEST, After, House, In, Name, Word

router = APIRouter(prefix="/api/v1", tags=["logs"])

LARGEST = 5_000
"""Lines of a page."""

LOOK = 0.25
"""Seconds between two looks of a stream at whether more is written."""

Tail = Annotated[int | None, Query(ge=0, le=LARGEST, description="Only the last so many.")]


@router.get("/runs/{run}/logs", response_model=models.LogLines, responses=documented(404), operation_id="get_logs")
def get_logs(
    run: Name,
    house: In,
    action: Word = "",
    tail: Tail = None,
    after: After = "",
    limit: Annotated[int, Query(ge=1, le=LARGEST)] = 1000,
) -> models.LogLines:
    """The oldest first; `next` is where to go on, now or when more is written."""
    page = house.lookout.lines(LogQuery(run=run, action=action, tail=tail, after=after, limit=limit))
    if not page.lines:
        house.runs.get(run)
    found = [models.LogLine(**msgspec.structs.asdict(line)) for line in page.lines]
    return models.LogLines(lines=found, next=page.next, is_last=page.is_last)


@router.get(
    "/runs/{run}/logs/stream",
    response_class=StreamingResponse,
    responses={200: {"content": {EVENTS: {"schema": {"type": "string"}}}}, **documented(404)},
    operation_id="stream_logs",
)
async def stream_logs(
    run: Name,
    house: In,
    action: Word = "",
    after: After = "",
    last_event_id: Annotated[str, Header(max_length=LONGEST)] = "",
) -> Response:
    """An event `line` for each line, from `after` or `Last-Event-ID` on, and `end` when none will follow."""
    query = LogQuery(run=run, action=action, after=after or last_event_id, limit=500)
    first = await asyncio.to_thread(_first, house, query)
    return StreamingResponse(_lines(house, query, first), media_type=EVENTS)


def _first(house: House, query: LogQuery) -> LogPage:
    """404: there is no such run."""
    house.runs.get(query.run)
    return house.lookout.lines(query)


async def _lines(house: House, query: LogQuery, page: LogPage) -> AsyncIterator[bytes]:
    """Until none will follow, nobody reads them, or the service ends."""
    yield b": samovar\n\n"
    quiet = time.monotonic() + QUIET
    is_over = False
    while not house.lookout.closing.done():
        if page.lines:
            quiet = time.monotonic() + QUIET
            yield _events(page)
        elif time.monotonic() >= quiet:
            quiet = time.monotonic() + QUIET
            yield b": keep-alive\n\n"
        if page.is_last and is_over:
            yield event("end", b"{}", page.next)
            return
        if page.is_last:
            await asyncio.sleep(LOOK)
            is_over = not await asyncio.to_thread(_is_live, house, query.run)
        query = msgspec.structs.replace(query, after=page.next or query.after)
        page = await asyncio.to_thread(house.lookout.lines, query, is_over)  # what is not stored yet comes later


def _is_live(house: House, run: str) -> bool:
    with house.lookout.turn:
        return bool(house.lookout.engine.survey.root(run))


def _events(page: LogPage) -> bytes:
    """Only the last has a cursor: whoever is cut off before it gets them again."""
    encoded = [msgspec.json.encode(msgspec.structs.asdict(line)) for line in page.lines]
    return b"".join(event("line", line) for line in encoded[:-1]) + event("line", encoded[-1], page.next)
