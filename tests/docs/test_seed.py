"""The programs in examples/seed are the page's: every code line of it stands there, indentation restored."""

from __future__ import annotations

from pathlib import Path

import pytest

HERE = Path(__file__).parent
SEED = HERE.parents[1] / "examples" / "seed"

BLOCKS = {
    "basic_usage.py": [("import flyte", "return results")],
    "ml_inference.py": [("ml_env = flyte.TaskEnvironment(", "return model.predict(data)")],
    "batch_processing.py": [("batch_env = flyte.TaskEnvironment(", "return results")],
    "best_practices.py": [
        ("reuse_policy = flyte.ReusePolicy(", ")"),
        ("# ✅ Good: Stateless task", "return data"),
        ("# Right-sized for workload", ")"),
    ],
}
"""The first and the last line of each block of code on the page, by the program that holds it."""

CASES = [(program, *bounds) for program, blocks in BLOCKS.items() for bounds in blocks]
SIGNS = ("import flyte", "@", "async def", "flyte.", "return ", " = ")
"""What a line of code on this page has and a line of its prose has not."""


def significant(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def page() -> list[str]:
    # one line break is lost on the page: without it the comment swallows a parenthesis
    text = (HERE / "seed_page.txt").read_text(encoding="utf-8")
    return significant(text.replace("# Reasonable cleanup interval )", "# Reasonable cleanup interval\n)"))


def block(first: str, last: str) -> list[str]:
    lines = page()
    start = lines.index(first)
    end = lines.index(last, start)
    while end + 1 < len(lines) and lines[end + 1] == last:  # two closing parentheses
        end += 1
    return lines[start : end + 1]


@pytest.mark.parametrize(("program", "first", "last"), CASES)
def test_the_page_s_lines_stand_in_the_program_in_order(program: str, first: str, last: str) -> None:
    wanted = block(first, last)
    lines = significant((SEED / program).read_text(encoding="utf-8"))
    windows = [lines[at : at + len(wanted)] for at in range(len(lines))]
    assert wanted in windows


@pytest.mark.parametrize("program", BLOCKS)
def test_a_program_adds_only_imports(program: str) -> None:
    wanted = {line for bounds in BLOCKS[program] for line in block(*bounds)}
    added = set(significant((SEED / program).read_text(encoding="utf-8"))) - wanted
    assert all(line.startswith(("import flyte", "from helpers import")) for line in added)


def test_no_code_of_the_page_is_left_out() -> None:
    held = {line for _, first, last in CASES for line in block(first, last)}
    code = [line for line in page() if line.startswith(SIGNS[:3]) or any(sign in line for sign in SIGNS[3:])]
    prose = {"You can add this library to your task image using the flyte.Image.with_pip_packages"}
    assert {line for line in code if line not in held} <= prose


@pytest.mark.parametrize("program", [*BLOCKS, "helpers.py"])
def test_a_program_compiles(program: str) -> None:
    compile((SEED / program).read_text(encoding="utf-8"), program, "exec")
