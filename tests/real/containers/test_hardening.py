"""Each measure that hardens a replica's container, by somebody inside who tries to get round it."""

from __future__ import annotations

import asyncio
import json
import os
import signal

import pytest

from samovar.drivers import container_spec as spec
from samovar.drivers.container_api import replicas
from samovar.images import dockerapi
from samovar.model import Bundle, Environment, Limits, SecretSpec

from .replicas import ALONE, output, run, world

SECRET = "between-us-alone"
TRIES = """
import ctypes, errno, os, socket, sys
libc = ctypes.CDLL(None, use_errno=True)

def tried(call, *arguments):
    '''"done", or the name of the error.'''
    ctypes.set_errno(0)
    try:
        found = call(*arguments)
    except OSError as error:
        return errno.errorcode[error.errno]
    return errno.errorcode[ctypes.get_errno()] if found == -1 else "done"

def write(path):
    with open(path, "w") as file:
        file.write("x")
"""


def tries(program: str, environment: Environment = ALONE) -> list[str]:
    """The words that the program prints."""
    return output(TRIES + program, environment).split()


def test_it_is_nobody_and_cannot_become_somebody():
    assert tries("print(os.getuid() != 0, os.getgid() != 0, 0 in os.getgroups())") == ["True", "True", "False"]
    assert tries("print(tried(os.setuid, 0), tried(os.setgid, 0), tried(os.setgroups, [0]))") == ["EPERM"] * 3
    # Debian's su and mount are setuid root; without the gain they are programs like any other.
    said = tries(
        "import subprocess\n"
        "program = 'import os; print(os.geteuid())'\n"
        "su = subprocess.run(['su', '-c', 'id -u'], stdin=subprocess.DEVNULL, capture_output=True, text=True)\n"
        "print('0' in su.stdout, os.stat('/usr/bin/su').st_mode & 0o4000 != 0)\n"
    )
    assert said == ["False", "True"]


def test_it_has_no_capabilities_and_can_gain_none():
    program = (
        "status = dict(line.split(':', 1) for line in open('/proc/self/status'))\n"
        "print(*(int(status[f'Cap{name}'], 16) for name in ('Inh', 'Prm', 'Eff', 'Bnd', 'Amb')))\n"
        "print(status['NoNewPrivs'].strip(), status['Seccomp'].strip())"
    )
    assert tries(program) == ["0", "0", "0", "0", "0", "1", "2"]


def test_it_cannot_write_but_to_its_own_temporary_folders():
    read_only = ["/file", "/etc/passwd", "/usr/bin/python3", "/var/lib/file", "/run/file", "/run/samovar/file"]
    said = tries(f"print(*(tried(write, path) for path in {read_only!r}))")
    assert set(said) <= {"EROFS", "EACCES"}
    writable = ["/tmp/file", "/var/tmp/file", "/dev/shm/file", os.path.join(spec.HOME, "file")]
    assert tries(f"print(*(tried(write, path) for path in {writable!r}))") == ["done"] * 4
    assert tries("print(os.environ['HOME'], os.getcwd())") == [spec.HOME, spec.HOME]


def test_no_folder_is_writable_without_a_bound():
    program = (
        "for line in open('/proc/mounts'):\n"
        "    _, folder, kind, options = line.split()[:4]\n"
        "    of_the_kernel = kind in ('proc', 'sysfs', 'mqueue', 'devpts', 'cgroup', 'cgroup2')\n"
        "    if not of_the_kernel and os.path.isdir(folder) and os.access(folder, os.W_OK):\n"
        "        print(folder, 'size=' in options)"
    )
    said = tries(program)
    found = dict(zip(said[::2], said[1::2], strict=True))
    assert set(found) >= {"/tmp", "/var/tmp", spec.HOME, "/dev/shm"}
    assert set(found.values()) == {"True"}


