"""The service itself over HTTP, its health, and what changes from second to second."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse

from samovar.web import models
from samovar.web.problems import Problem, documented
from samovar.web.routes.base import EVENTS, In

router = APIRouter(tags=["service"])


@router.get("/api/v1/service", response_model=models.Service, responses=documented(), operation_id="get_service")
def get_service(request: Request, house: In) -> models.Service:
    return house.lookout.service(str(request.base_url).rstrip("/"))


@router.get(
    "/api/v1/events",
    response_class=StreamingResponse,
    responses={200: {"content": {EVENTS: {"schema": {"type": "string"}}}}, **documented()},
    operation_id="stream_events",
)
async def stream_events(house: In) -> Response:
    """Once a second `pools`, as /api/v1/pools has it, and `runs`, those that have changed since."""
    return StreamingResponse(house.lookout.feed.stream(), media_type=EVENTS)


@router.get("/healthz", response_model=models.Health, responses=documented(), operation_id="get_health")
def healthz(house: In) -> models.Health:
    """The service lives: its engine takes turns."""
    with house.lookout.turn:
        return models.Health(status="ok")


@router.get("/readyz", response_model=models.Health, responses=documented(), operation_id="get_readiness")
def readyz(house: In) -> models.Health:
    """The service takes runs."""
    if why := house.lookout.why_not_ready():
        raise Problem(503, why)
    return models.Health(status="ok")
