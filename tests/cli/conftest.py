"""A host that runs tasks in this process, and a way to call the command on it."""

from __future__ import annotations

import asyncio
import inspect
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from click.testing import CliRunner, Result

from samovar import errors
from samovar.cli.main import cli
from samovar.model import Phase, PoolStats
from samovar.sdk import alias


def pool(**changes: Any) -> PoolStats:
    """One pool that has served, but for what is given."""
    usual = PoolStats("demo", 0, 1, 0, 4, 1, 0, 0, done=3, failed=0, cold=1, warm=2, note="")
    return usual._replace(**changes)


class FakeRun:
    def __init__(self, host: FakeHost, task: Any, inputs: dict[str, Any], name: str) -> None:
        self.host, self.task, self.inputs = host, task, inputs
        self.name = name or "run-1"
        self.phase = Phase.QUEUED
        self.aborted: list[str] = []

    def wait(self, timeout: float | None = None) -> Any:
        for effect in self.host.waits:
            self.host.waits.remove(effect)
            effect()
        self.host.on_log(f"{self.task.short_name} {self.name}", "stdout", "hello\n")
        try:
            result = self.task.func(**self.inputs)
            if inspect.iscoroutine(result):
                result = asyncio.run(result)
        except Exception as error:
            self.phase = Phase.FAILED
            failure = errors.RuntimeUserError(type(error).__name__, str(error), "replica-1")
            failure.traceback_text = f"Traceback (most recent call last):\n{type(error).__name__}: {error}"
            raise failure from None
        self.phase = Phase.SUCCEEDED
        return result

    def abort(self, reason: str = "") -> None:
        self.aborted.append(reason)
        self.phase = Phase.ABORTED


class FakeHost:
    """Runs tasks where it stands; ``waits`` are called first, one a ``wait``: raise what a signal would."""

    def __init__(self) -> None:
        self.runs: list[FakeRun] = []
        self.contexts: list[dict[str, str] | None] = []
        self.cachings: list[str] = []
        self.closed: list[float] = []
        self.driver = self.endpoint = self.copy_style = ""
        self.waits: list[Callable[[], None]] = []
        self.closes: list[Callable[[], None]] = []
        self.report: Callable[[str], None] = lambda _: None
        self.on_log: Callable[[str, str, str], None] = lambda *_: None

    def open_host(
        self,
        *,
        report: Callable[[str], None],
        on_log: Callable[[str, str, str], None],
        driver: str,
        endpoint: str,
        open_web: Any,
    ) -> FakeHost:
        self.report, self.on_log, self.driver, self.endpoint = report, on_log, driver, endpoint
        self.web = "http://127.0.0.1:1" if open_web is not None else ""
        return self

    def start(
        self,
        task: Any,
        inputs: dict[str, Any],
        name: str,
        context: dict[str, str] | None,
        caching: str,
        copy_style: str,
    ) -> FakeRun:
        self.copy_style = copy_style
        self.contexts.append(context)
        self.cachings.append(caching)
        self.runs.append(FakeRun(self, task, inputs, name))
        self.report("an image installs")
        return self.runs[-1]

    def stats(self) -> list[PoolStats]:
        return [pool()] if self.runs else []

    def close(self, grace: float = 2.0) -> None:
        self.closed.append(grace)
        if self.closes:
            self.closes.pop(0)()


class Samovar:
    """The command on a fake host."""

    def __init__(self, host: FakeHost, directory: Path) -> None:
        self.host = host
        self.directory = directory

    def write(self, source: str, name: str = "program.py") -> str:
        path = self.directory / name
        path.write_text("import flyte\nenv = flyte.TaskEnvironment('demo')\n" + textwrap.dedent(source))
        return str(path)

    def __call__(self, *arguments: str, stdin: str | None = None) -> Result:
        return CliRunner().invoke(cli, list(arguments), input=stdin, prog_name="samovar")

    def inputs(self, file: str, *arguments: str) -> dict[str, Any]:
        """The inputs that ``samovar run FILE main …`` starts the task with."""
        result = self("run", file, "main", *arguments)
        assert result.exit_code == 0, result.output
        return self.host.runs[-1].inputs


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> FakeHost:
    fake = FakeHost()
    module = ModuleType("samovar.host")
    module.open_host = fake.open_host  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "samovar.host", module)
    return fake


@pytest.fixture
def samovar(host: FakeHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Samovar]:
    from samovar.sdk import bundle

    monkeypatch.setattr(bundle, "_main", None)
    monkeypatch.setattr(bundle, "_bundle", None)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield Samovar(host, tmp_path)
    alias.uninstall()
    for name in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]
