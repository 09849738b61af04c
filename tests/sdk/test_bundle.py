"""The user's code: scripts in processes of their own, and the public names."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import samovar
from samovar import model
from samovar.errors import InitializationError, NotSupportedError
from samovar.sdk import bundle

SOURCE = str(Path(samovar.__file__).parent.parent)
SCRIPT = """
import json, pickle, sys
import samovar as flyte
env = flyte.TaskEnvironment("ml")
class Thing: pass
@env.task
def f(): ...
if __name__ == "__main__":
    spec = f.spec
    b = spec.environment.bundle
    name = pickle.dumps(f).find(b"__main__")
    print(json.dumps(dict(module=spec.module, main=b.main, main_name=b.main_name, sys_path=b.sys_path, cwd=b.cwd,
        digest=b.digest, alias=sys.modules.get(b.main_name) is sys.modules["__main__"], by_main=name)))
"""


def start(folder: Path, *command: str, env: dict[str, str] | None = None) -> dict[str, Any]:
    ran = subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": SOURCE, **(env or {})},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ran.returncode == 0, ran.stderr
    found: dict[str, Any] = json.loads(ran.stdout)
    return found


@pytest.mark.parametrize(
    ("file", "name"), [("hello.py", "hello"), ("my-script.py", "my_script"), ("1st.py", "_1st"),
                       ("queue.py", "queue_main"), ("class.py", "_class"), ("numpy.py", "numpy")]
)  # fmt: skip
def test_a_script(tmp_path: Path, file: str, name: str) -> None:
    (tmp_path / file).write_text(SCRIPT)
    (tmp_path / "elsewhere").mkdir()
    found = start(tmp_path / "elsewhere", str(tmp_path / file))
    assert (found["main"], found["main_name"], found["module"]) == (str(tmp_path / file), name, name)
    assert found["sys_path"] == [str(tmp_path), SOURCE]
    assert found["cwd"] == str(tmp_path / "elsewhere")
    assert found["alias"]
    assert found["by_main"] == -1


def test_a_module(tmp_path: Path) -> None:
    (tmp_path / "pkg").mkdir()
    (tmp_path / "pkg" / "__init__.py").touch()
    (tmp_path / "pkg" / "app.py").write_text(SCRIPT)
    found = start(tmp_path, "-m", "pkg.app")
    assert (found["main_name"], found["module"], found["sys_path"][0]) == ("pkg.app", "pkg.app", str(tmp_path))


def test_the_digest_covers_the_script_and_what_it_imports(tmp_path: Path) -> None:
    (tmp_path / "hello.py").write_text("import helper\n" + SCRIPT)
    (tmp_path / "unused.py").write_text("x = 1")
    (tmp_path / "helper.py").write_text("x = 1")
    first = start(tmp_path, "hello.py")["digest"]
    assert start(tmp_path, "hello.py")["digest"] == first
    (tmp_path / "unused.py").write_text("x = 2")
    assert start(tmp_path, "hello.py")["digest"] == first
    (tmp_path / "helper.py").write_text("x = 2")
    second = start(tmp_path, "hello.py")["digest"]
    (tmp_path / "hello.py").write_text("import helper\n\n" + SCRIPT)
    assert len({first, second, start(tmp_path, "hello.py")["digest"]}) == 3


def test_what_is_loaded_and_from_where(tmp_path: Path) -> None:
    for name in ("pkg/__init__.py", "pkg/inner.py", "flat.py", "by_hand.py", "unused.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    code = """
import importlib.util, json, sys
import samovar, msgspec, pkg.inner, flat
spec = importlib.util.spec_from_file_location("another_name", "by_hand.py")
sys.modules["another_name"] = importlib.util.module_from_spec(spec)
from samovar.sdk import bundle
print(json.dumps(bundle.loaded()))
"""
    here = str(tmp_path)
    names = ("pkg/__init__.py", "pkg/inner.py", "flat.py")
    assert start(tmp_path, "-c", code) == {**{f"{here}/{name}": here for name in names}, f"{here}/by_hand.py": ""}


def test_a_session_without_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle, "_script", lambda: ("", ""))
    assert bundle.current().main == ""
    assert bundle.module_of("some.module") == "some.module"
    with pytest.raises(InitializationError, match="put it into a file"):
        bundle.module_of("__main__")


def test_a_test_runner_is_not_the_script() -> None:
    assert bundle.current().main == ""


def test_a_script_that_is_loaded_by_hand(tmp_path: Path) -> None:
    (tmp_path / "flow.py").write_text("x = 1")
    before = bundle.current()
    bundle.set_main(tmp_path / "flow.py", "flow")
    found = bundle.current()
    assert found is not before
    assert (found.main, found.main_name, found.sys_path[0]) == (str(tmp_path / "flow.py"), "flow", str(tmp_path))
    assert "flow" not in sys.modules
    assert bundle.current() is found


def test_a_replica_takes_its_bundle_over() -> None:
    given = model.Bundle(main="/x.py", main_name="x", digest="d")
    bundle.adopt(given)
    assert bundle.as_known("/x.py") == "/x.py"
    assert bundle.hint(ModuleNotFoundError()) == ""
    assert bundle.current() is given
    assert bundle.in_replica
    assert bundle.module_of("__main__") == "x"


def test_a_replica_of_unpacked_code_speaks_of_files_as_they_are_called_in_the_project(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bundle, "_folder", "")
    bundle.adopt(model.Bundle(main="/kept/x.py", folder="/kept"), "/seen")
    assert bundle.as_known('File "/seen/a/x.py"') == 'File "a/x.py"'
    assert "include" in bundle.hint(ModuleNotFoundError("no x"))
    assert "include" in bundle.hint(FileNotFoundError(2, "no", "/seen/data"))
    for other in (FileNotFoundError(2, "no", "/data"), FileNotFoundError(), ValueError()):
        assert bundle.hint(other) == ""


def test_import_samovar_is_light(tmp_path: Path) -> None:
    loaded = start(tmp_path, "-c", "import samovar, sys, json; print(json.dumps({'names': sorted(sys.modules)}))")
    names = set(loaded["names"])
    assert not names & {"asyncio", "msgspec", "logging", "inspect"}
    assert [name for name in names if name.startswith("samovar.")] == []
    code = "import samovar, sys, json; samovar.run; print(json.dumps({'names': sorted(sys.modules)}))"
    names = set(start(tmp_path, "-c", code)["names"])
    assert not names & {"samovar.host", "samovar.engine", "cloudpickle", "uvloop", "samovar.wire"}


def test_the_public_names() -> None:
    for name in samovar.__all__:
        assert getattr(samovar, name) is getattr(samovar, name)
    assert callable(samovar.map)
    assert samovar.map.aio
    assert samovar.logger.name == "samovar"
    assert samovar.models.ActionPhase is model.Phase
    assert set(dir(samovar)) == set(samovar.__all__)


@pytest.mark.parametrize("name", ["deploy", "serve", "io", "report", "extras"])
def test_other_names_of_flyte_are_refused_by_name(name: str) -> None:
    with pytest.raises(NotSupportedError, match=rf"flyte\.{name} is not part of samovar"):
        getattr(samovar, name)


def test_names_that_python_asks_for_are_plainly_absent() -> None:
    with pytest.raises(AttributeError) as refused:
        samovar.__wrapped__  # noqa: B018
    assert not isinstance(refused.value, NotSupportedError)
    assert not hasattr(samovar, "serve")
