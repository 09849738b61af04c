"""What a container engine is asked for; what comes of it is tried in ``tests/real/containers``."""

from __future__ import annotations

import os

import pytest

from samovar.drivers import container_spec as spec
from samovar.errors import ReplicaStartError
from samovar.model import Bundle, Environment, ImageSpec, ImageStep, Limits

IMAGE = spec.Image("id", "/opt/venv/bin/python")
USER = spec.User("docker", (1000, 1000))


def asked(environment: Environment, user: spec.User = USER, shared: spec.Shared | None = None):
    return spec.config(environment, image=IMAGE, user=user, shared=shared or spec.Shared(), files=[])


@pytest.mark.parametrize(
    ("uid", "kind", "rootless", "user", "namespace"),
    [
        (0, "podman", False, "64198:64198", None),
        (0, "docker", False, "64198:64198", None),
        (1000, "docker", False, "1000:100", None),
        (1000, "docker", True, "0:0", None),
        (1000, "podman", True, "1000:100", "keep-id"),
    ],
)
def test_who_a_replica_is(monkeypatch, uid, kind, rootless, user, namespace):
    monkeypatch.setattr(os, "getuid", lambda: uid)
    monkeypatch.setattr(os, "getgid", lambda: 100)
    found = asked(Environment("e"), spec.User.for_engine(kind, rootless))
    assert (found["User"], found["HostConfig"].get("UsernsMode")) == (user, namespace)


def test_gpus_are_asked_for_as_each_engine_knows_them(monkeypatch):
    monkeypatch.setattr(spec.glob, "glob", lambda pattern: ["/dev/nvidia0", "/dev/nvidia1"])
    environment = Environment("e", limits=Limits(gpu="T4:2"))
    spec.check(environment, USER)
    assert asked(environment)["HostConfig"]["DeviceRequests"] == [{"Count": 2, "Capabilities": [["gpu"]]}]
    cdi = [{"Driver": "cdi", "DeviceIDs": ["nvidia.com/gpu=0", "nvidia.com/gpu=1"]}]
    assert asked(environment, spec.User("podman", (1000, 1000)))["HostConfig"]["DeviceRequests"] == cdi
    with pytest.raises(ReplicaStartError, match="'e' asks for gpu '3', but this machine has 2; ask for less"):
        spec.check(Environment("e", limits=Limits(gpu="3")), USER)


def test_code_is_mounted_once_and_never_over_what_a_container_has_itself(tmp_path):
    for name in ("app", "app/lib", "other"):
        (tmp_path / name).mkdir()
    script = tmp_path / "app" / "script.py"
    script.touch()
    app, other = str(tmp_path / "app"), str(tmp_path / "other")
    bundle = Bundle(main=str(script), sys_path=(app, f"{app}/lib", other, "/nowhere/at/all"), cwd=f"{app}/")
    assert spec.code(bundle) == [app, other]
    assert spec.code(Bundle(sys_path=("/", "/tmp", "/etc", "/usr/lib", "/opt/venv"), cwd="/proc/self")) == []
    assert asked(Environment("e", bundle=bundle))["WorkingDir"] == app
    assert asked(Environment("e", bundle=Bundle(cwd="/")))["WorkingDir"] == spec.HOME


def test_unpacked_code_has_a_place_of_its_own(tmp_path):
    (tmp_path / "files" / "src").mkdir(parents=True)
    (tmp_path / "own").mkdir()
    files, own = str(tmp_path / "files"), str(tmp_path / "own")
    packed = Bundle("src/a.py", "a", ("src", ".", own), is_packed=True)
    bundle = packed.unpacked(files, files)
    assert (bundle.main, bundle.sys_path) == (f"{files}/src/a.py", (f"{files}/src", files, own))
    found = asked(Environment("e", bundle=bundle))
    assert [(mount["Source"], mount["Target"]) for mount in found["HostConfig"]["Mounts"]] == [
        (own, own),
        (files, spec.CODE),
    ]
    assert found["WorkingDir"] == spec.CODE
    assert f"SAMOVAR_CODE={spec.CODE}" in found["Env"]
    seen = bundle.seen_at(spec.CODE)
    assert (seen.main, seen.sys_path) == (f"{spec.CODE}/src/a.py", (f"{spec.CODE}/src", spec.CODE, own))


def test_of_a_script_in_such_a_folder_only_the_file_is_there(monkeypatch):
    monkeypatch.setattr(os.path, "exists", lambda path: True)
    assert spec.code(Bundle(main="/tmp/script.py", sys_path=("/tmp",), cwd="/tmp")) == ["/tmp/script.py"]


def test_a_working_directory_of_the_image_stands():
    environment = Environment("e", image=ImageSpec(steps=(ImageStep("workdir", ("/data",)),)))
    assert "WorkingDir" not in asked(environment)


def test_only_blobs_are_writable_and_only_as_deep_as_needed():
    mounts = asked(Environment("e"), shared=spec.Shared("/engine", "/blobs"))["HostConfig"]["Mounts"]
    assert [(mount["Source"], mount["Target"], mount["ReadOnly"]) for mount in mounts] == [
        ("/engine", spec.SOCKETS, True),
        ("/blobs", "/blobs", False),
    ]


@pytest.mark.parametrize(
    ("address", "reached"),
    [("/engine/engine.sock", f"{spec.SOCKETS}/engine.sock"), ("/elsewhere/engine.sock", "/elsewhere/engine.sock")],
)
def test_the_engines_socket_is_named_as_the_container_has_it(address, reached):
    boot = {"SAMOVAR_ENGINE": address, "SAMOVAR_REPLICA": "r"}
    assert spec.Shared("/engine").reached(boot) == {**boot, "SAMOVAR_ENGINE": reached}


def test_the_engines_choice_of_a_network_stands_unless_the_environment_names_one():
    assert "NetworkMode" not in asked(Environment("e"))["HostConfig"]
    assert asked(Environment("e", network="none"))["HostConfig"]["NetworkMode"] == "none"


def test_an_orphan_is_one_of_this_machine_that_nobody_will_come_for(tmp_path):
    own = spec.labels("r", Environment("e"), "engine")
    there, gone = str(tmp_path), str(tmp_path / "gone")
    assert spec.is_orphan({**own, spec.LOCK: gone})
    assert spec.is_orphan({**own, spec.FOLDER: gone})
    assert not spec.is_orphan({**own, spec.FOLDER: there})
    assert not spec.is_orphan({**own, spec.FOLDER: f"{__file__}/below"})  # that cannot be known
    for elsewhere in ({**own, spec.HOST: "elsewhere"}, {}):
        assert not spec.is_orphan({**elsewhere, spec.LOCK: gone})
