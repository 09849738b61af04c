"""What an engine is given to remember with."""

from __future__ import annotations

from typing import NamedTuple

from samovar.engine.cache import OpenScribe
from samovar.engine.scribe import Scribe
from samovar.engine.vault import Cellar


def _nobody() -> Scribe | None:
    return None


class Remembers(NamedTuple):
    scribe: Scribe | None = None
    """Writes every run down."""

    open_scribe: OpenScribe = _nobody
    """Gives, in a thread, who writes and finds the results of cached calls."""

    cellar: Cellar | None = None
    """Has the large values of both."""