def test_it_cannot_change_the_users_code(tmp_path):
    tmp_path.chmod(0o777)
    script = tmp_path / "script.py"
    script.write_text("")
    script.chmod(0o666)
    environment = Environment("e", bundle=Bundle(main=str(script), cwd=str(tmp_path)), network="none")
    new, old = str(tmp_path / "new"), str(script)
    program = (
        f"print(tried(write, {new!r}), tried(write, {old!r}), tried(os.unlink, {old!r}), tried(os.chmod, {old!r}, 511))"
    )
    assert tries(program, environment) == ["EROFS"] * 4
    assert [path.name for path in tmp_path.iterdir()] == ["script.py"]


def test_it_can_neither_mount_nor_make_devices():
    program = (
        "print(tried(os.mknod, '/tmp/disk', 0o600 | 0o060000, os.makedev(8, 0)))\n"
        "print(tried(libc.mount, b'none', b'/tmp', b'tmpfs', 0, None))\n"
        "print(tried(libc.umount2, b'/run/samovar', 2))\n"
        "print(tried(libc.mount, b'none', b'/', b'', 0x1020, None))\n"  # make / writable again
        "print(tried(libc.unshare, 0x20000))\n"  # a mount namespace of its own
        "print(tried(os.chroot, '/tmp'), tried(socket.sethostname, 'x'))"
    )
    assert tries(program) == ["EPERM"] * 7


def test_a_user_namespace_of_its_own_gains_it_nothing():
    """Podman's seccomp profile allows one, Docker's does not."""
    program = (
        "tried(libc.unshare, 0x10000000 | 0x20000)\n"  # user and mounts
        "print(tried(libc.mount, b'none', b'/', b'', 0x1020, None), tried(write, '/etc/passwd'))\n"
        "print(tried(os.mknod, '/tmp/disk', 0o600 | 0o060000, os.makedev(8, 0)))\n"
        "print(tried(libc.umount2, b'/run/samovar', 2), tried(write, '/run/samovar/boot'))"
    )
    said = tries(program)
    assert len(said) == 5
    assert set(said) <= {"EPERM", "EACCES", "EROFS", "EINVAL"}


def test_it_sees_and_reaches_no_process_of_the_host():
    program = (
        "pids = sorted(int(name) for name in os.listdir('/proc') if name.isdigit())\n"
        f"print(pids == [1, os.getpid()], tried(os.kill, {os.getpid()}, 0), os.getpid() < 10)\n"
        "print(tried(write, '/proc/sys/kernel/core_pattern'), tried(write, '/proc/sysrq-trigger'))"
    )
    said = tries(program)
    assert said[:3] == ["True", "ESRCH", "True"]
    assert set(said[3:]) <= {"EROFS", "EACCES", "ENOENT"}


def test_the_hosts_namespaces_are_not_its_own():
    kinds = ["ipc", "mnt", "net", "pid", "uts"]
    if os.path.exists("/sys/fs/cgroup/cgroup.controllers"):  # in the old hierarchy, engines have no namespace for it
        kinds.append("cgroup")
    said = tries(f"print(*(os.readlink(f'/proc/self/ns/{{kind}}') for kind in {kinds!r}))")
    here = [os.readlink(f"/proc/self/ns/{kind}") for kind in kinds]
    assert [kind for kind, one, other in zip(kinds, said, here, strict=True) if one == other] == []


def test_without_a_network_there_is_none():
    program = (
        "print([name for _, name in socket.if_nameindex()])\n"
        "for there in ('192.0.2.1', 80), ('127.0.0.1', 1): print(tried(socket.create_connection, there, 5))"
    )
    assert tries(program) == ["['lo']", "ENETUNREACH", "ECONNREFUSED"]


def test_a_fork_bomb_is_held_by_the_pids_limit(engine):
    program = (
        "children = []\n"
        "import time\n"
        "while True:\n"
        "    try: child = os.fork()\n"
        "    except BlockingIOError: break\n"
        "    if not child: time.sleep(600)\n"
        "    children.append(child)\n"
        "print(len(children))"
    )
    (children,) = tries(program, Environment("bomb", limits=Limits(pids=40), network="none"))
    assert 30 <= int(children) <= 40
    (children,) = tries(program)
    assert int(children) <= spec.PIDS
    assert tries("print('well')") == ["well"]


