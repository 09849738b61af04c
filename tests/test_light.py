"""msgspec without what samovar does not use, and with it for whoever does."""

from __future__ import annotations

import subprocess
import sys

import pytest


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    return done.stdout.strip()


def test_other_formats_are_imported_when_they_are_used() -> None:
    code = """
import sys
from samovar.light import msgspec
assert "msgspec._json_schema" not in sys.modules
assert "typing_extensions" not in sys.modules
import msgspec.inspect
from msgspec.json import decode
print(msgspec.json.encode({"a": 1}).decode(), decode(b"2"), msgspec.inspect.type_info(int).__class__.__name__)
print(sys.modules["msgspec.json"].__file__.endswith("json.py"))
"""
    assert python(code).splitlines() == ['{"a":1} 2 IntType', "True"]


@pytest.mark.parametrize("first", ["msgspec", "typing_extensions"])
def test_what_is_there_already_stays(first: str) -> None:
    code = f"import {first} as first\nimport sys, samovar.model\nprint(sys.modules[{first!r}] is first)"
    assert python(code) == "True"


def test_what_looks_through_all_modules_imports_none() -> None:
    code = """
import inspect, sys
import samovar.model
inspect.getmodule(samovar.model.Limits)
assert not hasattr(sys.modules["msgspec.toml"], "__path__")
print("msgspec._json_schema" in sys.modules)
"""
    assert python(code) == "False"
