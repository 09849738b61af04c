"""Spans of real runs, as OpenTelemetry exports them: to memory, and to a receiver of its own protocol."""

from __future__ import annotations

import contextlib
import http.server
import threading
from collections import defaultdict
from collections.abc import Iterator
from typing import Any, cast
from unittest.mock import Mock

import pytest
from opentelemetry import trace
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace.export import SpanExporter
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import samovar
from samovar import traceparent
from samovar.engine.spans import Span
from samovar.errors import RuntimeUserError
from samovar.host import tracing
from samovar.host.embedded import EmbeddedHost
from samovar.host.tracing import Batches, Tracing, _batches, _exporter_name, open_tracing
from samovar.sdk import run as sdk_run
from samovar.traceparent import Traceparent
from tests.journeys.conftest import until

from . import traced

SECONDS = 60.0


@contextlib.contextmanager
def host_with(
    exporter: SpanExporter | None, monkeypatch: pytest.MonkeyPatch, per_second: float = 0.0
) -> Iterator[list[str]]:
    """What is said; spans are exported when the block has ended."""
    said: list[str] = []
    host = EmbeddedHost(said.append, lambda *_: None)
    if exporter is not None:
        host.station._tracing = Tracing(host.engine, exporter, said.append, per_second)
    monkeypatch.setattr(sdk_run, "_opened", host)
    try:
        yield said
    finally:
        host.close()


def by_name(exporter: InMemorySpanExporter) -> dict[str, list[Any]]:
    found = defaultdict(list)
    for span in exporter.get_finished_spans():
        found[span.name].append(span)
    return found


def test_a_run_is_a_trace_of_its_actions(monkeypatch: pytest.MonkeyPatch) -> None:
    exporter = InMemorySpanExporter()
    with host_with(exporter, monkeypatch):
        samovar.run(traced.parent, 3).wait()
        samovar.run(traced.child, 1).wait()
    spans = by_name(exporter)
    assert {name: len(found) for name, found in spans.items()} == {
        "traced.parent": 1,
        "traced.child": 4,
        "run": 5,
        "queue": pytest.approx(4, abs=1),
        "start": pytest.approx(1, abs=1),
    }
    (parent,) = spans["traced.parent"]
    runs = {span.context.span_id: span for span in spans["run"]}
    (its_run,) = [span for span in runs.values() if span.parent.span_id == parent.context.span_id]
    below = [span for span in spans["traced.child"] if span.parent is not None]
    assert [span.parent.span_id for span in below] == [its_run.context.span_id] * 3
    (alone,) = [span for span in spans["traced.child"] if span.parent is None]
    assert {span.context.trace_id for span in [parent, *below]} == {parent.context.trace_id}
    assert alone.context.trace_id != parent.context.trace_id
    assert parent.attributes["samovar.phase"] == "succeeded"
    assert parent.resource.attributes["service.name"] == "samovar"
    for span in exporter.get_finished_spans():
        assert span.start_time <= span.end_time
        if span.parent is not None and span.name in ("run", "queue", "start"):
            (action,) = [a for a in [parent, *spans["traced.child"]] if a.context.span_id == span.parent.span_id]
            assert action.start_time <= span.start_time
            assert span.end_time <= action.end_time


def test_each_attempt_is_a_span_and_says_how_it_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    exporter = InMemorySpanExporter()
    with host_with(exporter, monkeypatch), pytest.raises(RuntimeUserError):
        samovar.run(traced.fails.override(retries=1)).wait()
    spans = by_name(exporter)
    (action,) = spans["traced.fails"]
    assert action.status.status_code is trace.StatusCode.ERROR
    assert "no luck" in action.status.description
    assert [span.status.status_code for span in spans["run"]] == [trace.StatusCode.ERROR] * 2
    assert {span.parent.span_id for span in spans["run"]} == {action.context.span_id}


def test_the_span_that_a_script_is_in_is_the_parent_and_tasks_are_in_theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    exporter = InMemorySpanExporter()
    script = Traceparent(0xABC, 0xDEF)
    with host_with(exporter, monkeypatch):
        leave = traceparent.enter(str(script))
        seen = samovar.run(traced.where_am_i).result()
        leave()
    spans = by_name(exporter)
    (action,) = spans["traced.where_am_i"]
    assert (action.context.trace_id, action.parent.span_id) == (script.trace, script.span)
    (inner,) = spans["traced.inner"]
    (attempt,) = [span for span in spans["run"] if span.parent.span_id == inner.context.span_id]
    assert seen == str(Traceparent(script.trace, attempt.context.span_id))


def test_a_script_that_is_not_sampled_is_not_traced(monkeypatch: pytest.MonkeyPatch) -> None:
    exporter = InMemorySpanExporter()
    with host_with(exporter, monkeypatch):
        leave = traceparent.enter(str(Traceparent(0xABC, 0xDEF, is_sampled=False)))
        assert samovar.run(traced.where_am_i).result() == ""
        leave()
    assert not exporter.get_finished_spans()


def test_the_sampler_is_that_of_the_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    exporter = InMemorySpanExporter()
    with host_with(exporter, monkeypatch):
        samovar.run(traced.child, 1).wait()
    assert not exporter.get_finished_spans()


