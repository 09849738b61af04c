"""Python's garbage collector, in processes with many live objects: engines, clients with many runs, replicas."""

from __future__ import annotations

import gc


def spare_what_is_there() -> None:
    """Modules, models and code stay, so no collection need walk them again; and there are fewer collections, as with a
    million live futures each full one would cost."""
    gc.freeze()
    gc.set_threshold(50_000, 50, 50)
