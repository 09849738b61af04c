"""The logger that samovar shares with its users."""

from __future__ import annotations

import logging

logger = logging.getLogger("samovar")
