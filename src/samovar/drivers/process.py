"""Replicas as processes of this machine: no daemon, no image to pull, a start in milliseconds.

Each replica leads a session of its own, so that one signal reaches all that it started, and a Ctrl-C meant for
the engine reaches none of it. Everything here runs on the loop that called ``start``, which may live in any
thread: a death is seen through a pidfd, not through SIGCHLD.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import glob
import importlib.util
import os
import shutil
import signal
import site
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from samovar import family
from samovar.drivers import secrets
from samovar.drivers.limits import Group, Groups, Sampler, bound_data, was_refused_memory
from samovar.drivers.output import OnOutput, Output
from samovar.drivers.private import PrivateFolder
from samovar.errors import ImageBuildError, ReplicaStartError
from samovar.images import needs
from samovar.model import Bundle, Environment, Exit, ImageSpec
from samovar.ports import Report

RUNTIME = ("-P", "-c", "from samovar.runtime.main import main; main()")
"""What a replica runs. ``-P``: the directory it starts in must not shadow installed packages."""

_KILL_TRIES = 100
_KILL_EVERY = 0.02  # seconds: a process is gone a moment after its kill


class ProcessDriver:
    """Implements ``samovar.ports.Driver``. One event loop for all calls.

    ``command`` is what follows the path of Python. ``groups`` are the cgroups that bound replicas; "auto" takes
    those that this process may divide, None uses none: memory is then bounded by sampling, and CPU is not, which is
    reported once an environment.
    """

    def __init__(
        self,
        command: tuple[str, ...] = RUNTIME,
        on_output: OnOutput | None = None,
        groups: Groups | str | None = "auto",
    ) -> None:
        self._command = command
        self._on_output = on_output
        self._groups = Groups.find() if isinstance(groups, str) else groups
        self._sampler = Sampler()
        self._private = PrivateFolder()
        self._pythons: dict[ImageSpec, str] = {}
        self._replicas: dict[str, _Replica] = {}
        self._removals: set[asyncio.Task[None]] = set()  # of what the dead left behind
        self._unwanted: list[asyncio.Future[Exit]] = []  # whose start was cancelled: killed, soon to be reaped
        self._report: Report = _nowhere
        self._said: set[str] = set()
        self._closed = False

    async def prepare(self, environment: Environment, report: Report) -> None:
        self._report = report
        self._warn_of_wishes(environment)
        try:
            self._pythons[environment.image] = await _python_for(environment.image, report)
        except ImageBuildError as error:
            raise ImageBuildError(f"environment {environment.name!r}: {error}") from error

    async def start(self, replica: str, environment: Environment, boot: dict[str, str]) -> None:
        if environment.image not in self._pythons:
            await self.prepare(environment, _nowhere)
        if self._closed:
            raise ReplicaStartError(f"{_of(environment)}: the driver is closed", replica)
        if replica in self._replicas:
            raise ReplicaStartError(f"{_of(environment)}: there is a replica {replica!r} already", replica)
        python = _interpreter(self._pythons[environment.image], environment.bundle)
        started = _Replica(replica, self._on_output, self._removals)
        own = _python_variables(python, environment.bundle)
        given = {**own, **variables(environment, boot), family.VARIABLE: started.family}
        try:
            given.update(self._secret_files(started, environment))
            started.spawn([python, *self._command], given, environment)
        except ReplicaStartError:
            started.ended.cancel()
            raise
        self._replicas[replica] = started
        try:
            await self._bound(started, environment)
        except BaseException:  # cancelled: nobody would ever stop it
            started.kill()
            del self._replicas[replica]
            self._unwanted.append(started.ended)
            raise

    async def wait(self, replica: str) -> Exit:
        """LookupError: there is none of this name, or its end was waited for before."""
        found = self._replicas.get(replica)
        if found is None:
            raise LookupError(f"there is no replica {replica!r}")
        how = await asyncio.shield(found.ended)
        self._replicas.pop(replica, None)
        return how

    async def stop(self, replica: str, grace: float) -> None:
        """``grace`` 0: kill without asking."""
        found = self._replicas.get(replica)
        if found is not None:
            await found.stop(grace)

    async def close(self) -> None:
        self._closed = True
        await asyncio.gather(*(replica.stop(0) for replica in list(self._replicas.values())))
        await asyncio.gather(*self._unwanted)
        await asyncio.gather(*self._removals)
        self._sampler.close()
        self._private.close()

    def _secret_files(self, replica: _Replica, environment: Environment) -> dict[str, str]:
        """Write them where only this user can look, for as long as the replica lives; a variable says where each is."""
        if not any(secret.mount for secret in environment.secrets):
            return {}
        folder = self._private.make("secrets")
        replica.ended.add_done_callback(lambda _: shutil.rmtree(folder, ignore_errors=True))
        return secrets.write_files(environment, folder)

    async def _bound(self, replica: _Replica, environment: Environment) -> None:
        """Put the replica under its limits: by a cgroup where there is one, else by sampling its memory."""
        limits = environment.limits
        if self._groups is not None and self._groups.can_bound(limits):
            # In a thread: the kernel takes milliseconds to move a process.
            making = asyncio.to_thread(self._groups.create, replica.name, limits, replica.pid)
            await replica.join(asyncio.ensure_future(making))
        if replica.ended.done():
            return
        held = replica.group.bounds if replica.group is not None else frozenset[str]()
        refused = self._groups.refused if self._groups is not None else {}
        if limits.memory is not None and "memory" not in held:
            bound_data(replica.pid, limits.memory, environment.settings.concurrency)
            replica.can_be_refused_memory = True
            self._sampler.watch(replica.pid, limits.memory, replica.kill_for_memory)
            replica.ended.add_done_callback(lambda _: self._sampler.forget(replica.pid))
            if "memory" in refused:
                why = f"a memory cgroup is refused ({refused['memory']})"
                self._say_once(f"{_of(environment)}: its memory is only sampled: {why}")
        if limits.cpu is not None and "cpu" not in held:
            why = f"a cpu cgroup is refused ({refused['cpu']})" if "cpu" in refused else "no cgroup can be made here"
            self._say_once(f"{_of(environment)} asks for cpu {limits.cpu:g}, which does not hold as a limit: {why}")

    def _warn_of_wishes(self, environment: Environment) -> None:
        """Of what the environment asks for and a process does not get."""
        asked = environment.limits.gpu
        if asked and not glob.glob("/dev/nvidia*"):
            self._say_once(f"{_of(environment)} asks for gpu {asked!r}, but this machine shows none; going on without")
        if environment.network not in ("", "host"):
            wanted = f"{_of(environment)} asks for network {environment.network!r}"
            self._say_once(f"{wanted}, but a process has the machine's own")

    def _say_once(self, line: str) -> None:
        if line not in self._said:
            self._said.add(line)
            self._report(line)


class _Replica:
    """One process, from its start to its Exit; ``ended`` gets the Exit once."""

    def __init__(self, name: str, on_output: OnOutput | None, removals: set[asyncio.Task[None]]) -> None:
        self.name = name
        self.pid = 0
        self.family = family.new()
        self.group: Group | None = None
        self.can_be_refused_memory = False
        self.ended: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()
        self._loop = asyncio.get_running_loop()
        self._on_output = on_output
        self._over_memory = False
        self._killed = False
        self._removals = removals
        self._removal: asyncio.Task[None] | None = None

    def spawn(self, argv: list[str], variables: Mapping[str, str], environment: Environment) -> None:
        """Start the process. Popen, not asyncio's: it forks with vfork and needs no watcher, transport or task."""
        cwd = next(filter(os.path.isdir, (environment.bundle.cwd, environment.bundle.folder)), None)
        reader, writer = os.pipe()
        try:
            self._process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=writer,
                stderr=writer,
                env=variables,
                cwd=cwd,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:  # ValueError: a NUL in an argument or a variable
            os.close(reader)
            raise ReplicaStartError(f"{_of(environment)}: {argv[0]} does not start: {error}", self.name) from error
        finally:
            os.close(writer)
        self.pid = self._process.pid
        sink = None if self._on_output is None else functools.partial(self._on_output, self.name)
        self._output = Output(self._loop, reader, sink)
        _on_death(self._loop, self.pid, self._died)

    async def stop(self, grace: float) -> None:
        """Return when the process, what it started, and its cgroup are gone."""
        if grace > 0 and not self.ended.done():
            self._signal(signal.SIGTERM)
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
        self._signal(signal.SIGKILL)

    def kill(self) -> None:
        self._killed = True
        self._signal(signal.SIGKILL)
        if self.group is not None:
            self.group.kill()

    def _signal(self, number: signal.Signals) -> None:
        """Signal the whole process group, whose id cannot be reused before its leader is reaped."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, number)

    def _died(self) -> None:
        if self.ended.done():
            return
        self._signal(signal.SIGKILL)  # what it has started goes with it, as far as it stayed in the session
        if self.group is not None:
            self.group.kill()
        status = self._process.wait()  # does not block: it is dead, and this reaps it
        how = self._exit(status, self._output.finish())
        leftovers = _end_family(self.family) if self.group is None else self.group.remove()
        self._removal = self._loop.create_task(leftovers)
        self._removals.add(self._removal)
        self._removal.add_done_callback(self._removals.discard)
        self.ended.set_result(how)

    def _exit(self, status: int, output: str) -> Exit:
        return Exit(
            code=status if status >= 0 else None,
            signal=-status if status < 0 else None,
            out_of_memory=self._ran_out_of_memory(status, output),
            output=output,
        )

    def _ran_out_of_memory(self, status: int, output: str) -> bool:
        if status == -signal.SIGKILL:
            by_kernel = not self._killed and self.group is not None and self.group.ran_out_of_memory()
            return by_kernel or self._over_memory
        gave_up = status > 0 or status == -signal.SIGABRT  # as Python and C++ do when an allocation fails
        return gave_up and self.can_be_refused_memory and was_refused_memory(output)


def variables(environment: Environment, boot: Mapping[str, str]) -> dict[str, str]:
    """All environment variables of a replica. ReplicaStartError: a secret is not there.

    File secrets are not among them: where their files lie is for the driver to say.

    The engine's own SAMOVAR_ settings stay behind: a replica is told by ``boot`` where it belongs.
    """
    own = {key: value for key, value in os.environ.items() if not key.startswith("SAMOVAR_")}
    own.update(environment.image.env_vars)
    own.update(environment.env_vars)
    own.update(secrets.as_variables(environment))
    own.update(boot)
    return own


def _interpreter(python: str, bundle: Bundle) -> str:
    """Where the image asks for nothing it is the script's own, which may be another than this engine's."""
    if python == sys.executable and bundle.python and os.access(bundle.python, os.X_OK):
        return bundle.python
    return python


async def _python_for(image: ImageSpec, report: Report) -> str:
    if needs.is_plain(image):
        return sys.executable
    from samovar.images import venv  # only here: a start without a venv need not wait for all that makes one

    return await venv.ensure(image, report)


def _python_variables(python: str, bundle: Bundle) -> dict[str, str]:
    """What this Python needs to find samovar and its own commands."""
    if python == sys.executable:
        return {"PYTHONPATH": _python_path(os.environ.get("PYTHONPATH", ""))}
    home = Path(python).parent
    path = os.pathsep.join([str(home), os.environ.get("PATH", os.defpath)])
    found = {"VIRTUAL_ENV": str(home.parent), "PATH": path}
    if python == bundle.python:  # a script's: it has samovar, or has found it where the bundle says
        found["PYTHONPATH"] = os.pathsep.join(bundle.sys_path)
    return found


@functools.cache
def _python_path(inherited: str) -> str:
    """PYTHONPATH, and where samovar and what it needs lie, if this process got them in another way."""
    found = [entry for entry in inherited.split(os.pathsep) if entry]
    for package in ("samovar", "msgspec", "cloudpickle"):
        spec = importlib.util.find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            continue
        home = str(Path(spec.submodule_search_locations[0]).absolute().parent)
        if home not in (*site.getsitepackages(), site.getusersitepackages(), *found):
            found.append(home)
    return os.pathsep.join(found)


async def _end_family(mark: str) -> None:
    """Kill all that are left, and again what they have started meanwhile; gives up quietly after 2 s."""
    for _ in range(_KILL_TRIES):
        if not await asyncio.to_thread(family.kill, mark):
            return
        await asyncio.sleep(_KILL_EVERY)


def _on_death(loop: asyncio.AbstractEventLoop, pid: int, call: Callable[[], None]) -> None:
    """Call once on the loop when this child is dead; it is left unreaped."""
    try:
        fd = os.pidfd_open(pid)
    except OSError:  # an old kernel, or a sandbox that forbids it
        threading.Thread(target=_await_death, args=(loop, pid, call), daemon=True).start()
        return

    def dead() -> None:
        loop.remove_reader(fd)
        os.close(fd)
        call()

    loop.add_reader(fd, dead)


def _await_death(loop: asyncio.AbstractEventLoop, pid: int, call: Callable[[], None]) -> None:
    with contextlib.suppress(ChildProcessError):
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left to be told
        loop.call_soon_threadsafe(call)


def _of(environment: Environment) -> str:
    return f"environment {environment.name!r}"


def _nowhere(_: str) -> None:
    """A report that nobody reads."""
