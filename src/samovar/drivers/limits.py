"""Bounds on what a replica uses: cgroups where this process may divide its own, else a sampler for memory.

Groups are made *below* the cgroup that this process is in and only if that one is delegated to it, so a replica
never escapes a bound, or the bookkeeping, of whoever started the engine. A group that is not needed any more is
removed; those of engines that died are removed when the next one starts, but not those of replicas that outlive one.

Without a group the kernel offers resource limits, and few of them fit. RLIMIT_RSS has no effect. RLIMIT_AS counts
address space, which NumPy, CUDA, Java and WebAssembly reserve by the gigabyte and never touch. RLIMIT_DATA counts
private memory that can be written to, which is close to use; it stands far enough above the limit to spare an honest
program and stops a burst that fills the machine between two samples (see ``bound_data``). RLIMIT_CORE stays as the
operator has it: who allows core files wants them. CPU is not bounded at all: RLIMIT_CPU counts seconds until death,
not a share, and pinning to cores is placement rather than a bound: two busy replicas could not leave the core that
they were given together while another idles, and a second engine would hand out the same cores.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import resource
import signal
from collections.abc import Callable, Mapping
from pathlib import Path

from samovar.model import Limits

ROOT = Path("/sys/fs/cgroup")
CPU_PERIOD = 100_000  # microseconds
SAMPLE_EVERY = 0.1  # seconds
DATA_HEADROOM = 1 << 30  # bytes

_PREFIX = "samovar-"
_DELEGATED = ("user.delegate", "trusted.delegate")  # extended attributes that systemd sets
_REMOVE_TRIES = 100
_REMOVE_EVERY = 0.02  # seconds: the kernel frees a group a moment after its last process
_PAGE = os.sysconf("SC_PAGE_SIZE")
_THREAD_STACK = 8 << 20  # bytes, of which a thread touches a few thousand
_NO_MEMORY = re.compile(
    r"(\w+\.)*_?\w*MemoryError\b"  # Python, NumPy
    r"|.*\bstd::bad_alloc\b"
    r"|memory allocation of \d+ bytes failed"  # Rust
    r"|.*(cannot allocate memory|out of memory)",
    re.IGNORECASE,
)


class Group:
    """The cgroup of one replica: one directory in the unified hierarchy, one a controller in the old one.

    ``bounds`` names the controllers that hold: "memory", "cpu".
    """

    def __init__(self, directories: tuple[Path, ...], bounds: frozenset[str]) -> None:
        self.bounds = bounds
        self.directories = directories
        self._kills_before = self._memory_kills()

    def ran_out_of_memory(self) -> bool:
        """True if the kernel has killed a process of this group for its memory, under the eyes of this driver."""
        return self._memory_kills() > self._kills_before

    def _memory_kills(self) -> int:
        found = 0
        for directory in self.directories:
            for name in ("memory.events", "memory.oom_control"):
                for line in _lines(directory / name):
                    key, _, count = line.partition(" ")
                    if key == "oom_kill":
                        found += int(count)
        return found

    def kill(self) -> None:
        """Kill all processes that are in it, also those that left the replica's session."""
        for directory in self.directories:
            _kill_members(directory)

    async def remove(self) -> None:
        """Kill what is left and remove the directories; gives up quietly, the next engine tries again."""
        for _ in range(_REMOVE_TRIES):
            left = [directory for directory in self.directories if not _rmdir(directory)]
            if not left:
                return
            self.kill()
            await asyncio.sleep(_REMOVE_EVERY)


