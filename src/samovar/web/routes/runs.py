"""Runs and actions over HTTP."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Body, Query

from samovar.entries import RunQuery
from samovar.model import Phase
from samovar.web import models
from samovar.web.actions import Wanted
from samovar.web.problems import Problem, documented
from samovar.web.routes.base import LONGEST, After, In, Limit, Name, Since, Word

router = APIRouter(prefix="/api/v1", tags=["runs"])


@router.get("/runs", response_model=models.RunList, responses=documented(404), operation_id="list_runs")
def list_runs(
    house: In,
    phase: Phase | None = None,
    task: Word = "",
    search: Word = "",
    since: Since = None,
    limit: Limit = 50,
    after: After = "",
) -> models.RunList:
    """The newest first; `search` is a part of the name or of the task. A page may be short and have a next one."""
    return house.runs.page(RunQuery(phase=phase, task=task, since=since, limit=limit, after=after), search)


@router.post(
    "/runs/{run}/actions/{action}/abort",
    response_model=models.Aborting,
    status_code=202,
    responses=documented(400, 404, 409),
    operation_id="abort_action",
)
def abort_action(
    run: Name, action: Name, house: In, wanted: Annotated[models.Abort | None, Body()] = None
) -> models.Aborting:
    """Ask for the end of an action and of everything below it."""
    if not house.actions.abort(run, action, _reason(wanted)):
        house.runs.get(run)
        raise Problem(409, f"action {action} of run {run} is not on its way; only what has not ended can be aborted")
    return models.Aborting(run=run, action=action)


@router.post(
    "/runs/{run}/abort",
    response_model=models.Aborting,
    status_code=202,
    responses=documented(400, 404, 409),
    operation_id="abort_run",
)
def abort_run(run: Name, house: In, wanted: Annotated[models.Abort | None, Body()] = None) -> models.Aborting:
    """Ask for the end of a run."""
    if not house.runs.abort(run, _reason(wanted)):
        house.runs.get(run)
        raise Problem(409, f"run {run} is not on its way here; only one that has not ended can be aborted")
    return models.Aborting(run=run, action="")


@router.get(
    "/runs/{run}/actions",
    response_model=models.ActionList,
    responses=documented(404),
    operation_id="list_actions",
)
def list_actions(
    run: Name,
    house: In,
    parent: Annotated[str | None, Query(max_length=LONGEST, description="Its id; empty: the first action.")] = None,
    phase: Phase | None = None,
    task: Word = "",
    limit: Limit = 100,
    after: After = "",
) -> models.ActionList:
    """What is on its way, then what is settled; the newest first. Without `parent` all, flat."""
    found = house.actions.page(Wanted(run, parent, phase, task, limit), after)
    if not found.items:
        house.runs.get(run)
    return found


@router.get(
    "/runs/{run}/actions/{action}",
    response_model=models.ActionDetail,
    responses=documented(404),
    operation_id="get_action",
)
def get_action(run: Name, action: Name, house: In) -> models.ActionDetail:
    return house.details.of(run, action)


@router.get("/runs/{run}", response_model=models.RunDetail, responses=documented(404), operation_id="get_run")
def get_run(run: Name, house: In) -> models.RunDetail:
    return house.runs.detail(run)


def _reason(wanted: models.Abort | None) -> str:
    return (wanted.reason if wanted is not None else "") or "aborted from the dashboard"
