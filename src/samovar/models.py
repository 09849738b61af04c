"""The names of Flyte's ``models`` that samovar has."""

from __future__ import annotations

from samovar.model import Phase as ActionPhase

__all__ = ["ActionPhase"]
