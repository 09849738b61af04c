"""Text of executions: whole lines, and what never ends its line."""

from __future__ import annotations

import contextvars
import io
from typing import Any

from samovar.runtime.capture import Stream, finish
from samovar.runtime.descriptors import LONGEST_LINE
from samovar.sdk.context import current
from samovar.sdk.controller import Execution


def test_a_line_that_does_not_end_is_sent_in_parts() -> None:
    sent: list[tuple[int, str, str]] = []

    def write(epoch: int, stream: str, text: str) -> None:
        sent.append((epoch, stream, text))

    controller: Any = None
    execution = Execution(controller, 7, "run", 1, "e.f", 1, {})
    execution.extra = {}

    def task() -> None:
        current.set(execution)
        stream = Stream("stderr", io.StringIO(), write, lambda: 0)
        for _ in range(3):
            stream.write("x" * (LONGEST_LINE // 2))
        assert sent == [(7, "stderr", "x" * (LONGEST_LINE // 2 * 3))]
        stream.write("one\ntwo")
        assert sent[1:] == [(7, "stderr", "one\n")]
        finish(execution, write)

    contextvars.copy_context().run(task)
    assert sent[2:] == [(7, "stderr", "two")]
