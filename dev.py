#!/usr/bin/env python3
"""Set up and run this checkout; nothing but Python 3.11+ is needed.

    python3 dev.py run FILE TASK [--param value …]   run a task (the command `samovar run`)
    python3 dev.py test [pytest argument …]          all checks and all tests
    python3 dev.py bench [argument …]                the benchmarks
    python3 dev.py setup                             only make the environment
    python3 dev.py --help                            this text

The first call makes .venv from requirements.lock, every package checked against its hash; later calls find it
ready, and make it anew when requirements.lock or pyproject.toml has changed. Set-up talks on stderr alone.
`test` exits with 1 when any step fails, and runs all of them, two at a time; one that does not end is ended. With
pytest arguments, which may choose a part of the tests, it runs one after the other, and coverage is shown and does not
count.
"""

from __future__ import annotations

import sys

if sys.version_info < (3, 11):  # noqa: UP036 - this file is what an older Python meets first
    sys.exit("samovar needs Python 3.11 or later; this is Python {}.{}.".format(*sys.version_info[:2]))

import contextlib
import fcntl
import hashlib
import importlib.util
import itertools
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
BIN = VENV / "bin"
PYTHON = BIN / "python"
LOCK = ROOT / "requirements.lock"
MARKER = VENV / "made-from"

COVERED = "*/samovar/core/*,*/samovar/wire/*"
RULES = ["tests/core", "tests/wire"]
"""What covers them."""

LIMIT = 2400
"""Seconds for a step beside others; the longest takes a quarter of them."""

LANES = 2
ROOMS = {
    "containers": ["tests/real", "tests/conformance/driver", "tests/docs"],
    "journeys": ["tests/journeys"],
    "pages": ["tests/web", "tests/web_pages"],
    "simulator": ["tests/sim"],
    "chaos": ["tests/chaos"],
}
"""Tests that take long, the longest first, each room a process; two of them run at a time, and all other tests are one
more. What uses the container engine is one room, as its storage serves one process at a time."""

