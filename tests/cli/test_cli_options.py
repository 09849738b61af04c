"""Parameters of a task as options: every kind of annotation, what help says, what bad values are told."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pytest

PREAMBLE = """
import datetime, enum, pathlib, typing, dataclasses, decimal, uuid
import numpy, pydantic
from typing import Annotated, Any, Literal, Optional, TypedDict, Union

class Color(enum.Enum):
    RED = "r"
    GREEN = "g"

@dataclasses.dataclass
class Point:
    x: int
    y: float = 0.5

class Model(pydantic.BaseModel):
    name: str
    size: int = 1

class Record(TypedDict):
    id: int
"""


def program(annotation: str, default: str = "") -> str:
    equals = f" = {default}" if default else ""
    return f"{PREAMBLE}\n@env.task\ndef main(data_item: {annotation}{equals}) -> None:\n    pass\n"


@pytest.mark.parametrize(
    ("annotation", "text", "expected"),
    [
        ("int", "3", 3),
        ("int", "-3", -3),
        ("float", "1.5", 1.5),
        ("float", "2", 2.0),
        ("str", "3", "3"),
        ("str", "@x", "@x"),
        ("Literal['a', 2]", "2", 2),
        ("pathlib.Path", "/a/b", Path("/a/b")),
        ("datetime.datetime", "2024-05-06T07:08:09+00:00", dt.datetime(2024, 5, 6, 7, 8, 9, tzinfo=dt.UTC)),
        ("datetime.date", "2024-05-06", dt.date(2024, 5, 6)),
        ("datetime.timedelta", "90", dt.timedelta(seconds=90)),
        ("Optional[int]", "3", 3),
        ("Optional[int]", "null", None),
        ("int | None", "3", 3),
        ("int | float", "1.5", 1.5),
        ("int | str", "x", "x"),
        ("int | str", "4", 4),
        ("bool | int", "1", 1),
        ("bool | int", "true", True),
        ("str | list[int]", "[1, 2]", [1, 2]),
        ("list[int]", "[1, 2]", [1, 2]),
        ("list[float]", "[1, 2.5]", [1.0, 2.5]),
        ("list", '[1, "a"]', [1, "a"]),
        ("dict[str, int]", '{"a": 1}', {"a": 1}),
        ("dict[int, str]", '{"1": "a"}', {1: "a"}),
        ("tuple[int, str]", '[1, "a"]', (1, "a")),
        ("set[int]", "[1, 1, 2]", {1, 2}),
        ("Record", '{"id": 3}', {"id": 3}),
        ("Annotated[int, 'how many']", "3", 3),
        ("Any", "[1]", [1]),
        ("Any", "plain", "plain"),
    ],
)
def test_a_value_arrives_as_its_annotation_says(samovar: Any, annotation: str, text: str, expected: Any) -> None:
    inputs = samovar.inputs(samovar.write(program(annotation)), f"--data-item={text}")
    assert inputs == {"data_item": expected}
    assert type(inputs["data_item"]) is type(expected)


@pytest.mark.parametrize(
    ("annotation", "text", "shown"),
    [
        ("Color", "GREEN", "<Color.GREEN: 'g'>"),
        ("Color", "g", "<Color.GREEN: 'g'>"),
        ("Color", "green", "<Color.GREEN: 'g'>"),
        ("Point", '{"x": 1}', "Point(x=1, y=0.5)"),
        ("list[Point]", '[{"x": 1}]', "[Point(x=1, y=0.5)]"),
        ("Model", '{"name": "a"}', "Model(name='a', size=1)"),
        ("list[Model]", '[{"name": "a"}]', "[Model(name='a', size=1)]"),
        ("Optional[Model]", '{"name": "a"}', "Model(name='a', size=1)"),
        ("numpy.ndarray", "[1, 2]", "array([1, 2])"),
    ],
)
def test_values_of_the_program_s_own_classes(samovar: Any, annotation: str, text: str, shown: str) -> None:
    inputs = samovar.inputs(samovar.write(program(annotation)), "--data-item", text)
    assert repr(inputs["data_item"]) == shown


def test_no_annotation_reads_json_and_falls_back_to_text(samovar: Any) -> None:
    file = samovar.write("@env.task\ndef main(a, b, c=None):\n    pass\n")
    assert samovar.inputs(file, "--a", '{"x": 1}', "--b", "word") == {"a": {"x": 1}, "b": "word", "c": None}


def test_flags(samovar: Any) -> None:
    file = samovar.write("@env.task\ndef main(dry_run: bool = False, deep: bool | None = None):\n    pass\n")
    assert samovar.inputs(file) == {"dry_run": False, "deep": None}
    assert samovar.inputs(file, "--dry-run", "--no-deep") == {"dry_run": True, "deep": False}
    assert samovar.inputs(file, "--dry_run", "--no-dry_run") == {"dry_run": False, "deep": None}


def test_a_required_flag_has_to_be_given(samovar: Any) -> None:
    file = samovar.write("@env.task\ndef main(on: bool):\n    pass\n")
    assert samovar("run", file, "main").exit_code == 2
    assert samovar.inputs(file, "--no-on") == {"on": False}


def test_both_spellings_and_the_default(samovar: Any) -> None:
    file = samovar.write("@env.task\ndef main(data_item: int = 7):\n    pass\n")
    assert samovar.inputs(file) == {"data_item": 7}
    assert samovar.inputs(file, "--data_item", "8") == {"data_item": 8}
    assert samovar.inputs(file, "--data-item", "9") == {"data_item": 9}


def test_parameters_that_are_named_like_click_s_own(samovar: Any) -> None:
    file = samovar.write("@env.task\ndef main(help: str, name: str, output: int, self_: int = 0):\n    pass\n")
    inputs = samovar.inputs(file, "--help", "h", "--name", "n", "--output", "1")
    assert inputs == {"help": "h", "name": "n", "output": 1, "self_": 0}


def test_json_from_a_file_and_from_stdin(samovar: Any, tmp_path: Path) -> None:
    file = samovar.write(program("list[int]"))
    (tmp_path / "data.json").write_text("[4, 5]")
    assert samovar.inputs(file, "--data-item", f"@{tmp_path}/data.json") == {"data_item": [4, 5]}
    assert samovar("run", file, "main", "--data-item", "@-", stdin="[6]").exit_code == 0
    assert samovar.host.runs[-1].inputs == {"data_item": [6]}
    missing = samovar("run", file, "main", "--data-item", "@nowhere.json")
    assert missing.exit_code == 2
    assert "cannot read nowhere.json: No such file" in missing.stderr


@pytest.mark.parametrize(
    ("annotation", "text", "expected"),
    [
        ("int", "x", "expected int, got 'x'"),
        ("float", "x", "expected float, got 'x'"),
        ("Color", "blue", "expected Color (RED|GREEN), got 'blue'"),
        ("Literal['a', 'b']", "c", "choose from a, b"),
        ("datetime.datetime", "soon", "expected datetime, got 'soon'"),
        ("datetime.timedelta", "soon", "write a number of seconds"),
        ("list[int]", "[1", "not JSON"),
        ("list[int]", '[1, "a"]', "Expected `int`, got `str` - at `$[1]`"),
        ("Point", "{}", "missing required field `x`"),
        ("Model", "{}", "Field required"),
        ("Optional[int]", "x", "expected int | null, got 'x'"),
    ],
)
def test_a_bad_value_is_told_with_its_parameter(samovar: Any, annotation: str, text: str, expected: str) -> None:
    result = samovar("run", samovar.write(program(annotation)), "main", "--data-item", text)
    assert result.exit_code == 2
    assert "'--data-item'" in result.stderr
    assert expected in " ".join(result.stderr.split())
    assert not samovar.host.runs


def test_a_missing_parameter(samovar: Any) -> None:
    result = samovar("run", samovar.write(program("int")), "main")
    assert result.exit_code == 2
    assert "Missing option '--data-item'" in result.stderr


def test_what_the_task_itself_refuses_is_bad_input(samovar: Any) -> None:
    file = samovar.write("@env.task\ndef main(x: int, /, *rest: int):\n    pass\n")
    result = samovar("run", file, "main", "--x", "1")
    assert result.exit_code == 2
    assert not samovar.host.runs


def test_help_shows_types_defaults_and_documentation(samovar: Any) -> None:
    file = samovar.write(
        PREAMBLE
        + """
