"""What drivers with a home promise: replicas outlive a driver that is killed, and another one takes them over."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from samovar import family
from samovar.drivers import home as homes
from samovar.drivers.process_replica import Record
from samovar.errors import InitializationError
from samovar.light import msgspec
from samovar.model import Environment, Exit

from .earlier import ROOT, Earlier, killed_in_the_middle
from .worlds import LASTING, SECONDS, World, container, process

PLAIN = Environment("plain", network="none")
WHEN_TOLD = """
import os, time
print("ready", flush=True)
while not os.path.exists({gate!r}): time.sleep(0.01)
"""
CHATTER = (
    WHEN_TOLD
    + """
for number in range(20_000): print("line", number)
print("end", flush=True)
open({gate!r} + ".done", "w")
while not os.path.exists({gate!r} + ".end"): time.sleep(0.01)
"""
)
GREEDY = WHEN_TOLD + "taken = []\nwhile True:\n    taken.append(bytearray(b'x') * 2**23)\n    time.sleep(0.005)"


def run(test):
    asyncio.run(asyncio.wait_for(test, 3 * SECONDS))


async def soon(awaitable):
    return await asyncio.wait_for(awaitable, SECONDS)


async def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        await asyncio.sleep(0.01)


class Scene:
    """A home, and drivers in it one after another."""

    def __init__(self, kind: str, home: Path, folder: Path) -> None:
        self.kind = kind
        self.home = home
        self.gate = folder / "gate"
        self._earlier: list[Earlier] = []

    def outlived(self, program: str, names: tuple[str, ...] = ("r",), **limits: int) -> None:
        """Replicas whose driver was killed; ``{gate}`` in the program is a file that lets it go on."""
        earlier = Earlier(self.kind, self.home, self.filled(program), names, str(self.gate.parent), **limits)
        self._earlier.append(earlier)
        earlier.kill()

    def filled(self, program: str) -> str:
        return program.format(gate=str(self.gate)) if "{gate" in program else program

    def open(self) -> World:
        return LASTING[self.kind]("sleep", self.home, str(self.gate.parent))

    def marks(self) -> list[str]:
        """The families of the replicas that are recorded."""
        return [msgspec.msgpack.decode(file.read_bytes(), type=Record).family for file in self.home.glob("*/record")]

    def done(self) -> bool:
        """The program has come to where it says so."""
        return Path(f"{self.gate}.done").exists()

    def is_empty(self) -> bool:
        return not any(self.home.iterdir())


@pytest.fixture(params=sorted(LASTING))
def scene(request, tmp_path):
    if request.param == "container":
        request.getfixturevalue("containers")
    folder = tmp_path / "shared"
    folder.mkdir(0o700)
    here = Scene(request.param, tmp_path / "home", folder)
    yield here
    assert not here.home.exists()


def knows_how(scene: Scene) -> bool:
    """PID 1 of a container tells; of a process the kernel tells its parent alone."""
    return scene.kind == "container"


def test_an_end_is_seen(scene):
    async def test():
        scene.outlived(WHEN_TOLD + "raise SystemExit(7)")
        here = scene.open()
        waiting = asyncio.create_task(here.driver.wait("r"))
        await asyncio.sleep(0)
        assert not waiting.done()
        scene.gate.touch()
        how = await soon(waiting)
        assert (how.code, how.signal, how.out_of_memory) == (7 if knows_how(scene) else None, None, False)
        assert how.output == "ready\n"
        assert "exited with code 7" in str(how) if knows_how(scene) else "how is not known" in str(how)
        with pytest.raises(LookupError):
            await here.driver.wait("r")
        await here.driver.close()

    run(test())


@pytest.mark.parametrize(("program", "grace"), [("polite", SECONDS), ("stubborn", 0.1), ("polite", 0)])
def test_stop_asks_waits_and_kills(scene, program, grace):
    async def test():
        scene.outlived(program)
        here = scene.open()
        waiting = asyncio.create_task(here.driver.wait("r"))
        await soon(here.driver.stop("r", grace))
        how = await soon(waiting)
        assert not how.out_of_memory
        if knows_how(scene):
            assert (how.code, how.signal) == ((5, None) if grace == SECONDS else (None, signal.SIGKILL))
        assert scene.is_empty()
        await here.driver.close()

    run(test())


def test_a_stop_needs_no_wait_before_it(scene):
    async def test():
        scene.outlived("polite", ("a", "b"))
        here = scene.open()
        await soon(here.driver.stop("a", SECONDS))
        assert (await soon(here.driver.wait("a"))).signal is None
        await soon(here.driver.stop("nobody", 1))
        with pytest.raises(LookupError):
            await here.driver.wait("nobody")
        await soon(here.driver.close())

    run(test())


def test_what_was_written_while_nobody_read_is_there_and_did_not_stop_it(scene):
    async def test():
        scene.outlived(CHATTER)
        scene.gate.touch()
        await until(scene.done)
        here = scene.open()
        waiting = asyncio.create_task(here.driver.wait("r"))
        lines = [(await here.line())[1]]
        while lines[-1] != "end":
            lines.append((await here.line())[1])
        assert lines[-20_001:] == [*(f"line {number}" for number in range(20_000)), "end"]
        scene.gate.with_name("gate.end").touch()
        assert (await soon(waiting)).output.endswith("line 19999\nend\n")
        await here.driver.close()

    run(test())


def test_over_its_memory_it_is_killed_and_it_shows(scene):
    async def test():
        scene.outlived(GREEDY, memory=200 << 20)
        here = scene.open()
        waiting = asyncio.create_task(here.driver.wait("r"))
        await asyncio.sleep(0)
        scene.gate.touch()
        how = await soon(waiting)
        assert how.out_of_memory
        assert str(how) == "went over its memory limit and was killed"
        await here.driver.close()

    run(test())


def test_who_ended_meanwhile_is_not_there_and_nothing_of_it_stays(scene, request):
    async def test():
        scene.outlived(WHEN_TOLD + "open({gate!r} + '.done', 'w')\n", ("r",))
        scene.gate.touch()
        if scene.kind == "container":
            engine = request.getfixturevalue("container_engine")
            engine.cli("wait", *engine.of("e"))
        else:
            (mark,) = scene.marks()
            await until(scene.done)
            await until(lambda: not _has(mark))
        here = scene.open()
        with pytest.raises(LookupError, match="there is no replica 'r'"):
            await here.driver.wait("r")
        await soon(here.driver.close())

    run(test())


def _has(mark: str) -> bool:
    """Whether a process of this family runs."""
    sought = f"{family.VARIABLE}={mark}".encode()
    return any(sought in family._environment(name) for name in os.listdir("/proc") if name.isdigit())


def test_who_is_wanted_by_nobody_is_ended(scene, monkeypatch, request):
    monkeypatch.setattr(homes, "ADOPTION_SECONDS", 0.01)

    async def test():
        scene.outlived("stubborn", ("a", "b"))
        marks = [] if scene.kind == "container" else scene.marks()
        here = scene.open()
        await until(scene.is_empty)
        assert not any(map(_has, marks))
        if scene.kind == "container":
            assert request.getfixturevalue("container_engine").containers() == []
        with pytest.raises(LookupError):
            await here.driver.wait("a")
        await here.driver.close()

    run(test())


def test_who_is_waited_for_is_left_alone_when_the_others_are_ended(scene, monkeypatch):
    monkeypatch.setattr(homes, "ADOPTION_SECONDS", 0.5)

    async def test():
        scene.outlived("polite", ("a", "b"))
        here = scene.open()
        waiting = asyncio.create_task(here.driver.wait("a"))
        await until(lambda: len(list(scene.home.iterdir())) == 1)
        assert not waiting.done()
        await soon(here.driver.stop("a", SECONDS))
        await soon(waiting)
        await here.driver.close()

    run(test())


def test_close_ends_those_that_nobody_has_waited_for(scene, request):
    async def test():
        scene.outlived("stubborn", ("a", "b"))
        marks = [] if scene.kind == "container" else scene.marks()
        here = scene.open()
        waiting = asyncio.create_task(here.driver.wait("a"))
        await asyncio.sleep(0)
        await soon(here.driver.close())
        await soon(waiting)
        assert not any(map(_has, marks))
        if scene.kind == "container":
            assert request.getfixturevalue("container_engine").containers() == []

    run(test())


@pytest.mark.parametrize(
    ("scene", "step"),
    [
        ("process", "samovar.drivers.home:Home:make"),
        ("process", "samovar.drivers.process_replica:Replica:spawn"),
        ("process", "samovar.drivers.process:ProcessDriver:_bound"),
        ("container", "samovar.drivers.home:Home:make"),
        ("container", "samovar.drivers.container_boot:Boot:write"),
        ("container", "samovar.drivers.container_boot:Boot:listen"),
        ("container", "samovar.drivers.container_api:Api:create_and_start"),
    ],
    indirect=["scene"],
)
def test_a_start_that_was_cut_short_is_undone(scene, step, request, monkeypatch):
    monkeypatch.setattr(homes, "ADOPTION_SECONDS", 0.01)

    async def test():
        killed_in_the_middle(scene.kind, scene.home, step)
        marks = [] if scene.kind == "container" else scene.marks()
        here = scene.open()
        await until(scene.is_empty)
        assert not any(map(_has, marks))
        assert not [path for mark in marks for path in Path("/sys/fs/cgroup").glob(f"**/samovar-of-{mark}")]
        if scene.kind == "container":
            assert request.getfixturevalue("container_engine").containers() == []
        await here.driver.close()

    run(test())


def test_an_engine_without_a_home_leaves_them_alone(scene):
    async def test():
        scene.outlived("polite", memory=1 << 30, cpu=1)
        other = process("fail") if scene.kind != "container" else container("fail")
        await other.driver.start("other", PLAIN, {})
        await soon(other.driver.wait("other"))
        await other.driver.close()
        here = scene.open()
        waiting = asyncio.create_task(here.driver.wait("r"))
        await asyncio.sleep(0)
        await soon(here.driver.stop("r", SECONDS))
        assert (await soon(waiting)).signal is None
        await here.driver.close()

    run(test())


@pytest.mark.parametrize("scene", ["process", "sampled process"], indirect=True)
def test_what_it_has_started_goes_with_it(scene):
    """Also what has left its session; in a container the kernel sees to it."""

    async def test():
        strays = "import subprocess, sys\n"
        strays += "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], start_new_session=True)\n"
        scene.outlived(strays + WHEN_TOLD)
        (mark,) = scene.marks()
        here = scene.open()
        waiting = asyncio.create_task(here.driver.wait("r"))
        await asyncio.sleep(0)
        scene.gate.touch()
        await soon(waiting)
        await soon(here.driver.close())
        assert not _has(mark)

    run(test())


def test_its_secrets_stay_and_go_with_it(scene):
    async def test():
        scene.outlived(WHEN_TOLD + "print(open(os.environ['SECRET']).read(), flush=True)\n")
        here = scene.open()
        waiting = asyncio.create_task(here.driver.wait("r"))
        await asyncio.sleep(0)
        assert [file for file in scene.home.glob("**/*") if file.is_file() and file.read_bytes() == b"tea"]
        scene.gate.touch()
        assert (await soon(waiting)).output == "ready\ntea\n"
        await soon(here.driver.stop("r", 1))
        await soon(here.driver.close())

    run(test())


def test_a_survivor_survives_again(scene):
    async def test():
        scene.outlived(WHEN_TOLD + "raise SystemExit(7)", ("r",))
        second = _taking_over(scene)
        second.kill()
        second.wait(SECONDS)
        here = scene.open()
        waiting = asyncio.create_task(here.driver.wait("r"))
        await asyncio.sleep(0)
        assert not waiting.done()
        scene.gate.touch()
        assert (await soon(waiting)).output == "ready\n"
        await here.driver.close()

    run(test())


def _taking_over(scene: Scene) -> subprocess.Popen[str]:
    """Another driver, in a process of its own, that waits for the replica."""
    program = f"""