def test_tmp_is_full_at_its_bound():
    program = (
        "def fill(path):\n"
        "    with open(path, 'wb', buffering=0) as file:\n"
        "        while True: file.write(bytes(1 << 20))\n"
        "for folder in ('/tmp', '/dev/shm'):\n"
        "    print(tried(fill, folder + '/full'), os.stat(folder + '/full').st_size)"
    )
    said = tries(program, Environment("full", limits=Limits(disk=8 << 20, shm=4 << 20), network="none"))
    assert said == ["ENOSPC", str(8 << 20), "ENOSPC", str(4 << 20)]


@pytest.mark.parametrize("mount", ["", "/secrets"])
def test_a_secret_and_the_token_are_seen_by_the_replica_alone(engine, monkeypatch, mount):
    monkeypatch.setenv("KEY", SECRET)
    token = "token-of-this-replica"
    environment = Environment("e", secrets=(SecretSpec("KEY", "key", mount),), network="none")
    program = (
        "value = open(os.environ['KEY']).read() if os.path.exists(os.environ['KEY']) else os.environ['KEY']\n"
        f"print(value == {SECRET[::-1]!r}[::-1], os.environ['SAMOVAR_TOKEN'], flush=True)\n"
        "import time; time.sleep(600)"
    )

    async def test():
        async with world(TRIES + program) as here:
            await here.driver.start("r", environment, {"SAMOVAR_TOKEN": token})
            assert await here.line() == ("r", f"True {token}")
            async with dockerapi.opened() as docker:
                (name,) = await replicas(docker, here.driver.id)
            shown = engine.cli("inspect", name) + engine.cli("ps", "--all", "--format={{json .}}")
            shown += _logs(engine, name) + json.dumps(_seen_from_outside())
            for hidden in (SECRET, token):
                assert hidden not in shown
            assert _unreadable_for_others(here.driver._private.lock.parent)

    run(test())


def _seen_from_outside() -> list[str]:
    """The command line of every process, and the environment with which each was started, but this one's own."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        for name in ("cmdline", "environ"):
            try:
                with open(f"/proc/{pid}/{name}", errors="replace") as file:
                    found.append(file.read() if int(pid) != os.getpid() else "")
            except OSError:
                continue
    assert any("/run/samovar/boot" in line for line in found)
    return found


def _logs(engine, name: str) -> str:
    """What the engine shows of the output of a container, or why it shows nothing."""
    try:
        return engine.cli("logs", name)
    except AssertionError as refused:
        return str(refused)


def _unreadable_for_others(folder) -> bool:
    """Nobody but this user gets into the folder on the host, and in it nobody but the replica's user reads a file."""
    modes = {path.name: path.stat().st_mode & 0o777 for path in folder.rglob("*") if path.is_file()}
    assert modes.pop("lock") == modes.pop("output") == 0o600
    assert modes
    return folder.stat().st_mode & 0o077 == 0 and set(modes.values()) == {0o400}


def test_what_a_replica_writes_is_in_no_log_of_the_container_engine(engine):
    async def test():
        async with world("print('to the driver alone', flush=True); import time; time.sleep(600)") as here:
            await here.driver.start("r", ALONE, {})
            assert (await here.line())[1] == "to the driver alone"
            async with dockerapi.opened() as docker:
                (name,) = await replicas(docker, here.driver.id)
            assert "to the driver alone" not in _logs(engine, name)

    run(test())


def test_a_replica_cannot_pretend_to_end_otherwise():
    program = (
        "life = os.open('/run/samovar/life', os.O_WRONLY)\nos.write(life, b'0 0\\n' * 2000)\nos.kill(os.getpid(), 9)"
    )

    async def test():
        async with world(TRIES + program) as here:
            await here.driver.start("r", ALONE, {})
            how = await asyncio.wait_for(here.driver.wait("r"), 60)
            assert how.signal == signal.SIGKILL

    run(test())
