"""``python -m samovar.sim``: random worlds, one of them in full, or a workload under policies to be tried."""

from __future__ import annotations

import signal
import sys

from samovar.sim.command import main

if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # whoever reads a history may have read enough
    sys.exit(main(sys.argv[1:]))
