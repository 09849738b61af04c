"""``python -m samovar.sim``: random worlds, one of them in full, or a workload under policies to be tried."""

from __future__ import annotations

import sys

from samovar.sim.command import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
