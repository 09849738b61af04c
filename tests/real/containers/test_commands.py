"""`samovar run` on containers as a whole process: what it prints, how it ends, what it leaves."""

from __future__ import annotations

import glob
import json
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from samovar.drivers.container_spec import LOCK

from .hosts import SECONDS, until

ROOT = Path(__file__).parents[3]
EXAMPLES = ROOT / "examples"
SAMOVAR = [sys.executable, "-m", "samovar"]
RUN = ["run", "--driver", "container", "-o", "json"]
ASK_FOR_ALL = """
import json, joblib
from sklearn.datasets import load_iris
print(json.dumps(joblib.load("/opt/iris/model.joblib").predict(load_iris().data).tolist()))
"""


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*SAMOVAR, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=4 * SECONDS)


@pytest.mark.parametrize(
    ("program", "task", "inputs", "result"),
    [
        ("basic_usage.py", "main", [], [x * x for x in range(10)]),
        (
            "batch_processing.py",
            "batch_workflow",
            ["--items", '[{"data": 1}, {"data": 2}]'],
            [{"processed": 1, "result": 2}, {"processed": 2, "result": 4}],
        ),
        ("best_practices.py", "process_data", ["--data", '{"id": "a"}'], {"id": "A"}),
    ],
)
def test_the_programs_of_the_seed(program, task, inputs, result):
    done = command(*RUN, str(EXAMPLES / "seed" / program), task, *inputs)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == result


def test_the_program_of_the_seed_that_asks_for_a_gpu():
    done = command(*RUN, str(EXAMPLES / "seed" / "ml_inference.py"), "predict", "--data", "[1, 2, 3]")
    if glob.glob("/dev/nvidia[0-9]*"):
        assert (done.returncode, json.loads(done.stdout)) == (0, 5.5), done.stderr
    else:
        assert (done.returncode, done.stdout) == (1, "")
        assert "environment 'ml-inference' asks for gpu '1', but this machine has none" in done.stderr
        assert "ask for less with Resources(gpu=…)" in done.stderr


def test_a_model_is_loaded_once_by_each_container(engine):
    program = str(EXAMPLES / "containers" / "iris.py")
    (tag,) = command("images", "build", program).stdout.split()
    done = command(*RUN, program, "main")
    assert done.returncode == 0, done.stderr
    species, containers = zip(*json.loads(done.stdout), strict=True)
    assert len(species) == 150
    assert list(species) == json.loads(
        engine.cli("run", "--rm", "--network=none", tag, "/opt/venv/bin/python", "-c", ASK_FOR_ALL)
    )
    loads = Counter(re.findall(r"loading the model in (\w+)", done.stderr))
    assert loads == dict.fromkeys(containers, 1)
    assert len(loads) == 2


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """One that replicas can read; engines make theirs in it."""
    tmp_path.chmod(0o755)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path


def test_an_image_decides_where_its_tasks_run(folder):
    script = folder / "both.py"
    script.write_text(BOTH)
    done = command("run", "-o", "json", str(script), "main")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"apt": [True, "Hello, world!"], "pip": [False, "colorama"]}
    assert re.search(r"environment 'apt' runs in containers of (Podman|Docker) .*: its image asks for apt", done.stderr)


BOTH = """
import importlib.metadata, os, subprocess
import flyte

apt = flyte.TaskEnvironment(
    name="apt",
    image=flyte.Image.from_debian_base().with_apt_packages("hello"),
    reusable=flyte.ReusePolicy(replicas=1),
    network="none",
)
pip = flyte.TaskEnvironment(
    name="pip",
    image=flyte.Image.from_debian_base().with_pip_packages("colorama"),
    reusable=flyte.ReusePolicy(replicas=1),
    depends_on=[apt],
)

def in_container():
    return os.path.exists("/run/samovar/boot")

@apt.task
async def hello() -> tuple[bool, str]:
    return in_container(), subprocess.run(["hello"], capture_output=True, text=True, check=True).stdout.strip()

@pip.task
async def main() -> dict[str, tuple[bool, str]]:
    own = in_container(), importlib.metadata.metadata("colorama")["Name"]
    return {"apt": await hello(), "pip": own}
"""

SLEEPER = """
import asyncio
import flyte
env = flyte.TaskEnvironment(name="sleeper", reusable=flyte.ReusePolicy(replicas=2), network="none")

@env.task
async def main() -> None:
    await asyncio.gather(asleep(), asleep())

@env.task
async def asleep() -> None:
    print("asleep", flush=True)
    await asyncio.sleep(600)
"""


@pytest.fixture
def asleep(engine, folder):
    """A command whose two containers are in the middle of their work."""
    script = folder / "sleeper.py"
    script.write_text(SLEEPER)
    with subprocess.Popen([*SAMOVAR, *RUN, str(script), "main"], stderr=subprocess.PIPE, text=True) as process:
        said = 0
        for line in process.stderr:
            said += line.endswith("asleep\n")
            if said == 2:
                break
        assert len(engine.containers()) == 2
        yield process
        process.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_command_that_is_asked_to_end_leaves_no_container(engine, asleep, number):
    asleep.send_signal(number)
    rest = asleep.stderr.read()
    assert asleep.wait(SECONDS) == 128 + number, rest
    assert "Traceback" not in rest
    assert engine.containers() == []


def test_what_a_killed_command_leaves_ends_by_itself_and_is_removed_by_the_next(engine, asleep, folder):
    (lock,) = {engine.label(name, LOCK) for name in engine.running()}
    left = [Path(lock).parent, *folder.glob("samovar-*")]
    assert len(left) == 2
    asleep.kill()
    asleep.wait(SECONDS)
    until(lambda: not engine.running())
    assert len(engine.containers()) == 2
    until(lambda: all(path.stat().st_mtime < time.time() - 1 for path in left))  # a newer one might get its lock yet
    done = command(*RUN, str(EXAMPLES / "seed" / "basic_usage.py"), "main")
    assert done.returncode == 0, done.stderr
    assert engine.containers() == []
    assert [path for path in left if path.exists()] == []