OWN_NETWORK = ["unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]
"""Before a command: it has a loopback and no other network. For the pages: whatever network comes or goes, as those of
containers do, cuts a browser's requests off."""

CONTAINERS = "tests/real/containers"
DOCKER = [
    "--container-engine=docker",
    *(f"{CONTAINERS}/test_{name}.py" for name in ("journeys", "hardening", "limits")),
    f"{CONTAINERS}/test_images.py::test_every_step_is_in_the_image",
    f"{CONTAINERS}/test_images.py::test_a_dockerfile_is_built_in_its_folder",
    f"{CONTAINERS}/test_images.py::test_settings_reach_a_dockerfile_and_do_not_stay",
]
"""A room more: what Docker does in its own way. All of the folder runs with it where somebody asks for that."""


class SetupError(Exception):
    """The environment cannot be made; the message says why and what to do."""


# set-up


def say(line: str) -> None:
    print(f"setup: {line}", file=sys.stderr, flush=True)


def digest() -> str:
    """Of all that .venv is made from; its own path too, because the programs in it name it."""
    found = hashlib.sha256(repr((sys.version_info[:3], str(VENV))).encode())
    for source in (LOCK, ROOT / "pyproject.toml"):
        found.update(source.read_bytes())
    return found.hexdigest()


def is_ready(wanted: str) -> bool:
    return PYTHON.exists() and MARKER.exists() and MARKER.read_text() == wanted


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Of two calls that meet a missing environment, one makes it and the other waits."""
    handle = os.open(ROOT, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def setup() -> None:
    wanted = digest()
    if is_ready(wanted):
        return
    with alone():
        if not is_ready(wanted):
            make(wanted)


def make(wanted: str) -> None:
    missing = [name for name in ("venv", "ensurepip") if importlib.util.find_spec(name) is None]
    if missing:
        raise SetupError(
            f"this Python has no module {' and no module '.join(missing)}, so it cannot make a virtual "
            "environment. On Debian and Ubuntu: apt install python3-venv"
        )
    started = time.monotonic()
    MARKER.unlink(missing_ok=True)
    say(f"making {VENV.name} with Python {'.'.join(map(str, sys.version_info[:3]))}")
    step([sys.executable, "-m", "venv", "--clear", str(VENV)])
    say("installing the installer")
    with tempfile.TemporaryDirectory() as folder:
        pin = Path(folder) / "uv.txt"
        pin.write_text(pinned("uv"))
        pip = [str(PYTHON), "-m", "pip", "--disable-pip-version-check", "--quiet"]
        step([*pip, "install", "--no-deps", "--only-binary", ":all:", "--require-hashes", "-r", str(pin)])
    say("installing what requirements.lock names")
    uv = [str(BIN / "uv"), "pip", "install", "--quiet", "--python", str(PYTHON)]
    step([*uv, "--require-hashes", "-r", str(LOCK)])
    say("installing samovar, editable")
    step([*uv, "--no-deps", "--no-build-isolation", "-e", str(ROOT)])
    MARKER.write_text(wanted)
    say(f"ready after {time.monotonic() - started:.0f} s")


def pinned(name: str) -> str:
    """The entry of one package in the lock, with its hashes."""
    lines = LOCK.read_text().splitlines()
    start = next((at for at, line in enumerate(lines) if line.startswith(f"{name}==")), None)
    if start is None:
        raise SetupError(f"{LOCK.name} does not name {name}; renew it as CONTRIBUTING.md says")
    end = start
    while lines[end].endswith("\\"):
        end += 1
    return "\n".join(lines[start : end + 1]) + "\n"


def step(command: list[str]) -> None:
    done = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=sys.stderr)
    if done.returncode:
        raise SetupError(f"`{' '.join(command)}` ended with exit code {done.returncode}; its output is above")


# commands


def become(program: Path, *arguments: str) -> int:
    """Replace this process, so that signals and the exit code are the program's own."""
    sys.stdout.flush()
    sys.stderr.flush()
    if not program.exists():
        raise SetupError(f"{program.name} is not in {VENV.name}; remove {VENV.name} and try again")
    os.execv(program, [str(program), *arguments])


def run(arguments: list[str]) -> int:
    return become(BIN / "samovar", "run", *arguments)


def bench(arguments: list[str]) -> int:
    return become(PYTHON, str(ROOT / "benchmarks"), *arguments)


def test(arguments: list[str]) -> int:
    python = str(PYTHON)
    checks = {
        "ruff check": [str(BIN / "ruff"), "check", "."],
        "ruff format": [str(BIN / "ruff"), "format", "--check", "."],
        "mypy": [python, "-m", "mypy"],
        "import-linter": [str(BIN / "lint-imports")],
    }
    pytest, measured = [python, "-m", "pytest"], [python, "-m", "coverage", "run", "-m", "pytest"]
    report = {"coverage": [python, "-m", "coverage", "report", "--fail-under=100", f"--include={COVERED}"]}
    if arguments:
        results = carry_out({**checks, "pytest": [*measured, *arguments]})
        carry_out(report)
    else:
        rooms = {f"pytest {name}": [*pytest, *paths] for name, paths in ROOMS.items()}
        if succeeds([*OWN_NETWORK, "true"]):
            rooms["pytest pages"][:0] = OWN_NETWORK
        rest = ["tests", *(f"--ignore={path}" for path in itertools.chain(RULES, *ROOMS.values()))]
        rooms |= {"pytest docker": [*pytest, *DOCKER]}
        rooms |= {"pytest rest": [*pytest, *rest], "pytest rules": [*measured, *RULES]}
        results = carry_out({**checks, **rooms}, LANES)
        results |= carry_out(report)
    failed = [name for name, code in results.items() if code]
    print(f"failed: {', '.join(failed)}" if failed else "all steps passed", flush=True)
    return 1 if failed else 0


def succeeds(command: list[str]) -> bool:
    try:
        return subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0
    except FileNotFoundError:
        return False


def carry_out(steps: dict[str, list[str]], lanes: int = 1) -> dict[str, int]:
    """The exit code of each step. Beside others a step is shown as a whole when it has ended, else as it goes."""
    showing = threading.Lock()

    def one(name: str) -> int:
        started = time.monotonic()
        with tempfile.TemporaryFile() as said:
            if lanes == 1:
                print(f"── {name}", flush=True)
            output = said if lanes > 1 else None
            process = subprocess.Popen(steps[name], cwd=ROOT, env=variables(), stdout=output, stderr=output)
            try:
                code = process.wait(LIMIT if lanes > 1 else None)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGABRT)  # at which pytest shows where each of its threads is
                code = process.wait()
            with showing:
                if lanes > 1:
                    said.seek(0)
                    print(f"── {name}", flush=True)
                    sys.stdout.buffer.write(said.read())
                outcome = f"FAILED ({code})" if code else "ok"
                print(f"── {name}: {outcome} after {time.monotonic() - started:.0f} s\n", flush=True)
        return code

    with ThreadPoolExecutor(lanes) as pool:
        return dict(zip(steps, pool.map(one, steps), strict=True))


def variables() -> dict[str, str]:
    """The tests start thousands of Pythons. Where nothing is kept of what these compile, that is most of the time."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def main(argv: list[str]) -> int:
    commands = {"run": run, "test": test, "bench": bench, "setup": lambda _: 0}
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(__doc__)
        return 0 if argv else 2
    command = commands.get(argv[0])
    if command is None:
        print(
            f"dev.py: there is no command {argv[0]!r}; the commands are {', '.join(commands)}",
            file=sys.stderr,
        )
        return 2
    try:
        setup()
        return command(argv[1:])
    except SetupError as error:
        print(f"dev.py: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
