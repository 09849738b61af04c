"""Names that runs get where nobody gives them one."""

from __future__ import annotations

import itertools
import os
import re

_FORM = re.compile(r"r[0-9a-f]{11,}")


class Names:
    """Those of one process: in the order in which its runs begin, and no other process makes the same."""

    def __init__(self) -> None:
        self._prefix = f"r{os.urandom(5).hex()}"
        self._numbers = itertools.count(1)

    def next(self) -> str:
        return f"{self._prefix}{next(self._numbers):x}"


def is_made(name: str) -> bool:
    """It looks like one that was made here, and so is no other run's. A person may have chosen it all the same."""
    return _FORM.fullmatch(name) is not None
