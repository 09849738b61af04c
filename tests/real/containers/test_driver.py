"""What only containers can do wrong: an API that goes away, pauses, kills from outside, what others left behind."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys

import pytest

from samovar.drivers import container
from samovar.drivers.container import ContainerDriver
from samovar.drivers.container_api import replicas
from samovar.drivers.container_spec import SOCKETS, Shared
from samovar.errors import ImageBuildError, ReplicaStartError
from samovar.images import dockerapi
from samovar.model import Bundle, Environment, Exit, Limits, SecretSpec
from tests.conformance.driver.worlds import container as container_world

from .replicas import ALONE, ended, output, run, soon, world


async def container_of(driver: ContainerDriver) -> str:
    """The name of the one container that this driver has."""
    async with dockerapi.opened() as docker:
        (name,) = await replicas(docker, driver.id)
        return name


def test_an_end_is_seen_while_nobody_answers(engine):
    async def test():
        async with world("import os, time\nprint(os.getpid(), flush=True)\ntime.sleep(600)") as here:
            await here.driver.start("r", ALONE, {})
            await here.line()
            name = await container_of(here.driver)
            pid = int(engine.cli("inspect", "--format", "{{.State.Pid}}", name))
            engine.stop()
            os.kill(pid, signal.SIGTERM)
            how = await soon(here.driver.wait("r"))
            assert how.signal == signal.SIGTERM
            engine.start()

    run(test())


def test_a_start_waits_for_an_api_that_comes_back(engine):
    async def test():
        async with world("fail") as here:
            await here.driver.prepare(ALONE, print)
            engine.stop()
            starting = asyncio.create_task(here.driver.start("r", ALONE, {}))
            await asyncio.sleep(0)
            engine.start()
            await soon(starting)
            assert (await soon(here.driver.wait("r"))).code == 7

    run(test())


def test_a_stop_waits_for_an_api_that_comes_back(engine):
    async def test():
        async with world("polite") as here:
            await here.driver.start("r", ALONE, {})
            await here.line()
            engine.stop()
            stopping = asyncio.create_task(here.driver.stop("r", 20))
            await asyncio.sleep(0)
            engine.start()
            await soon(stopping)
            assert (await soon(here.driver.wait("r"))).code == 5

    run(test())


def test_a_replica_that_is_killed_from_outside(engine):
    async def test():
        async with world("sleep") as here:
            await here.driver.start("r", ALONE, {})
            await here.line()
            engine.cli("kill", await container_of(here.driver))
            how = await soon(here.driver.wait("r"))
            assert (how.code, how.signal, how.out_of_memory) == (None, signal.SIGKILL, False)

    run(test())


def test_a_replica_whose_container_is_removed_from_outside(engine):
    async def test():
        async with world("sleep") as here:
            await here.driver.start("r", ALONE, {})
            await here.line()
            engine.remove(await container_of(here.driver))
            assert (await soon(here.driver.wait("r"))).signal == signal.SIGKILL
            await soon(here.driver.stop("r", 1))

    run(test())


@pytest.mark.parametrize(("grace", "code"), [(20, 5), (0, None)])
def test_a_paused_replica_is_stopped(engine, grace, code):
    async def test():
        async with world("polite") as here:
            await here.driver.start("r", ALONE, {})
            await here.line()
            engine.cli("pause", await container_of(here.driver))
            await soon(here.driver.stop("r", grace))
            assert (await soon(here.driver.wait("r"))).code == code

    run(test())


@pytest.mark.parametrize("status", [130, 137, 255])
def test_an_exit_code_is_not_taken_for_a_signal(status):
    async def test():
        how = await ended(f"import os; os._exit({status})")
        assert (how.code, how.signal) == (status, None)

    run(test())


def test_a_replica_is_stopped_before_it_runs(engine):
    async def test():
        async with world("sleep") as here:
            await here.driver.start("r", ALONE, {})
            await soon(here.driver.stop("r", 20))
            assert (await soon(here.driver.wait("r"))).signal == signal.SIGTERM

    run(test())


def test_a_replica_is_stopped_while_it_starts(engine):
    async def test():
        async with world("stubborn") as here:
            await here.driver.prepare(ALONE, print)
            starting = asyncio.create_task(here.driver.start("r", ALONE, {}))
            while not here.driver.replicas:
                await asyncio.sleep(0)
            await soon(here.driver.stop("r", 0))
            await soon(starting)
            assert (await soon(here.driver.wait("r"))).signal == signal.SIGKILL
            assert engine.containers() == []

    run(test())


def test_orphans_are_reaped_and_the_rest_dies_with_the_main_process(engine):
    program = (
        "import os, time\n"
        "if os.fork() == 0:\n"
        "    if os.fork() == 0: os._exit(0)\n"
        "    os._exit(0)\n"
        "if os.fork() == 0: time.sleep(600)\n"
        "os.wait()\n"
        "print('ready', flush=True)"
    )

    async def test():
        assert (await ended(program)).output == "ready\n"

    run(test())


def test_a_cancelled_start_leaves_nothing(engine):
    async def test():
        async with world("sleep") as here:
            await here.driver.prepare(ALONE, print)
            starting = asyncio.create_task(here.driver.start("r", ALONE, {}))
            while not here.driver.replicas:
                await asyncio.sleep(0)
            starting.cancel()
            await asyncio.wait([starting])
            assert starting.cancelled()
            with pytest.raises(LookupError):
                await here.driver.wait("r")
        assert engine.containers() == []

    run(test())


def test_what_cannot_start_says_why_and_leaves_nothing(engine):
    async def test():
        async with world("sleep") as here:
            wrong = Environment("e", network="nowhere")
            with pytest.raises(ReplicaStartError, match=r"environment 'e': .*nowhere"):
                await here.driver.start("r", wrong, {})
            with pytest.raises(ReplicaStartError, match="'e': 'a=b' cannot be an environment variable"):
                await here.driver.start("r", Environment("e"), {"a=b": "c"})
            missing = Environment("e", limits=Limits(gpu="T4:9"))
            with pytest.raises(ReplicaStartError, match=r"'e' asks for gpu 'T4:9', but this machine has"):
                await here.driver.start("r", missing, {})
        assert engine.containers() == []

    run(test())


def test_an_image_that_does_not_name_its_python_is_refused(engine, monkeypatch):
    container = engine.cli("create", "--network=none", engine.base(), "true").strip()
    bare = engine.cli("commit", "--change=LABEL samovar.python=", container).strip()
    engine.cli("rm", container)

    async def test():
        monkeypatch.setenv("CONTAINER_IMAGE", bare)
        async with world("sleep") as here:
            with pytest.raises(ImageBuildError, match=f"environment 'alone': the image {bare} does not say"):
                await here.driver.start("r", ALONE, {})

    try:
        run(test())
    finally:
        engine.cli("rmi", "--force", bare)


def test_a_python_that_does_not_start_is_asked_of_the_api(monkeypatch):
    monkeypatch.setattr(container, "BOOT_SECONDS", 0.05)

    async def test():
        driver = ContainerDriver(Shared(), ("--nonsense", "-c", "pass"))
        await driver.start("r", ALONE, {})
        assert await soon(driver.wait("r")) == Exit(code=2)
        await driver.close()

    run(test())


def test_a_replica_that_is_slow_to_boot_ends_as_any_other(monkeypatch):
    monkeypatch.setattr(container, "BOOT_SECONDS", 0)

    async def test():
        assert (await ended("raise SystemExit(137)")).code == 137

    run(test())


def test_an_image_that_was_removed_is_made_again(engine, monkeypatch):
    copy = engine.cli("create", "--network=none", engine.base(), "true").strip()
    images = []

    async def ensure(docker, image, report):
        if not images:
            images.append(engine.cli("commit", copy).strip())
            return images[0]
        return engine.base()

    async def test():
        driver = ContainerDriver(Shared(), ("-c", "raise SystemExit(7)"), ensure=ensure)
        await driver.prepare(ALONE, print)
        engine.cli("rm", copy)
        engine.cli("rmi", images[0])
        with pytest.raises(ReplicaStartError, match=r"'alone': .*image"):
            await driver.start("r", ALONE, {})
        await driver.start("r", ALONE, {})
        assert (await soon(driver.wait("r"))).code == 7
        await driver.close()

    run(test())


def test_without_an_engine_it_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setenv("SAMOVAR_CONTAINER_SOCKET", str(tmp_path / "none.sock"))

    async def test():
        async with world("sleep") as here:
            with pytest.raises(ImageBuildError, match=r"'alone': no container engine answers: .*none.sock"):
                await here.driver.start("r", ALONE, {})

    run(test())


ANOTHER_ENGINE = """
import asyncio, os, sys
sys.path.insert(0, sys.argv[1])
from tests.real.containers.replicas import ALONE
from tests.conformance.driver.worlds import container

