"""Spans on their way to OpenTelemetry: of an engine's process, where the standard variables name an exporter.

``OTEL_TRACES_EXPORTER`` (otlp, console, none), ``OTEL_EXPORTER_OTLP_…``, ``OTEL_SERVICE_NAME``,
``OTEL_RESOURCE_ATTRIBUTES``, ``OTEL_TRACES_SAMPLER`` and ``OTEL_BSP_…`` mean what they mean everywhere. The engine puts
ways of actions into a queue; a thread makes spans of them, and exports these in batches. That is dear: tens of
microseconds a span, and three spans an action. So there is a budget of actions (``engine.spans``) that keeps the
thread at a few per cent of a core in the long run; for the short run it rests after each batch. What is not traced is
counted and said.
"""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from samovar.engine.engine import Engine
from samovar.engine.spans import Budget, Span, Way
from samovar.ports import Report

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.export import SpanExporter

NEEDED = "pip install 'samovar[otel]'"

_PROTOCOLS = {"http/protobuf": "otlp_proto_http", "grpc": "otlp_proto_grpc"}
_CLOSE_SECONDS = 5.0
_REST = 24.0  # times what an export has taken of the processor, until the next one
_LOOK = 0.2  # seconds between two looks at whether it is calm
_PUT_OFF = 30.0  # seconds for which spans wait for that at most
_SAY_EVERY = 60.0  # seconds between two words on what is not traced
_SPANS = 3  # of an action, mostly


class Batches(NamedTuple):
    """How spans are gathered, as OpenTelemetry's own batches are, but in smaller ones: each holds the interpreter."""

    seconds: float = 5.0  # until what waits is exported
    spans: int = 128  # in an export at most
    queue: int = 16_384  # that wait, at most


def open_tracing(engine: Engine, say: Report, per_second: float) -> Tracing | None:
    """Trace the engine, if this process is told where to: so many actions a second, 0 for all. What is missing or wrong
    is said, and ends nothing."""
    wanted = _exporter_name(os.environ)
    if not wanted:
        return None
    try:
        return Tracing(engine, _exporter(wanted), say, per_second)
    except ImportError as error:
        say(f"spans are not exported, though OTEL_ variables ask for it: {error}; {NEEDED}")
    except Exception as error:  # whatever an exporter makes of its variables
        say(f"spans are not exported: {type(error).__name__}: {error}")
    return None


def _exporter_name(variables: Mapping[str, str]) -> str:
    """Of the entry point; "": none is wanted."""
    if variables.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return ""
    named = variables.get("OTEL_TRACES_EXPORTER", "")
    places = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
    if not named and any(variables.get(place) for place in places):
        named = "otlp"
    if named in ("", "none"):
        return ""
    if named != "otlp":
        return named
    protocol = variables.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or variables.get("OTEL_EXPORTER_OTLP_PROTOCOL")
    return _PROTOCOLS.get(protocol or "http/protobuf", f"otlp ({protocol})")


def _exporter(name: str) -> SpanExporter:
    """ImportError: it is not installed."""
    from importlib import metadata  # only here: it is slow to import

    found = list(metadata.entry_points(group="opentelemetry_traces_exporter", name=name))
    if not found:
        raise ImportError(f"there is no exporter {name}")
    made: SpanExporter = found[0].load()()
    return made


def _batches(variables: Mapping[str, str]) -> Batches:
    usual = Batches()
    return Batches(
        float(variables.get("OTEL_BSP_SCHEDULE_DELAY") or usual.seconds * 1000) / 1000,
        int(variables.get("OTEL_BSP_MAX_EXPORT_BATCH_SIZE") or usual.spans),
        int(variables.get("OTEL_BSP_MAX_QUEUE_SIZE") or usual.queue),
    )


