"""What a process has to show: a station, and what is kept beside it. Whoever shows it is above this room.

``cli`` passes an ``OpenWeb`` to whoever has a station, so that no host needs to know how it is shown.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, Protocol

from samovar.host.station import Station
from samovar.ports import Journal, Report

if TYPE_CHECKING:
    from samovar.host.logbook import Logbook


class Premises(NamedTuple):
    """``address``: where clients come in; "": nowhere. ``journal``, ``logbook``: None where none is kept."""

    station: Station
    address: str = ""
    journal: Journal | None = None
    logbook: Logbook | None = None


class Web(Protocol):
    """The pages of a station, open."""

    about: str
    """A line for people: where they are, or why there are none."""

    url: str
    """As somebody on this host calls them."""

    url_for_others: str
    """As other hosts do; "": they cannot."""

    def shut(self) -> None:
        """Nobody is answered any more; returns soon, whoever is reading."""
        ...


OpenWeb = Callable[[Premises, Report], Web | None]
"""Opens them at once, and says what goes wrong later. InitializationError: they cannot be where they are wanted."""


def no_web(premises: Premises, say: Report) -> Web | None:
    """For whoever wants none."""
    return None
