"""What a shell completes names with. A shell must not wait or see an error: no answer is an empty one."""

from __future__ import annotations

from collections.abc import Callable

from click.shell_completion import CompletionItem

from samovar.cli.source import Source
from samovar.entries import RunQuery

MOST = 50


def runs(incomplete: str) -> list[CompletionItem]:
    """The newest."""

    def look(source: Source) -> list[CompletionItem]:
        found = source.newest(RunQuery(), MOST, lambda run: run.run.startswith(incomplete))
        return [CompletionItem(run.run, help=f"{run.task}, {run.phase.value.replace('_', ' ')}") for run in found]

    return _looked(look)


def pools(incomplete: str) -> list[CompletionItem]:
    def look(source: Source) -> list[CompletionItem]:
        found = [pool for pool in source.standing()[0] if pool.name.startswith(incomplete)]
        return [CompletionItem(pool.name, help=f"{pool.ready} ready, {pool.queued} queued") for pool in found[:MOST]]

    return _looked(look)


def _looked(look: Callable[[Source], list[CompletionItem]]) -> list[CompletionItem]:
    source = Source("")
    try:
        return look(source)
    except Exception:  # whatever it is, the command that is being written will say it
        return []
    finally:
        source.close()
