"""msgspec, loaded lightly; ``model``, which every room imports first, takes it from here.

Where typing_extensions is installed, msgspec takes from it what the ``typing`` of Python 3.11 has as well, at 25 ms
and 5 MB a process.
"""

import sys

if "msgspec" in sys.modules or "typing_extensions" in sys.modules:
    import msgspec
else:
    sys.modules["typing_extensions"] = None  # type: ignore[assignment]
    import msgspec

    del sys.modules["typing_extensions"]

__all__ = ["msgspec"]