@env.task
def main(
    count: int,
    color: Color = Color.RED,
    items: list[Point] = [],
    title: Annotated[str, "Shown above."] = "x",
    fast: bool = True,
) -> dict[str, int]:
    '''Count what there is.

    At length.
    '''
"""
    )
    result = samovar("run", file, "main", "--help")
    assert result.exit_code == 0
    text = " ".join(result.stdout.split())
    assert "Count what there is." in text
    assert "--count int [required]" in text
    assert "--color RED|GREEN [default: RED]" in text
    assert "--items list[Point] As JSON or @file.json. [default: []]" in text
    assert "--title str Shown above. [default: 'x']" in text
    assert "--fast / --no-fast [default: True]" in text
    assert "Returns dict[str, int]." in text
    assert not samovar.host.runs


def test_help_of_a_file_lists_its_tasks(samovar: Any) -> None:
    file = samovar.write(
        """
        @env.task
        def main(x: int, y=2) -> None:
            '''Does it.'''
        @env.task
        def other() -> None: ...
        """
    )
    result = samovar("run", file, "--help")
    assert result.exit_code == 0
    assert "main(x: int, y = 2)" in result.stdout
    assert "Does it." in result.stdout
    assert "other()" in result.stdout


def test_an_option_of_run_behind_the_task_is_explained(samovar: Any) -> None:
    file = samovar.write("@env.task\ndef main():\n    pass\n")
    result = samovar("run", file, "main", "--quiet")
    assert result.exit_code == 2
    assert "write it before FILE" in result.stderr


def test_annotations_that_exist_for_type_checkers_only(samovar: Any) -> None:
    source = "@env.task\ndef main(n: 'int', x: 'Nowhere' = None):\n    pass\n"
    result = samovar("run", samovar.write(source), "main", "--help")
    assert result.exit_code == 0, result.output
    assert "--n int" in result.stdout
    assert "--x JSON or text" in result.stdout
