"""The command as a whole: what goes to stdout, what to stderr, and the exit status."""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import Any

import pytest

from samovar import errors
from samovar.cli.run import Pools

from .conftest import pool


def test_the_result_is_all_there_is_on_stdout(samovar: Any) -> None:
    file = samovar.write("@env.task\nasync def main(x: int) -> list[int]:\n    return [x, x + 1]\n")
    result = samovar("run", file, "main", "--x", "3")
    assert result.exit_code == 0
    assert result.stdout == "[3, 4]\n"
    assert "[main run-1] hello" in result.stderr
    assert "run run-1 of demo.main started" in result.stderr
    assert "demo: 1 replica ready" in result.stderr
    assert "run run-1 succeeded in" in result.stderr
    assert "3 tasks done, 1 cold, 2 warm" in result.stderr
    assert samovar.host.closed == [2.0]


def test_none_prints_nothing_and_json_prints_null(samovar: Any) -> None:
    file = samovar.write("@env.task\ndef main() -> None:\n    pass\n")
    assert samovar("run", file, "main").stdout == ""
    assert samovar("run", "-o", "json", file, "main").stdout == "null\n"


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("1", 1),
        ("float('nan')", None),
        ("2 ** 80", 2**80),
        ("(1, 'a')", [1, "a"]),
        ("{1: [Point(1)]}", {"1": [{"x": 1}]}),
        ("{(1, 2): 3}", {"(1, 2)": 3}),
        ("Model(n=2)", {"n": 2}),
        ("[Model(n=2)]", [{"n": 2}]),
        ("numpy.arange(3)", [0, 1, 2]),
        ("numpy.float64(1.5)", 1.5),
        ("{'a': numpy.int32(1)}", {"a": 1}),
        ("pandas.DataFrame({'a': [1, 2]})", [{"a": 1}, {"a": 2}]),
        ("pathlib.Path('/a')", "/a"),
        ("Plain()", "a plain thing"),
        ("[Plain(), float('inf')]", ["a plain thing", None]),
    ],
)
def test_json_of_any_result(samovar: Any, expression: str, expected: Any) -> None:
    file = samovar.write(
        f"""
        import dataclasses, pathlib
        import numpy, pandas, pydantic
        @dataclasses.dataclass
        class Point:
            x: int
        class Model(pydantic.BaseModel):
            n: int
        class Plain:
            def __repr__(self): return "a plain thing"
        @env.task
        def main():
            return {expression}
        """
    )
    result = samovar("run", "-o", "json", file, "main")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout) == expected


def test_quiet_no_progress_and_no_log(samovar: Any) -> None:
    file = samovar.write("@env.task\ndef main() -> str:\n    return 'x'\n")
    assert samovar("run", "--quiet", file, "main").stderr == ""
    assert samovar("run", "--no-progress", file, "main").stderr == "[main run-1] hello\n"
    assert "hello" not in samovar("run", "--no-log", file, "main").stderr
    assert samovar("run", "-q", file, "main").stdout == "x\n"


def test_name_and_context(samovar: Any) -> None:
    file = samovar.write("@env.task\ndef main() -> None:\n    pass\n")
    assert samovar("run", "--name", "mine", "--context", "a=1=2", file, "main").exit_code == 0
    assert samovar.host.runs[-1].name == "mine"
    assert samovar.host.contexts == [{"a": "1=2"}]
    assert samovar("run", "--context", "a", file, "main").exit_code == 2


def test_what_is_cached_can_be_run_all_the_same(samovar: Any) -> None:
    file = samovar.write("@env.task\ndef main() -> None:\n    pass\n")
    for options in ((), ("--no-cache",), ("--overwrite-cache",)):
        assert samovar("run", *options, file, "main").exit_code == 0
    assert samovar.host.cachings == ["", "off", "replace"]
    assert samovar("run", "--no-cache", "--overwrite-cache", file, "main").exit_code == 2


def test_a_failed_task_is_status_1_with_its_traceback(samovar: Any) -> None:
    file = samovar.write("@env.task\ndef main() -> None:\n    raise ValueError('boom')\n")
    result = samovar("run", file, "main")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert "Traceback (most recent call last):\nValueError: boom" in result.stderr
    assert "run run-1 failed: RuntimeUserError: ValueError: boom (on replica-1)" in result.stderr
    assert samovar.host.closed == [2.0]


def test_a_time_out_of_the_wait_is_not_one_of_the_task(samovar: Any) -> None:
    def not_yet() -> None:
        raise TimeoutError

    samovar.host.waits += [not_yet, not_yet]
    file = samovar.write("@env.task\ndef main() -> int:\n    return 5\n")
    result = samovar("run", file, "main")
    assert (result.exit_code, result.stdout) == (0, "5\n")


