"""``samovar images``: build ahead, list and remove what containers start from.

What must stay true: stdout carries the list or the tags and nothing else, and an error is one message, without a
traceback.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any, TypeVar

import click

from samovar.cli import script
from samovar.errors import BaseRuntimeError, ImageBuildError
from samovar.model import Environment

T = TypeVar("T")


def list_images(output: str) -> None:
    from samovar.images import store  # here, as all of the container engine's: it is an extra

    images = _with_docker(store.listed)
    if output == "json":
        click.echo(json.dumps([{**image._asdict(), "name": store.name_of(image)} for image in images], indent=2))
        return
    now = time.time()
    rows = [("IMAGE", "KIND", "ID", "SIZE", "AGE", "CONTAINERS")]
    for image in images:
        short = image.id.removeprefix("sha256:")[:12]
        age, used = _age(now - image.created), str(image.containers)
        rows.append((store.name_of(image), image.kind, short, _size(image.size), age, used))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def build_images(file: str, quiet: bool) -> None:
    environments = _environments(file)
    if not environments:
        raise script.BadInput(f"{file} has no tasks, so there is nothing to build: none is decorated with @env.task.")

    def report(line: str) -> None:
        if not quiet:
            click.echo(f"samovar: {line}", err=True)

    async def build(docker: Any) -> None:
        from samovar.images import oci

        for environment in environments:
            try:
                click.echo(await oci.ensure(docker, environment.image, report))
            except ImageBuildError as error:
                raise ImageBuildError(f"environment '{environment.name}': {error}") from error

    _with_docker(build)


def remove_images(references: Sequence[str], force: bool) -> None:
    async def remove(docker: Any) -> None:
        from samovar.images import store

        for image in {found.id: found for found in [await store.find(docker, name) for name in references]}.values():
            await store.remove(docker, image, force)
            click.echo(store.name_of(image))

    _with_docker(remove)


def prune_images(bases: bool) -> None:
    from samovar.images import store

    removed = _with_docker(lambda docker: store.prune(docker, bases))
    for image in removed:
        click.echo(store.name_of(image))


def _with_docker(work: Callable[[Any], Coroutine[Any, Any, T]]) -> T:
    """What ``work`` gives, done with a client; its errors as messages."""

    async def run() -> T:
        from samovar.images import dockerapi

        async with dockerapi.opened() as docker:
            return await work(docker)

    try:
        return asyncio.run(run())
    except BaseRuntimeError as error:
        raise click.ClickException(str(error)) from error


def _environments(file: str) -> list[Environment]:
    """Those of the file's tasks and of what they depend on, each image once."""
    module = script.load(file)
    found: dict[Any, Environment] = {}
    try:
        for environment in _reachable(vars(module).values()):
            for task in environment.tasks.values():
                found.setdefault(task.spec.environment.image, task.spec.environment)
        for task in script.find_tasks(module).values():
            found.setdefault(task.spec.environment.image, task.spec.environment)
    except ValueError as error:
        raise script.BadInput(str(error)) from error
    return list(found.values())


def _reachable(values: Iterable[Any]) -> list[Any]:
    from samovar.sdk.environment import TaskEnvironment

    found: list[Any] = []
    waiting = [value for value in values if isinstance(value, TaskEnvironment)]
    while waiting:
        environment = waiting.pop(0)
        if not any(environment is known for known in found):
            found.append(environment)
            waiting += environment.depends_on
    return found


def _size(size: float) -> str:
    return f"{size / 1e6:.0f} MB" if size < 1e9 else f"{size / 1e9:.1f} GB"


def _age(seconds: float) -> str:
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds // length:.0f} {unit}"
    return f"{max(0, seconds):.0f} s"
