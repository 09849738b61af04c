"""Every block of code in README.md and docs/ does what the page says.

A ```python block is run as a script. Where the line "prints" and a ```text block follow, its stdout is that
text. In a ```console block each `$ samovar run …` or `$ python3 dev.py run …` is run from the root of the
project, with the environment that runs the tests; the lines below it, if any, stand in its output. What asks for
containers gets the engine of the tests, where there can be one. A block that begins with `$ samovar start` is a session
with a service: all its lines are run, in their order, by a user who has nothing yet.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
SECONDS = 60
SECONDS_TO_BUILD = 240  # with an image, and perhaps its base

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PRINTS = re.compile(r"\s*prints:?\s*")
COMMANDS = ("$ samovar run ", "$ python3 dev.py run ")
SESSION = "$ samovar start"
SAMOVAR = [sys.executable, "-c", "import sys; from samovar.cli.main import main; sys.exit(main())"]


class Script(NamedTuple):
    source: str
    prints: str | None


class Command(NamedTuple):
    line: str
    shows: list[str]


def where(page: Path, text: str, at: int) -> str:
    return f"{page.relative_to(ROOT)}:{text.count(chr(10), 0, at) + 1}"


def scripts() -> list[object]:
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        blocks = list(FENCE.finditer(text))
        for block, after in zip(blocks, [*blocks, None][1:], strict=True):
            if block[1] != "python":
                continue
            told = after and after[1] == "text" and PRINTS.fullmatch(text[block.end() : after.start()])
            script = Script(block[2], after[2] if after and told else None)
            found.append(pytest.param(script, id=where(page, text, block.start())))
    return found


def commands() -> list[object]:
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for block in FENCE.finditer(text):
            if block[1] != "console" or block[2].startswith(SESSION):
                continue
            for command in lines_of(block[2]):
                if command.line.startswith(COMMANDS):
                    place = where(page, text, block.start())
                    found.append(pytest.param(command, id=f"{place} {command.line}"))
    return found


def sessions() -> list[object]:
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for block in FENCE.finditer(text):
            if block[1] == "console" and block[2].startswith(SESSION):
                found.append(pytest.param(lines_of(block[2]), id=where(page, text, block.start())))
    return found


def lines_of(block: str) -> list[Command]:
    parts = [part.splitlines() for part in re.split(r"^(?=\$ )", block, flags=re.MULTILINE) if part]
    return [Command(line, shows) for line, *shows in parts]


def execute(command: list[str], cwd: Path, seconds: float = SECONDS, **variables: str) -> str:
    done = subprocess.run(
        command,
        env={**os.environ, **variables},
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=seconds,
    )
    assert done.returncode == 0, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.mark.parametrize("script", scripts())
def test_script(script: Script, tmp_path: Path) -> None:
    file = tmp_path / "block.py"
    file.write_text(script.source, encoding="utf-8")
    out = execute([sys.executable, str(file)], tmp_path, XDG_STATE_HOME=str(tmp_path))
    if script.prints is not None:
        assert out == script.prints


@pytest.mark.timeout(SECONDS_TO_BUILD)
@pytest.mark.parametrize("command", commands())
def test_command(command: Command, request: pytest.FixtureRequest) -> None:
    if "--driver container" in command.line:
        request.getfixturevalue("containers")
    prefix = next(prefix for prefix in COMMANDS if command.line.startswith(prefix))
    out = execute([*SAMOVAR, "run", *shlex.split(command.line.removeprefix(prefix))], ROOT, SECONDS_TO_BUILD)
    for line in command.shows:
        assert line in out


@pytest.mark.parametrize("session", sessions())
def test_session(session: list[Command], tmp_path: Path) -> None:
    (tmp_path / "run").mkdir(mode=0o700)
    own = {"XDG_RUNTIME_DIR": str(tmp_path / "run"), "XDG_STATE_HOME": str(tmp_path), "SAMOVAR_ENDPOINT": ""}
    assert session[-1].line == "$ samovar stop"
    try:
        for command in session:
            said = execute([*SAMOVAR, *shlex.split(command.line.removeprefix("$ samovar "))], ROOT, **own)
            for line in command.shows:
                assert line in said, f"{command.line}: {said}"
    except BaseException:
        execute([*SAMOVAR, "stop", "--grace", "0"], ROOT, **own)
        raise


def test_scripts_are_whole_programs() -> None:
    for param in scripts():
        source = param.values[0].source  # type: ignore[attr-defined]
        assert "import samovar as flyte" in source
        assert 'if __name__ == "__main__":' in source