class Receiver(http.server.BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.received.append((self.path, body))  # type: ignore[attr-defined]
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None: ...


@contextlib.contextmanager
def collector() -> Iterator[tuple[str, list[tuple[str, bytes]]]]:
    """The endpoint of a receiver, and what it gets."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    received: list[tuple[str, bytes]] = []
    server.received = received  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", received
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def spans_of(received: list[tuple[str, bytes]]) -> Iterator[Any]:
    for _, body in received:
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            for scope in resource.scope_spans:
                yield from scope.spans


def test_a_collector_receives_what_the_variables_ask_for(monkeypatch: pytest.MonkeyPatch) -> None:
    with collector() as (endpoint, received):
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
        monkeypatch.setenv("OTEL_SERVICE_NAME", "kitchen")
        with host_with(None, monkeypatch) as said:
            samovar.run(traced.parent, 2).wait()
    assert said == []
    assert {path for path, _ in received} == {"/v1/traces"}
    assert {"traced.parent", "traced.child", "run"} <= {span.name for span in spans_of(received)}
    (resource,) = ExportTraceServiceRequest.FromString(received[0][1]).resource_spans
    assert {a.value.string_value for a in resource.resource.attributes if a.key == "service.name"} == {"kitchen"}


class Stuck(SpanExporter):
    """Exports when it is let, and then fails."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.gate = threading.Event()

    def export(self, spans: Any) -> Any:
        self.asked.set()
        assert self.gate.wait(SECONDS)
        raise OSError("the collector is away")


def test_an_exporter_that_is_stuck_costs_spans_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "4")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "1")
    stuck = Stuck()
    with host_with(stuck, monkeypatch) as said:
        samovar.run(traced.child, 1).wait()
        assert stuck.asked.wait(SECONDS)
        for _ in range(9):
            assert samovar.run(traced.parent, 9).result() == list(range(9))
        tracing = sdk_run._opened.station._tracing  # type: ignore[union-attr]
        assert tracing._spans.untraced >= 70, "actions that come while much waits are not traced"
        assert len(tracing._queue) < 60, "and what waits does not grow"
        stuck.gate.set()
        until(lambda: any("spans could not be exported: OSError: the collector is away" in line for line in said))


class Crowd:
    """Stands for an engine in which, while it is busy, more and more actions come than are traced."""

    def __init__(self) -> None:
        self.survey = self
        self.is_busy = True
        self.looks = 0

    def trace(self, *_: Any) -> Crowd:
        return self

    @property
    def untraced(self) -> int:
        self.looks += self.is_busy
        return self.looks


@pytest.mark.parametrize("what_ends_it", ["calm", "no room", "time"])
def test_spans_wait_while_more_actions_come_than_are_traced(what_ends_it: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracing, "_LOOK", 0.001)
    if what_ends_it == "time":
        monkeypatch.setattr(tracing, "_PUT_OFF", 0.0)
    exporter, crowd = InMemorySpanExporter(), Crowd()
    made = Tracing(cast(Any, crowd), exporter, lambda _: None, 1.0)
    way = Mock(spans=lambda wall: iter([Span(1, 2, 0, "run", wall, wall + 1, {})]))
    for _ in range(made._enough):
        made.put(way)
    if what_ends_it != "time":
        until(lambda: crowd.looks > 100, SECONDS)
        assert exporter.get_finished_spans() == ()
    if what_ends_it == "no room":
        for _ in range(made._most):
            made.put(way)
    crowd.is_busy = what_ends_it != "calm"
    until(lambda: len(exporter.get_finished_spans()) >= made._enough, SECONDS)
    made.close()


def test_actions_beyond_the_budget_are_not_traced_and_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
    exporter = InMemorySpanExporter()
    with host_with(exporter, monkeypatch, per_second=0.001) as said:
        samovar.run(traced.child, 1).wait()
        samovar.run(traced.parent, 3).wait()
        until(lambda: bool(said and "4 actions were not traced" in said[-1]))
        assert "many at a time for 0.001 a second (traces_per_second)" in said[-1]
    assert [span.name for span in exporter.get_finished_spans() if span.name.startswith("traced.")] == ["traced.child"]


@pytest.mark.parametrize(
    ("variables", "name"),
    [
        ({}, ""),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://x"}, ""),
        ({"OTEL_TRACES_EXPORTER": "console"}, "console"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x"}, "otlp_proto_http"),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://x", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "otlp_proto_grpc"),
        ({"OTEL_TRACES_EXPORTER": "otlp", "OTEL_SDK_DISABLED": "true"}, ""),
        ({"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "smoke"}, "otlp (smoke)"),
    ],
)
def test_which_exporter_is_wanted(variables: dict[str, str], name: str) -> None:
    assert _exporter_name(variables) == name


def test_what_cannot_be_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "pigeon")
    assert open_tracing(None, said.append, 0.0) is None  # type: ignore[arg-type]
    assert "there is no exporter pigeon; pip install 'samovar[otel]'" in said[0]
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "console")
    monkeypatch.setattr(tracing, "_exporter", lambda name: 1 / 0)
    assert open_tracing(None, said.append, 0.0) is None  # type: ignore[arg-type]
    assert "ZeroDivisionError" in said[1]


def test_batches_are_those_of_the_variables() -> None:
    assert _batches({}) == Batches()
    asked = {"OTEL_BSP_SCHEDULE_DELAY": "200", "OTEL_BSP_MAX_QUEUE_SIZE": "9", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "3"}
    assert _batches(asked) == Batches(0.2, 3, 9)


@pytest.mark.parametrize("text", ["", "00-0-0-01", f"00-{0:032x}-{1:016x}-01", f"01-{1:032x}-{1:016x}-01"])
def test_a_traceparent_that_is_none(text: str) -> None:
    assert traceparent.parse(text) is None


def test_a_traceparent_there_and_back() -> None:
    for is_sampled in (True, False):
        made = Traceparent(2**127 + 1, 2**63 + 1, is_sampled)
        assert traceparent.parse(str(made)) == made