def test_a_host_that_does_not_open(samovar: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(**_: Any) -> None:
        raise errors.InitializationError("InitializationError", "no room")

    monkeypatch.setattr(sys.modules["samovar.host"], "open_host", broken)
    result = samovar("run", samovar.write("@env.task\ndef main() -> int:\n    return 5\n"), "main")
    assert result.exit_code == 2
    assert "the run could not start: InitializationError: no room" in result.stderr


def test_the_driver_is_named(samovar: Any) -> None:
    path = samovar.write("@env.task\ndef main() -> int:\n    return 5\n")
    assert samovar("run", path, "main").exit_code == 0
    assert samovar.host.driver == ""
    assert samovar("run", "--driver", "container", path, "main").exit_code == 0
    assert samovar.host.driver == "container"
    assert samovar("run", "--endpoint", "/run/other.sock", path, "main").exit_code == 0
    assert (samovar.host.driver, samovar.host.endpoint) == ("", "/run/other.sock")
    assert samovar.host.copy_style == ""
    assert samovar("run", "--copy-style", "all", path, "main").exit_code == 0
    assert samovar.host.copy_style == "all"
    unknown = samovar("run", "--driver", "balloon", path, "main")
    assert unknown.exit_code == 2
    assert "'auto', 'process', 'container'" in unknown.stderr


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_aborts_and_drains(samovar: Any, number: int, status: int) -> None:
    samovar.host.waits.append(lambda: os.kill(os.getpid(), number))
    before = signal.getsignal(number)
    result = samovar("run", samovar.write("@env.task\ndef main() -> int:\n    return 5\n"), "main")
    assert result.exit_code == status
    assert result.stdout == ""
    assert samovar.host.runs[-1].aborted == [f"interrupted by {signal.Signals(number).name}"]
    assert samovar.host.closed == [2.0]
    assert signal.getsignal(number) is before


def test_a_second_ctrl_c_does_not_wait(samovar: Any) -> None:
    def again() -> None:
        os.kill(os.getpid(), signal.SIGINT)

    samovar.host.waits.append(again)
    samovar.host.closes.append(again)
    result = samovar("run", samovar.write("@env.task\ndef main() -> int:\n    return 5\n"), "main")
    assert result.exit_code == 130
    assert samovar.host.closed == [2.0, 0.0]


def test_ctrl_c_while_the_file_is_imported(samovar: Any) -> None:
    result = samovar("run", samovar.write("import os\nos.kill(os.getpid(), 2)\n"), "main")
    assert result.exit_code == 130


def test_an_unknown_task_is_told_the_ones_there_are(samovar: Any) -> None:
    file = samovar.write("@env.task\ndef main() -> None: ...\n@env.task\ndef other() -> None: ...\n")
    result = samovar("run", file, "mian")
    assert result.exit_code == 2
    assert "no task 'mian'. Did you mean main" in result.stderr
    assert "Its tasks: main, other" in result.stderr
    assert samovar("run", file, "demo.main").exit_code == 0
    missing = samovar("run", file)
    assert missing.exit_code == 2
    assert "TASK is missing" in missing.stderr


def test_a_task_whose_name_was_taken_again_is_found_through_its_environment(samovar: Any) -> None:
    file = samovar.write("@env.task\ndef main() -> int:\n    return 1\nmain = None\n")
    assert samovar("run", file, "main").stdout == "1\n"


def test_files_that_cannot_be_used(samovar: Any, tmp_path: Any) -> None:
    for file, expected in (
        ("nowhere.py", "does not exist"),
        (str(tmp_path), "is a directory"),
        (samovar.write("", "empty.py"), "has no tasks"),
        (samovar.write("import sys; sys.exit(3)", "exits.py"), "called sys.exit(3)"),
        (samovar.write("def f(:\n", "syntax.py"), "SyntaxError"),
        (samovar.write("import no_such_module_", "imports.py"), "No module named 'no_such_module_'"),
    ):
        result = samovar("run", file, "main")
        assert (result.exit_code, result.stdout) == (2, "")
        assert expected in result.stderr


def test_an_import_error_shows_the_user_s_frames_only(samovar: Any) -> None:
    result = samovar("run", samovar.write("def f():\n    1 / 0\nf()\n"), "main")
    assert result.exit_code == 2
    assert "ZeroDivisionError: division by zero" in result.stderr
    frames = [line for line in result.stderr.splitlines() if line.startswith('  File "')]
    assert len(frames) == 2
    assert all("program.py" in line for line in frames)


def test_a_file_named_like_a_module_of_the_standard_library(samovar: Any) -> None:
    file = samovar.write("@env.task\ndef main() -> str:\n    return __name__\n", "json.py")
    assert samovar("run", file, "main").stdout == "json_script\n"


def test_version_and_help(samovar: Any) -> None:
    assert samovar("--version").stdout.startswith("samovar ")
    assert "FILE" in samovar("run", "--help").stdout
    for group in ((), ("get",), ("pool",), ("token",), ("images",)):
        listed = samovar(*group, "--help").stdout
        assert "Commands:" in listed
        assert "..." not in listed.partition("Commands:")[2], "what a command does is said whole"
    assert samovar("run").exit_code == 2


def test_a_service_that_has_come_instead_counts_its_pools_anew() -> None:
    counts = [pool(done=8, cold=2, warm=6), pool(done=9, cold=2, warm=7), pool(done=0, cold=0, warm=0), pool(done=4)]
    host: Any = type("Counting", (), {"stats": lambda _: [counts.pop(0)]})()
    pools = Pools(host)
    shown = [pools()[0] for _ in range(3)]
    assert [(one.done, one.cold, one.warm) for one in shown] == [(1, 0, 1), (0, 0, 0), (4, 1, 2)]
