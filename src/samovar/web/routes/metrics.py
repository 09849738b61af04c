"""What Prometheus scrapes, over HTTP."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header, Response

from samovar.web.metrics import expose
from samovar.web.problems import documented
from samovar.web.routes.base import In

router = APIRouter(tags=["service"])


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, **documented()},
    operation_id="get_metrics",
)
def get_metrics(house: In, accept: Annotated[str, Header(max_length=1000)] = "") -> Response:
    """In Prometheus's format, or OpenMetrics for whoever accepts it."""
    given = expose(house.lookout.station, house.lookout.journal, accept)
    return Response(given.body, media_type=given.content_type)
