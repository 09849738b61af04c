"""What a real service shows to whoever watches it: figures of real work, and what a task has written past Python."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path

from prometheus_client import parser

from samovar.host.remote import RemoteHost
from tests.host.test_tracing import collector, spans_of

from . import services

PROGRAM = """
import os, subprocess
import samovar
env = samovar.TaskEnvironment("kitchen", reusable=samovar.ReusePolicy(replicas=1, idle_ttl=600))
@env.task
async def cook(dish: str) -> str:
    print("printed", dish)
    subprocess.run(["echo", f"echoed {dish}"], check=True)
    os.write(2, f"written {dish}".encode())
    return dish
@env.task
async def burn() -> None:
    raise ValueError("burnt")
"""


def test_a_scrape_of_a_service_that_has_worked(tmp_path: Path) -> None:
    home = services.Home(tmp_path, PROGRAM)
    process, address = services.begin(home.path, SAMOVAR_WEB="127.0.0.1:0")
    try:
        assert home.samovar("run", str(home.script), "cook", "--dish", "soup").stdout == "soup\n"
        assert home.samovar("run", str(home.script), "burn").returncode == 1
        host = RemoteHost(address, lambda _: None, lambda *_: None)
        with urllib.request.urlopen(f"{host.service.web}/metrics", timeout=services.SECONDS) as answer:
            text = answer.read().decode()
            assert answer.headers["content-type"].startswith("text/plain; version=")
        asked = urllib.request.Request(
            f"{host.service.web}/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"}
        )
        with urllib.request.urlopen(asked, timeout=services.SECONDS) as answer:
            assert answer.headers["content-type"].startswith("application/openmetrics-text")
            assert answer.read().endswith(b"# EOF\n")
        host.close()
    finally:
        services.end(process)
    found = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in parser.text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert found["samovar_actions_total", "kitchen", "succeeded"] == 1
    assert found["samovar_actions_total", "failed", "kitchen"] == 1
    assert found["samovar_attempts_total", "cold", "kitchen"] == 1
    assert found["samovar_replica_start_seconds_count", "kitchen"] == 1
    assert found["samovar_run_seconds_count", "kitchen"] == found["samovar_dispatch_seconds_count", "kitchen"] == 2
    assert found["samovar_dispatch_seconds_sum", "kitchen"] > 0
    assert found["samovar_engine_tick_seconds_count",] > 0
    assert found["samovar_journal_up",] == 1


def test_stored_lines_are_those_of_the_task_however_it_wrote_them(tmp_path: Path) -> None:
    home = services.Home(tmp_path, PROGRAM)
    with services.running(home.path):
        home.samovar("run", "--name", "supper", str(home.script), "cook", "--dish", "soup")
        stored = home.samovar("logs", "supper", "-o", "json")
    lines = [json.loads(line) for line in stored.stdout.splitlines()]
    assert [(line["task"], line["number"], line["stream"], line["text"]) for line in lines] == [
        ("kitchen.cook", 1, "stdout", "printed soup"),
        ("kitchen.cook", 1, "output", "echoed soup"),
        ("kitchen.cook", 1, "output", "written soup"),
    ]


def test_a_service_that_is_told_to_exports_its_spans(tmp_path: Path) -> None:
    home = services.Home(tmp_path, PROGRAM)
    with collector() as (endpoint, received):
        process, _ = services.begin(home.path, OTEL_EXPORTER_OTLP_ENDPOINT=endpoint)
        assert home.samovar("run", "--name", "supper", str(home.script), "cook", "--dish", "soup").stdout == "soup\n"
        services.end(process)
    runs = {}
    for span in spans_of(received):
        for attribute in span.attributes:
            if attribute.key == "samovar.run":
                runs[span.name] = attribute.value.string_value
    assert runs == {"kitchen.cook": "supper"}
