"""Which execution this code belongs to."""

from __future__ import annotations

import contextvars

from samovar.sdk.controller import Execution

current: contextvars.ContextVar[Execution | None] = contextvars.ContextVar("samovar_execution", default=None)