class Tracing:
    """ImportError: OpenTelemetry is not installed."""

    def __init__(self, engine: Engine, exporter: SpanExporter, say: Report, per_second: float) -> None:
        from opentelemetry.sdk.trace import TracerProvider  # only here: it is an extra, and slow to import
        from opentelemetry.sdk.trace.sampling import Decision

        provider = TracerProvider(shutdown_on_exit=False)
        self._made = _Maker(provider)
        self._exporter = exporter
        self._say = say
        self._batches = _batches(os.environ)
        self._enough, self._most = (max(1, spans // _SPANS) for spans in (self._batches.spans, self._batches.queue))
        self._queue: deque[Way] = deque()
        self._wall = time.time() - time.monotonic()
        self._said_at = -_SAY_EVERY
        self._said_untraced = 0
        self._news = threading.Event()
        self._closing = threading.Event()
        self._sampler, self._not = provider.sampler, Decision.DROP
        self._per_second = per_second
        self._spans = engine.survey.trace(self, Budget(per_second))
        self._thread = threading.Thread(target=self._export_all, name="samovar-tracing", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Export what waits."""
        self._closing.set()
        self._news.set()
        self._thread.join(_CLOSE_SECONDS)

    # in a turn, as samovar.engine.spans.Tracer

    def put(self, way: Way) -> None:
        queue = self._queue
        queue.append(way)
        if len(queue) == self._enough:
            self._news.set()

    def has_room(self) -> bool:
        """Actions that are traced already may be put beyond it."""
        return len(self._queue) < self._most

    def is_sampled(self, trace: int) -> bool:
        return self._sampler.should_sample(None, trace, "run").decision is not self._not

    # in its own thread

    def _export_all(self) -> None:
        while not self._closing.is_set():
            self._news.wait(self._batches.seconds)
            self._news.clear()
            self._export()
        self._export()
        self._exporter.shutdown()

    def _export(self) -> None:
        spans = self._waiting()
        self._await_calm()
        began = time.thread_time()
        while batch := [self._made(span) for span in itertools.islice(spans, self._batches.spans)]:
            try:
                self._exporter.export(batch)
            except Exception as error:  # an exporter must not end the thread
                self._say_once_in_a_while(f"spans could not be exported: {type(error).__name__}: {error}")
            self._closing.wait(_REST * (time.thread_time() - began))
            self._await_calm()
            began = time.thread_time()
        untraced = self._spans.untraced
        if untraced > self._said_untraced and self._say_once_in_a_while(
            f"{untraced - self._said_untraced} actions were not traced, or only from where they failed: there were too "
            f"many at a time for {self._per_second:g} a second (traces_per_second), or for the exporter"
        ):
            self._said_untraced = untraced

    def _await_calm(self) -> None:
        """While more actions come than are traced the processor is theirs, as long as what waits here has room."""
        end = time.monotonic() + _PUT_OFF
        before = -1
        while before < self._spans.untraced and len(self._queue) < self._most // 2 and time.monotonic() < end:
            before = self._spans.untraced
            if self._closing.wait(_LOOK):
                return

    def _waiting(self) -> Iterator[Span]:
        while self._queue:
            yield from self._queue.popleft().spans(self._wall)

    def _say_once_in_a_while(self, line: str) -> bool:
        """False: not now."""
        if self._closing.is_set() or time.monotonic() - self._said_at < _SAY_EVERY:
            return False
        self._said_at = time.monotonic()
        self._say(f"tracing: {line}")
        return True


class _Maker:
    """OpenTelemetry's spans out of ours."""

    def __init__(self, provider: Any) -> None:
        from opentelemetry import trace  # see above
        from opentelemetry.sdk.resources import SERVICE_NAME, Resource
        from opentelemetry.sdk.trace import ReadableSpan
        from opentelemetry.sdk.util.instrumentation import InstrumentationScope

        named = "OTEL_SERVICE_NAME" in os.environ or SERVICE_NAME in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
        resource = provider.resource if named else provider.resource.merge(Resource({SERVICE_NAME: "samovar"}))
        scope = InstrumentationScope("samovar")
        failed, fine = trace.StatusCode.ERROR, trace.Status()
        sampled = trace.TraceFlags(trace.TraceFlags.SAMPLED)

        def make(span: Span) -> ReadableSpan:
            parent = trace.SpanContext(span.trace, span.parent, True, sampled) if span.parent else None
            return ReadableSpan(
                span.name,
                context=trace.SpanContext(span.trace, span.id, False, sampled),
                parent=parent,
                resource=resource,
                attributes=span.attributes,
                status=trace.Status(failed, span.error) if span.error else fine,
                start_time=int(span.began * 1e9),
                end_time=int(span.ended * 1e9),
                instrumentation_scope=scope,
            )

        self._make: Callable[[Span], ReadableSpan] = make

    def __call__(self, span: Span) -> ReadableSpan:
        return self._make(span)
