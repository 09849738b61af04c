"""The dashboard and the alerts in ``deploy/``: they parse, and all that they name is in a scrape."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml
from prometheus_client import parser

from samovar.core.pools import Bounds
from samovar.journal.memory import MemoryJournal
from samovar.model import Exit, Failure
from samovar.web.metrics import expose
from samovar.wire import frames
from tests.engine.test_admission import TASK, hear, start
from tests.engine.test_clients import Talk

from .test_metrics import station

DEPLOY = Path(__file__).parents[2] / "deploy"
GRAFANAS = {"$__rate_interval": "5m", "$__range": "1h", "$environment": ".*"}
SCRAPERS = {"up", "job", "le", "instance"}
"""What Prometheus itself adds."""


def dashboard() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((DEPLOY / "grafana/samovar.json").read_text())["panels"]
    return found


def rules() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load((DEPLOY / "prometheus/alerts.yaml").read_text())["groups"]
    found: list[dict[str, Any]] = group["rules"]
    return found


def expressions() -> Iterator[tuple[str, str]]:
    for panel in dashboard():
        for target in panel.get("targets", ()):
            yield f"{panel['title']} {target['refId']}", target["expr"]
    for rule in rules():
        yield rule["alert"], rule["expr"]


def selectors(expression: str) -> list[Any]:
    """ValueError: it is no PromQL."""
    for word, value in GRAFANAS.items():
        expression = expression.replace(word, value)
    found: list[Any] = []

    def visit(node: Any) -> bool:
        if isinstance(node, promql_parser.VectorSelector):
            found.append(node)
        return True

    promql_parser.walk(promql_parser.parse(expression), visit)
    return found


@pytest.fixture(scope="module")
def scraped(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, set[str]]]:
    """Values of labels, by sample and label, of an engine that has seen it all."""
    talk = Talk(tmp_path_factory.mktemp("engine"), bounds=Bounds(max_queued=2))
    for number in range(4):
        start(talk.engine, f"r{number}")
    replica = talk.replica()
    _, run = hear(replica, 2)
    replica.say(frames.Failed(run.epoch, Failure("user", "ValueError", "no"), 0.1))
    hear(replica, 1)
    talk.engine.crew.ended(talk.keeper.boots[-1]["SAMOVAR_REPLICA"], TASK.environment, Exit(signal=9))
    journal = MemoryJournal()
    text = expose(station(talk), journal).body.decode()
    journal.close(10)
    replica.socket.close()
    talk.engine.hub.close()
    found: dict[str, dict[str, set[str]]] = {}
    for family in parser.text_string_to_metric_families(text):
        for sample in family.samples:
            labels = found.setdefault(sample.name, defaultdict(set))
            for name, value in sample.labels.items():
                labels[name].add(value)
    return found


@pytest.mark.parametrize(("where", "expression"), list(expressions()), ids=lambda value: str(value)[:40])
def test_all_that_is_asked_for_is_there(scraped: dict[str, dict[str, set[str]]], where: str, expression: str) -> None:
    asked = selectors(expression)
    assert asked
    for selector in asked:
        if selector.name in SCRAPERS:
            continue
        assert selector.name in scraped, f"{where}: there is no {selector.name}"
        for matcher in selector.matchers.matchers:
            assert matcher.name in scraped[selector.name], f"{where}: {selector.name} has no {matcher.name}"


def test_what_is_grouped_by_is_a_label(scraped: dict[str, dict[str, set[str]]]) -> None:
    labels = SCRAPERS.union(*scraped.values())
    for where, expression in expressions():
        for word in expression.split("by (")[1:]:
            asked = {label.strip() for label in word.partition(")")[0].split(",")}
            assert asked <= labels, f"{where}: {asked - labels}"


def test_an_expression_that_is_none_is_seen() -> None:
    with pytest.raises(ValueError):
        selectors("sum by (x (a)")


def test_every_panel_and_every_alert_says_what_it_is() -> None:
    titles = [panel["title"] for panel in dashboard()]
    assert len(set(titles)) == len(titles)
    for rule in rules():
        assert set(rule["annotations"]) == {"summary", "description"}
        assert rule["labels"]["severity"] in ("warning", "critical")


def test_panels_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in dashboard():
        place = panel["gridPos"]
        columns = range(place["x"], place["x"] + place["w"])
        own = {(x, y) for x in columns for y in range(place["y"], place["y"] + place["h"])}
        assert not own & taken, panel["title"]
        assert max(x for x, _ in own) < 24
        taken |= own