async def main():
    here = container("sleep")
    await here.driver.start("r", ALONE, {})
    await here.line()
    print(here.driver.id, os.path.dirname(here.driver._private.lock), flush=True)
    sys.stdin.read()
    os._exit(9)

asyncio.run(main())
"""


def test_containers_of_a_dead_engine_are_removed_and_those_of_a_living_one_are_not(engine, request):
    other = subprocess.Popen(
        [sys.executable, "-c", ANOTHER_ENGINE, str(request.config.rootpath)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with other:
        driver, folder = other.stdout.readline().split()

        async def found() -> list[str]:
            """What is left of the other one, after an engine has started and closed."""
            async with world("sleep") as here:
                await here.driver.prepare(ALONE, print)
            async with dockerapi.opened() as docker:
                return list((await replicas(docker, driver)).values())

        try:
            assert asyncio.run(found()) == ["r"]
            assert os.path.exists(folder)
        finally:
            other.stdin.close()
            other.wait(60)
        assert asyncio.run(found()) == []
        assert not os.path.exists(folder)


def test_it_starts_where_the_user_did_with_the_code_below_the_same_path(tmp_path):
    tmp_path.chmod(0o755)
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "leaf.py").write_text("TEA = 'green'")
    (tmp_path / "script.py").write_text("")
    bundle = Bundle(main=str(tmp_path / "script.py"), sys_path=(str(tmp_path / "lib"),), cwd=str(tmp_path))
    program = (
        f"import os, sys\nsys.path.insert(0, {str(tmp_path / 'lib')!r})\nimport leaf\nprint(leaf.TEA, os.getcwd())"
    )
    environment = Environment("e", bundle=bundle, network="none")
    assert output(program, environment).split() == ["green", str(tmp_path)]


@pytest.mark.skipif(os.getuid() != 0, reason="only root's replicas are somebody else")
def test_code_that_a_replica_cannot_read_refuses_the_start(tmp_path):
    async def test():
        async with world("sleep") as here:
            environment = Environment("e", bundle=Bundle(sys_path=(str(tmp_path),)), network="none")
            with pytest.raises(ReplicaStartError, match=f"'e': .* cannot read {tmp_path}: .*; allow it .chmod"):
                await here.driver.start("r", environment, {})

    tmp_path.chmod(0o700)
    run(test())


def test_the_engines_socket_is_reached_without_a_network_and_blobs_are_shared(tmp_path):
    folder, blobs = tmp_path / "engine", tmp_path / "blobs"
    folder.mkdir(0o700)
    blobs.mkdir(0o700)
    program = (
        "import socket\n"
        f"engine = socket.socket(socket.AF_UNIX)\nengine.connect({SOCKETS + '/socket'!r})\n"
        f"open({str(blobs / 'blob')!r}, 'w').write(engine.recv(100).decode())"
    )

    async def test():
        async def greet(reader, writer):
            writer.write(b"from the engine")
            writer.close()

        server = await asyncio.start_unix_server(greet, folder / "socket")
        async with server:
            assert (await ended(program, ALONE, Shared(str(folder), str(blobs)))).output == ""

    run(test())
    assert (blobs / "blob").read_text() == "from the engine"


def test_the_runtime_finds_its_engine_and_shows_its_token(tmp_path):
    async def test():
        said = asyncio.get_running_loop().create_future()

        async def hear(reader, writer):
            said.set_result(await reader.read(1000))
            await reader.read()
            writer.close()

        folder = tmp_path / "engine"
        folder.mkdir()
        driver = ContainerDriver(Shared(str(folder)))
        server = await asyncio.start_unix_server(hear, folder / "socket")
        async with server:
            boot = {
                "SAMOVAR_ENGINE": str(folder / "socket"),
                "SAMOVAR_REPLICA": "r",
                "SAMOVAR_TOKEN": "token-of-the-replica",
            }
            await driver.start("r", ALONE, boot)
            assert b"token-of-the-replica" in await soon(said)
            await driver.close()

    run(test())


def test_nothing_of_a_replica_stays_in_the_private_folder(engine, monkeypatch):
    monkeypatch.setenv("KEY", "s3cret")

    async def test():
        async with world("sleep") as here:
            secret = SecretSpec("KEY_FILE", "key", "/keys")
            await here.driver.start("r", Environment("e", secrets=(secret,), network="none"), {})
            await here.line()
            folder = here.driver._private.lock.parent
            assert len(list(folder.iterdir())) == 2
            await soon(here.driver.stop("r", 0))
            assert [path.name for path in folder.iterdir()] == ["lock"]
        assert not folder.exists()

    run(test())


def test_with_a_home_its_output_is_all_that_it_can_write_to(tmp_path, monkeypatch):
    monkeypatch.setenv("KEY", "s3cret")
    program = (
        "import os\n"
        "for name in sorted(os.listdir('/run/samovar')) + ['new']:\n"
        "    try: open(f'/run/samovar/{name}', 'a').close()\n"
        "    except OSError: continue\n"
        "    print(name)"
    )

    async def test():
        here = container_world(program, home=tmp_path / "home")
        secret = SecretSpec("KEY_FILE", "key", "/keys")
        await here.driver.start("r", Environment("e", secrets=(secret,), network="none"), {})
        assert (await soon(here.driver.wait("r"))).output.split() == ["life", "output"]
        await here.driver.close()

    run(test())


def test_many_start_at_once_and_each_says_its_own(engine):
    async def test():
        async with world("import os; print(os.environ['NUMBER'])") as here:
            names = [f"r{number}" for number in range(10)]
            await asyncio.gather(*(here.driver.start(name, ALONE, {"NUMBER": name}) for name in names))
            ends = await soon(asyncio.gather(*(here.driver.wait(name) for name in names)))
            assert [how.output.strip() for how in ends] == names

    run(test())


def test_the_network_of_an_environment(engine):
    program = "import os; print(sorted(os.listdir('/sys/class/net')))"
    assert output(program) == "['lo']\n"
    assert "lo" in output(program, Environment("e", network="bridge"))
    here = sorted(name for _, name in socket.if_nameindex())
    seen = output("import socket; print(sorted(n for _, n in socket.if_nameindex()))", Environment("e", network="host"))
    assert seen == f"{here}\n"
