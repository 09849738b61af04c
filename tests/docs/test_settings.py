"""The table of settings in docs/commands.md has all that there are, and says their defaults as they are."""

from __future__ import annotations

import re
from pathlib import Path

from samovar.config import Settings

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "commands.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| `(\w+)` \| `(SAMOVAR_\w+)` \| (.+) \|$", re.MULTILINE)


def test_every_setting_is_told_with_its_variable_and_its_number() -> None:
    rows = {name: (variable, text) for name, variable, text in ROW.findall(PAGE)}
    assert sorted(rows) == sorted(Settings._fields)
    for name, default in Settings()._asdict().items():
        variable, text = rows[name]
        assert variable == f"SAMOVAR_{name.upper()}"
        if isinstance(default, int | float):
            assert f"({default:,.0f})" in text, name