class Groups:
    """Makes groups. ``parents``: controller → the directory in which this engine's groups lie."""

    def __init__(self, parents: Mapping[str, Path], unified: bool) -> None:
        self.refused: dict[str, str] = {}
        """Controller → why the kernel last refused a group that should be ours to make."""
        self._parents = dict(parents)
        self._unified = unified

    @classmethod
    def find(cls, root: Path = ROOT) -> Groups | None:
        """The cgroups that are ours to divide; None if there are none."""
        own = _own_groups()
        unified = (root / "cgroup.controllers").exists()
        parents = _unified_parents(root, own) if unified else _old_parents(root, own)
        for parent in set(parents.values()):
            _remove_stale(parent)
        return cls(parents, unified) if parents else None

    def can_bound(self, limits: Limits) -> bool:
        """False: a group would be of no use."""
        return bool(self._settings(limits))

    def create(self, name: str, limits: Limits, pid: int) -> Group | None:
        """A group with these limits and this process in it; None if there is nothing that it could bound."""
        made: dict[str, Path] = {}
        for controller, files in self._settings(limits).items():
            directory = self._parents[controller] / name
            try:
                directory.mkdir(exist_ok=True)
                _apply(directory, files)
                (directory / "cgroup.procs").write_text(str(pid))
                made[controller] = directory
            except ProcessLookupError:  # it has ended already
                _rmdir(directory)
            except OSError as error:  # looks ours and is not
                self.refused[controller] = error.strerror or str(error)
                _rmdir(directory)
        return Group(tuple(dict.fromkeys(made.values())), frozenset(made)) if made else None

    def places(self, name: str, limits: Limits) -> tuple[Path, ...]:
        """The directories that ``create`` would make."""
        return tuple(dict.fromkeys(self._parents[controller] / name for controller in self._settings(limits)))

    def _settings(self, limits: Limits) -> dict[str, list[tuple[str, str, bool]]]:
        """Controller → (file, value, needed)."""
        found: dict[str, list[tuple[str, str, bool]]] = {}
        if limits.memory is not None and "memory" in self._parents:
            found["memory"] = _memory_files(limits.memory, self._unified)
        if limits.cpu is not None and "cpu" in self._parents:
            found["cpu"] = _cpu_files(limits.cpu, self._unified)
        return found


def group_name(replica: str) -> str:
    """With the number of this process, so that whoever comes later sees when it is gone."""
    return f"{_PREFIX}{os.getpid()}-{replica.replace('/', '_')}"


def lasting_group_name(mark: str) -> str:
    """Of a replica that may outlive this process: its group is found by its record, and by nobody else."""
    return f"{_PREFIX}of-{mark}"


class Sampler:
    """Bounds memory without cgroups: every 0.1 s it adds up what the process groups use.

    One for all replicas of a driver; it runs only while it has something to watch. It runs on the loop, not in a
    thread: between fork and setsid a child would look like the engine's.
    """

    def __init__(self) -> None:
        self._watched: dict[int, tuple[int, Callable[[], None]]] = {}
        self._strangers: set[int] = set()  # processes of other groups, not to be read each time
        self._task: asyncio.Task[None] | None = None

    def watch(self, group: int, limit: int, kill: Callable[[], None]) -> None:
        """Call ``kill`` when the process group uses more than ``limit`` bytes."""
        self._watched[group] = (limit, kill)
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run(), name="samovar memory sampler")

    def forget(self, group: int) -> None:
        self._watched.pop(group, None)

    def close(self) -> None:
        self._watched.clear()
        if self._task is not None:
            self._task.cancel()
            self._task = None

    async def _run(self) -> None:
        round_ = 0
        while self._watched:
            await asyncio.sleep(SAMPLE_EVERY)
            round_ += 1
            if round_ % 20 == 0:
                self._strangers.clear()  # a number may have been given to another process since
            self._sample()
        self._task = None

    def _sample(self) -> None:
        for group, members in self._members().items():
            limit, kill = self._watched[group]
            if sum(map(_resident, members)) > limit and sum(map(_proportional, members)) > limit:
                del self._watched[group]
                kill()

    def _members(self) -> dict[int, list[int]]:
        found: dict[int, list[int]] = {group: [] for group in self._watched}
        for name in os.listdir("/proc"):
            if not name.isdigit() or (pid := int(name)) in self._strangers:
                continue
            group = _process_group(pid)
            if group in found:
                found[group].append(pid)
            else:
                self._strangers.add(pid)
        return found


def bound_data(pid: int, limit: int, threads: int) -> None:
    """Refuse a process, and each that it starts, to grow far beyond ``limit`` bytes between two samples.

    RLIMIT_DATA, set from outside: code that runs between fork and exec can block on a lock that another thread
    held. It counts what is written to or not, so the stacks of ``threads`` are added, and then as much as the limit
    again, at least 1 GiB: private maps of files, sparse arrays and thread pools of libraries fit in. An allocation
    beyond it fails at once, before a page of it is there. That is milder than a kill: one task gets a MemoryError
    with its own line in the traceback, and the rest of the replica goes on.
    """
    ceiling = limit + max(limit, DATA_HEADROOM) + threads * _THREAD_STACK
    with contextlib.suppress(OSError):  # it has ended already, or a sandbox forbids it: the sampler is there
        soft, hard = resource.prlimit(pid, resource.RLIMIT_DATA)
        if soft == resource.RLIM_INFINITY or soft > ceiling:
            resource.prlimit(
                pid, resource.RLIMIT_DATA, (ceiling, ceiling if hard == resource.RLIM_INFINITY else min(hard, ceiling))
            )


