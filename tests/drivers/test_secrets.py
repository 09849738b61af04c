"""Where secrets are looked for, and how they reach a process."""

from __future__ import annotations

import asyncio
import os

import pytest

from samovar.drivers import private, secrets
from samovar.drivers.process import ProcessDriver
from samovar.errors import ReplicaStartError
from samovar.model import Environment, SecretSpec


@pytest.fixture
def folder(monkeypatch, tmp_path):
    monkeypatch.setenv("SAMOVAR_SECRETS_DIR", str(tmp_path))
    return tmp_path


def needing(*wanted: SecretSpec) -> Environment:
    return Environment("e", secrets=wanted)


def test_a_variable_of_the_engine_comes_before_a_file(folder, monkeypatch):
    wanted = needing(SecretSpec("PASSWORD", "db-password"))
    (folder / "db-password").write_text("from the file\n")
    assert secrets.as_variables(wanted) == {"PASSWORD": "from the file"}
    monkeypatch.setenv("DB_PASSWORD", "as a shell writes it")
    assert secrets.as_variables(wanted) == {"PASSWORD": "as a shell writes it"}
    monkeypatch.setenv("db-password", "as it is")
    assert secrets.as_variables(wanted) == {"PASSWORD": "as it is"}


def test_a_group_is_a_folder_or_a_prefix(folder, monkeypatch):
    wanted = needing(SecretSpec("TOKEN", "api/token"))
    (folder / "api").mkdir()
    (folder / "api" / "token").write_text("x")
    assert secrets.as_variables(wanted) == {"TOKEN": "x"}
    monkeypatch.setenv("API_TOKEN", "y")
    assert secrets.as_variables(wanted) == {"TOKEN": "y"}


def test_the_folder_is_below_the_users_configuration(monkeypatch, tmp_path):
    monkeypatch.delenv("SAMOVAR_SECRETS_DIR", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert secrets.folder() == tmp_path / "samovar" / "secrets"
    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.setenv("HOME", "/home/me")
    assert str(secrets.folder()) == "/home/me/.config/samovar/secrets"


@pytest.mark.parametrize("key", ["../outside", "group/../../outside", "/etc/hostname"])
def test_no_key_leads_out_of_the_folder(folder, key):
    (folder.parent / "outside").write_text("x")
    with pytest.raises(ReplicaStartError, match="'e' needs the secret"):
        secrets.as_variables(needing(SecretSpec("X", key)))


def test_what_cannot_be_says_why(folder):
    with pytest.raises(
        ReplicaStartError, match=rf"'e' needs the secret 'k' \(as V\), .*variable k or K, .*file {folder}/k"
    ):
        secrets.as_variables(needing(SecretSpec("V", "k")))
    (folder / "k").write_bytes(b"\xff\0")
    with pytest.raises(ReplicaStartError, match=r"is no text; give Secret\('k'\) a mount"):
        secrets.as_variables(needing(SecretSpec("V", "k")))
    assert secrets.as_files(needing(SecretSpec("V", "k", "/keys")))[0][1] == b"\xff\0"
    (folder / "d").mkdir()
    with pytest.raises(ReplicaStartError, match=r"/d cannot be read: Is a directory"):
        secrets.as_variables(needing(SecretSpec("V", "d")))


def test_a_secret_file_of_a_process_lives_as_long_as_it_does(folder):
    (folder / "key").write_bytes(b"\xff\0")
    heard: asyncio.Queue[str] = asyncio.Queue()
    program = "import os, sys; print(os.environ['KEY'], flush=True); sys.stdin.read(); import time; time.sleep(600)"

    async def test() -> None:
        driver = ProcessDriver(("-c", program), lambda _, line: heard.put_nowait(line))
        await driver.start("r", needing(SecretSpec("KEY", "key", "/keys")), {})
        path = await asyncio.wait_for(heard.get(), 60)
        root = path.removesuffix("/keys/key")
        assert os.stat(path).st_mode & 0o777 == 0o400
        assert os.stat(root).st_mode & 0o777 == 0o700
        with open(path, "rb") as file:
            assert file.read() == b"\xff\0"
        await driver.stop("r", 0)
        await driver.wait("r")
        assert not os.path.exists(root)
        await driver.close()
        assert not os.path.exists(os.path.dirname(root))

    asyncio.run(test())


def test_a_start_that_fails_leaves_no_secret(folder):
    (folder / "key").write_text("x")

    async def test() -> None:
        driver = ProcessDriver()
        environment = needing(SecretSpec("KEY", "key", "/keys"))
        driver._pythons[environment.image] = "/nowhere/python"
        with pytest.raises(ReplicaStartError, match="does not start"):
            await driver.start("r", environment, {})
        await asyncio.sleep(0)  # the loop's turn in which it is removed
        assert [path.name for path in driver._private.lock.parent.iterdir()] == ["lock"]
        await driver.close()

    asyncio.run(test())


def test_a_private_folder_is_in_use_until_it_is_closed(tmp_path):
    folder = private.PrivateFolder()
    made = folder.make("x")
    assert made.stat().st_mode & 0o777 == 0o700
    assert private.is_in_use(folder.lock)
    private.remove_unused(folder.lock)
    assert made.exists()
    lock = folder.lock
    folder.close()
    assert not private.is_in_use(lock)
    assert not lock.parent.exists()


def test_of_folders_only_ones_of_this_kind_are_removed(tmp_path):
    (tmp_path / "lock").touch()
    private.remove_unused(tmp_path / "lock")
    assert tmp_path.exists()
