"""What is answered where there is no answer: RFC 9457 problems, in which ``detail`` says what to do.

Whatever a route raises, and what Starlette and FastAPI raise before one is met, becomes one of these.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import msgspec
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from samovar import errors
from samovar.web import models

MEDIA_TYPE = "application/problem+json"

_ADVICE = {
    404: "nothing is here; /openapi.json lists what there is",
    405: "this cannot be done here; the header Allow lists what can",
}


class Problem(Exception):
    """Raised by routes; ``detail`` says what to do."""

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = dict(headers or {})
        if status == 401:
            self.headers.setdefault("www-authenticate", 'Bearer realm="samovar"')


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """For OpenAPI: that these may be answered, beside what every route may answer."""
    everywhere = (401, 403, 413, 421, 422, 500, 503)
    return {
        status: {
            "description": HTTPStatus(status).phrase,
            "content": {MEDIA_TYPE: {"schema": {"$ref": f"#/components/schemas/{models.Problem.__name__}"}}},
        }
        for status in sorted({*everywhere, *statuses})
    }


def answer_of(problem: Problem) -> Response:
    title = HTTPStatus(problem.status).phrase
    body = {"type": "about:blank", "title": title, "status": problem.status, "detail": problem.detail}
    return Response(msgspec.json.encode(body), problem.status, problem.headers, MEDIA_TYPE)


def install(app: FastAPI) -> None:
    async def raised(_: Request, error: Exception) -> Response:
        return answer_of(_problem_of(error))

    for kind in (
        Problem,
        HTTPException,
        RequestValidationError,
        errors.JournalAwayError,
        errors.JournalError,
        Exception,
    ):
        app.add_exception_handler(kind, raised)


def _problem_of(error: Exception) -> Problem:
    if isinstance(error, Problem):
        return error
    if isinstance(error, HTTPException):
        detail = _ADVICE.get(error.status_code, str(error.detail))
        return Problem(error.status_code, detail, error.headers)
    if isinstance(error, RequestValidationError):
        return Problem(422, "; ".join(map(_said, error.errors())) or "the request is not understood")
    if isinstance(error, errors.JournalAwayError):
        return Problem(503, f"what is written down cannot be read now: {error}")
    if isinstance(error, errors.JournalError):
        return Problem(404, str(error))
    return Problem(500, f"samovar failed to answer: {type(error).__name__}; the service's log says more")


def _said(found: Mapping[str, Any]) -> str:
    where = ".".join(str(part) for part in found.get("loc", ()) if part not in ("query", "path", "body"))
    return f"{where or 'body'}: {found.get('msg', 'is wrong')}"