def was_refused_memory(output: str) -> bool:
    """True if the last line of this output blames memory: the kernel keeps no trace of what it refuses."""
    lines = output.rstrip().splitlines()
    return bool(lines) and _NO_MEMORY.match(lines[-1].strip()) is not None


def _process_group(pid: int) -> int:
    try:
        return os.getpgid(pid)
    except OSError:
        return -1


def _resident(pid: int) -> int:
    """Bytes of memory that the process has; 0 if it is gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_bytes().split()[1]) * _PAGE
    except (OSError, IndexError):
        return 0


def _proportional(pid: int) -> int:
    """The same with pages that are shared counted once in all: forks of a large replica cost little.

    Costly to read, hence only asked about a group that seems to be over.
    """
    for line in _lines(Path(f"/proc/{pid}/smaps_rollup")):
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return _resident(pid)


def _own_groups() -> dict[str, str]:
    """Controller ("" in the unified hierarchy) → the path of the cgroup that this process is in."""
    found: dict[str, str] = {}
    for line in _lines(Path("/proc/self/cgroup")):
        _, controllers, path = line.split(":", 2)
        found.update(dict.fromkeys(controllers.split(","), path))
    return found


def _unified_parents(root: Path, own: Mapping[str, str]) -> dict[str, Path]:
    """The delegated group nearest above this process that passes its controllers on."""
    here = root / own.get("", "/").lstrip("/")
    for directory in (here, here.parent):
        if not directory.is_relative_to(root) or not _is_ours(directory, root):
            continue
        with contextlib.suppress(OSError):
            # Refused by the kernel while processes sit in the group itself, unless it is the root.
            (directory / "cgroup.subtree_control").write_text("+memory +cpu")
            return {"memory": directory, "cpu": directory}
    return {}


def _is_ours(directory: Path, root: Path) -> bool:
    if directory == root:
        return os.access(directory, os.W_OK)
    for name in _DELEGATED:
        with contextlib.suppress(OSError):
            if os.getxattr(directory, name) == b"1":
                return os.access(directory, os.W_OK)
    return False


def _old_parents(root: Path, own: Mapping[str, str]) -> dict[str, Path]:
    """The old hierarchies have no mark of delegation: that we may write to the group we are in must do."""
    found = {}
    for controller in ("memory", "cpu"):
        directory = root / controller / own.get(controller, "").lstrip("/")
        if controller in own and os.access(directory, os.W_OK):
            found[controller] = directory
    return found


def _memory_files(limit: int, unified: bool) -> list[tuple[str, str, bool]]:
    """Swap is refused with it, where the kernel counts swap: a bound that swaps is only slow."""
    if unified:
        return [("memory.max", str(limit), True), ("memory.swap.max", "0", False), ("memory.oom.group", "1", False)]
    return [
        ("memory.limit_in_bytes", str(limit), True),
        ("memory.memsw.limit_in_bytes", str(limit), False),
    ]


def _cpu_files(cores: float, unified: bool) -> list[tuple[str, str, bool]]:
    quota = max(1000, int(cores * CPU_PERIOD))  # the kernel takes no less than a millisecond
    if unified:
        return [("cpu.max", f"{quota} {CPU_PERIOD}", True)]
    return [("cpu.cfs_period_us", str(CPU_PERIOD), True), ("cpu.cfs_quota_us", str(quota), True)]


def _apply(directory: Path, files: list[tuple[str, str, bool]]) -> None:
    for name, value, needed in files:
        try:
            (directory / name).write_text(value)
        except OSError:
            if needed:
                raise


def _remove_stale(parent: Path) -> None:
    """Remove groups of engines that are gone, with what still runs in them."""
    for directory in parent.glob(f"{_PREFIX}*-*"):
        engine = directory.name.removeprefix(_PREFIX).partition("-")[0]
        if engine.isdigit() and not Path(f"/proc/{engine}").exists():
            _kill_members(directory)
            _rmdir(directory)


def _kill_members(directory: Path) -> None:
    for line in _lines(directory / "cgroup.procs"):
        pid = int(line)
        if pid > 0:  # 0 stands for a process of another pid namespace, and would mean ourselves
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)


def _rmdir(directory: Path) -> bool:
    """True: it is gone."""
    try:
        directory.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text().splitlines()
    except OSError:
        return []
