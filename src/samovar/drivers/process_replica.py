"""One replica of the process driver: a process that leads a session, and what belongs to it alone.

Its start is the driver's. Here it is spawned, or taken over from an earlier driver, and then watched, stopped, and
cleared away with all that it has started.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

from samovar import family
from samovar.drivers import home, secrets
from samovar.drivers.limits import Group, was_refused_memory
from samovar.drivers.lives import Child, Life, Orphan, birth
from samovar.drivers.output import Output, Rounds, Sink
from samovar.errors import ReplicaStartError
from samovar.model import Environment, Exit

_OUTPUT = "output"  # the file, in the folder of a replica
_KILL_TRIES = 100
_KILL_EVERY = 0.02  # seconds: a process is gone a moment after its kill


class Record(home.Record, frozen=True):
    """What another driver must know of a process."""

    family: str
    places: tuple[str, ...]  # its cgroup, or where that was to be
    pid: int = 0  # 0: its start did not come to its end
    birth: str = ""
    held: tuple[str, ...] = ()  # the controllers that bound it
    sampled: int = 0  # the bound of its memory where that is sampled

    @property
    def is_whole(self) -> bool:
        return self.pid > 0


class Replica:
    """One process, from its start, or from when it was taken over, to its Exit; ``ended`` gets the Exit once."""

    def __init__(
        self,
        name: str,
        mark: str,
        removals: set[asyncio.Task[None]],
        sink: Sink | None,
        rounds: Rounds,
        lasts: bool = False,
    ) -> None:
        """``removals`` has a task while something is left of it. Its output is looked at on ``rounds``. ``lasts``: it
        may outlive the driver."""
        self.name = name
        self.family = mark
        self.folder: Path | None = None  # what is its alone, and goes with it
        self.group: Group | None = None
        self.sampled = 0  # the bound of its memory where that is sampled
        self.ended: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()
        self._life: Life
        self._output: Output
        self._loop = asyncio.get_running_loop()
        self._sink = sink
        self._rounds = rounds
        self._lasts = lasts
        self._over_memory = False
        self._asked = False
        self._killed = False
        self._removals = removals
        self._removal: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int:
        return self._life.pid

    def secret_files(self, environment: Environment) -> dict[str, str]:
        """Write them where only this user can look, for as long as it lives; a variable says where each is."""
        if self.folder is None:
            return {}
        root = self.folder / "secrets"
        root.mkdir(0o700)
        return secrets.write_files(environment, root)

    def spawn(self, argv: list[str], variables: Mapping[str, str], environment: Environment) -> None:
        """Start the process. Popen, not asyncio's: it forks with vfork and needs no watcher, transport or task."""
        cwd = next(filter(os.path.isdir, (environment.bundle.cwd, environment.bundle.folder)), None)
        writer = self._open_output()
        try:
            process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=writer,
                stderr=writer,
                env=variables,
                cwd=cwd,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:  # ValueError: a NUL in an argument or a variable
            self._output.finish()
            message = f"environment {environment.name!r}: {argv[0]} does not start: {error}"
            raise ReplicaStartError(message, self.name) from error
        finally:
            os.close(writer)
        self._life = Child(process)
        self._life.watch(self._loop, self._died)

    def take_over(self, life: Orphan, record: Record, folder: Path) -> None:
        """Be the replica that this record is of."""
        self.folder = folder
        if record.held:
            self.group = Group(tuple(map(Path, record.places)), frozenset(record.held))
        self._output = Output(self._loop, folder / _OUTPUT, self._sink, self._rounds)
        self._life = life
        self._life.watch(self._loop, self._died)

    def write_record(self) -> None:
        """So that it can be taken over: it is under its limits."""
        if not self._lasts or self.folder is None or self.ended.done():
            return
        places = () if self.group is None else tuple(map(str, self.group.directories))
        held = () if self.group is None else tuple(self.group.bounds)
        born = birth(self.pid)
        home.write(self.folder, Record(self.name, self.family, places, self.pid, born, held, self.sampled))

    def discard(self) -> None:
        """It was not started."""
        self.ended.cancel()
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)

    async def stop(self, grace: float) -> None:
        """Return when the process, what it started, and its cgroup are gone."""
        if grace > 0 and not self.ended.done():
            self._asked = True
            self._life.signal(signal.SIGTERM)
            await asyncio.wait([self.ended], timeout=grace)
        if not self.ended.done():
            self.kill()
            await asyncio.wait([self.ended])
        if self._removal is not None:
            await asyncio.wait([self._removal])

    async def join(self, making: asyncio.Future[Group | None]) -> None:
        """Take the group that is made for this process, which may die meanwhile; a cancelled wait takes it too."""
        try:
            await asyncio.shield(making)
        finally:
            group = await making
            if group is not None and self.ended.done():
                await group.remove()
            else:
                self.group = group

    def kill_for_memory(self) -> None:
        self._over_memory = True
        self._life.signal(signal.SIGKILL)

    def kill(self) -> None:
        self._killed = True
        self._life.signal(signal.SIGKILL)
        if self.group is not None:
            self.group.kill()

    def _open_output(self) -> int:
        """Read what is written to the descriptor that this gives."""
        if self._lasts and self.folder is not None:
            path = self.folder / _OUTPUT
            writer = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        else:  # a file without a name, which goes with the last who has it open
            writer = os.memfd_create("samovar-output", os.MFD_CLOEXEC)
            fcntl.fcntl(writer, fcntl.F_SETFL, os.O_APPEND)
            path = Path(f"/proc/self/fd/{writer}")
        self._output = Output(self._loop, path, self._sink, self._rounds)
        return writer

    def _died(self) -> None:
        if self.ended.done():
            return
        self._life.signal(signal.SIGKILL)  # what it has started goes with it, as far as it stayed in the session
        if self.group is not None:
            self.group.kill()
        how = self._exit(self._life.status(), self._output.finish())
        self._removal = self._loop.create_task(self._clear())
        self._removals.add(self._removal)
        self._removal.add_done_callback(self._removals.discard)
        self.ended.set_result(how)

    async def _clear(self) -> None:
        await (_end_family(self.family) if self.group is None else self.group.remove())
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _exit(self, status: int | None, output: str) -> Exit:
        return Exit(
            code=status if status is not None and status >= 0 else None,
            signal=-status if status is not None and status < 0 else None,
            out_of_memory=self._ran_out_of_memory(status, output),
            output=output,
        )

    def _ran_out_of_memory(self, status: int | None, output: str) -> bool:
        by_kernel = not self._killed and self.group is not None and self.group.ran_out_of_memory()
        refused = bool(self.sampled) and was_refused_memory(output)
        if status is None:  # whether it was killed or gave up nobody knows
            return self._over_memory or (not self._asked and not self._killed and (by_kernel or refused))
        if status == -signal.SIGKILL:
            return by_kernel or self._over_memory
        gave_up = status > 0 or status == -signal.SIGABRT  # as Python and C++ do when an allocation fails
        return gave_up and refused


async def end(folder: Path, record: Record) -> None:
    """Kill what an earlier driver has left of a replica, and remove its folder."""
    await Group(tuple(map(Path, record.places)), frozenset()).remove()
    await _end_family(record.family)
    shutil.rmtree(folder, ignore_errors=True)


async def _end_family(mark: str) -> None:
    """Kill all that are left, and again what they have started meanwhile; gives up quietly after 2 s."""
    for _ in range(_KILL_TRIES):
        if not await asyncio.to_thread(family.kill, mark):
            return
        await asyncio.sleep(_KILL_EVERY)