import asyncio, sys
sys.path.insert(0, {str(ROOT)!r})
from pathlib import Path
from tests.conformance.driver.worlds import LASTING
async def main():
    here = LASTING[{scene.kind!r}]("sleep", Path({str(scene.home)!r}), {str(scene.gate.parent)!r})
    waiting = asyncio.create_task(here.driver.wait("r"))
    await here.line()
    print("waits", flush=True)
    await waiting
asyncio.run(main())
"""
    taking = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert taking.stdout is not None
    with taking.stdout:
        assert taking.stdout.readline() == "waits\n"
    return taking


def test_a_home_has_one_driver(scene):
    async def test():
        here = scene.open()
        with pytest.raises(
            InitializationError, match=r"home has the replicas of another engine that runs; stop it first"
        ):
            scene.open()
        await here.driver.close()
        again = scene.open()
        await again.driver.close()

    run(test())


def test_what_it_starts_itself_is_as_ever(scene):
    async def test():
        here = scene.open()
        await here.driver.start("r", PLAIN, {})
        assert await here.line() == ("r", "ready")
        await soon(here.driver.stop("r", SECONDS))
        assert await soon(here.driver.wait("r")) == Exit(signal=signal.SIGTERM, output="ready\n")
        assert scene.is_empty()
        await here.driver.close()

    run(test())
