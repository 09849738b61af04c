"""Scripts and the command as whole processes: what they print, how they end, what they leave."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from . import services
from .conftest import until

ROOT = Path(__file__).parents[2]
SEED = ROOT / "examples" / "seed"


def command(*args: str, **kwargs: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "samovar", *args], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )


def group_members(marker: str) -> list[int]:
    """Live replicas, and their stray children, whose environment holds ``marker``."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                environ = (entry / "environ").read_bytes()
                if marker.encode() in environ and b"samovar.runtime" in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        (("basic_usage.py", "main"), [0, 1, 4, 9, 16, 25, 36, 49, 64, 81]),
        (("batch_processing.py", "batch_workflow", "--items", '[{"data": 1}, {"data": 2}]'), None),
        (("ml_inference.py", "predict", "--data", "[1, 2, 3]"), None),
        (("best_practices.py", "process_data", "--data", '{"id": 1}'), None),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_the_programs_of_the_seed(program: tuple[str, ...], expected: object) -> None:
    done = command("run", "-o", "json", str(SEED / program[0]), *program[1:])
    assert done.returncode == 0, done.stderr
    value = json.loads(done.stdout)
    assert value == expected if expected is not None else value


BAD_MODULE = """
import flyte, os
env = flyte.TaskEnvironment(name="bad", reusable=flyte.ReusePolicy(replicas=1))
if "SAMOVAR_TEST_PARENT" not in os.environ or __name__ != "__main__":
    raise RuntimeError("only imports at home")
@env.task
async def main() -> int:
    return 1
if __name__ == "__main__":
    flyte.run(main).wait()
"""


def test_a_module_that_does_not_import_in_the_replica(tmp_path: Path) -> None:
    home = services.Home(tmp_path, BAD_MODULE)
    done = home.samovar(str(home.script), SAMOVAR_TEST_PARENT="1")
    assert done.returncode == 1
    assert "ModuleLoadError" in done.stderr
    assert "only imports at home" in done.stderr


SLEEPER = """
import asyncio, subprocess, sys
import flyte
env = flyte.TaskEnvironment(name="sleeper", reusable=flyte.ReusePolicy(replicas=2))
@env.task
async def main() -> None:
    stray = "import time; time.sleep(600)  # samovar.runtime"
    subprocess.Popen([sys.executable, "-c", stray], start_new_session=True)
    print("asleep", flush=True)
    await asyncio.sleep(600)
"""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_replica_outlives_its_engine(tmp_path: Path, how: signal.Signals) -> None:
    script = tmp_path / "sleeper.py"
    script.write_text(SLEEPER)
    marker = f"SAMOVAR_TEST_MARK={tmp_path}"
    process = subprocess.Popen(
        [sys.executable, "-m", "samovar", "run", str(script), "main"],
        env={**os.environ, "TEST_MARK": marker},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if "asleep" in line:
            break
    until(lambda: len(group_members(marker)) >= 3)  # two replicas and a stray child
    process.send_signal(how)
    rest = process.stdout.read()
    process.wait(services.SECONDS)
    assert process.returncode == {"SIGINT": 130, "SIGTERM": 143, "SIGKILL": -9}[how.name], rest
    assert "Traceback" not in rest
    until(lambda: not group_members(marker))
    process.stdout.close()


@pytest.mark.parametrize("path", ["examples/script.py"])
def test_plain_scripts(path: str) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / path)], capture_output=True, text=True, timeout=60, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    assert "[0, 1, 4" in done.stdout


def test_exit_codes() -> None:
    assert command("run", str(SEED / "basic_usage.py"), "compute_task", "--x", "three").returncode == 2
    assert command("run", str(SEED / "basic_usage.py"), "nothing").returncode == 2
    failed = command("run", str(SEED / "ml_inference.py"), "predict", "--data", "[]")
    assert failed.returncode in (0, 1)
