"""The rules for Prometheus, the dashboard for Grafana and the documentation know the metrics that there are."""

import json
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from ifcb_flow_pipeline.detection.verdict.episodes import episodes_of
from ifcb_flow_pipeline.recent import Recent
from ifcb_flow_pipeline.review.instruments import LISTED_COLUMNS, SCORED_COLUMNS, instrument_states
from ifcb_flow_pipeline.store.tables import BIN_SCORES
from ifcb_flow_pipeline.web.metrics import exposition
from ifcb_flow_pipeline_tests.web.rows import scored

ROOT = Path(__file__).parents[2]
RULES = yaml.safe_load((ROOT / "deploy/monitoring/prometheus-rules.yml").read_text())
DASHBOARD = json.loads((ROOT / "deploy/monitoring/grafana-dashboard.json").read_text())
NOW = datetime(2026, 3, 2, 1, 0, tzinfo=UTC)
ALERTS = [rule for group in RULES["groups"] for rule in group["rules"]]
EXPRESSIONS = [*(rule["expr"] for rule in ALERTS), *(t["expr"] for p in DASHBOARD["panels"] for t in p["targets"])]


@pytest.fixture(scope="module")
def labels() -> Mapping[str, set[str]]:
    """The labels of each metric, where each has a sample."""
    rows = [scored("D20260302T000000_IFCB101", 91.0, "bad", "clog", -0.7)]
    scores = pa.Table.from_pylist(rows, BIN_SCORES.schema).select(list(SCORED_COLUMNS))
    states = instrument_states(scores.select(list(LISTED_COLUMNS)), scores)
    recent = Recent(NOW.date(), NOW.date(), states, tuple(episodes_of(scores, NOW)), (), ())
    card: Any = SimpleNamespace(model_id="flow-1", kind="flow", created=(NOW - timedelta(days=1)).isoformat())
    text = exposition(recent, card, NOW, "")[0].decode()
    return {family.name: set(family.samples[0].labels) for family in text_string_to_metric_families(text)}


def metrics_in(text: str) -> set[str]:
    return set(re.findall(r"\bifcb_flow_\w+", text))


def queries() -> Iterator[str]:
    yield from EXPRESSIONS
    yield from (each["query"]["query"] for each in DASHBOARD["templating"]["list"] if each["type"] == "query")


def test_all_that_is_asked_for_is_there(labels: Mapping[str, set[str]]):
    for query in queries():
        if 'up{job="ifcb-flow"}' not in query:
            assert metrics_in(query), query
        assert metrics_in(query) <= labels.keys(), query


def test_all_metrics_are_documented_with_their_labels(labels: Mapping[str, set[str]]):
    lines = (ROOT / "docs/http.md").read_text().splitlines()
    rows = [[cell.strip() for cell in line.split("|")[1:3]] for line in lines if line.startswith("| `ifcb_flow_")]
    assert {name.strip("`"): set(re.findall(r"`(\w+)`", named)) for name, named in rows} == labels


def test_alerts_name_only_labels_that_their_metrics_have(labels: Mapping[str, set[str]]):
    for rule in ALERTS:
        known = set().union(*(labels[name] for name in metrics_in(rule["expr"])))
        used = set(re.findall(r"\$labels\.(\w+)", json.dumps(rule["annotations"])))
        assert used <= known, rule["alert"]


def test_alerts_have_what_prometheus_knows_and_people_need():
    assert len({rule["alert"] for rule in ALERTS}) == len(ALERTS)
    for rule in ALERTS:
        assert rule.keys() <= {"alert", "expr", "for", "labels", "annotations"}
        assert rule["annotations"].keys() == {"summary", "description"}
        assert rule["labels"]["severity"] in ("info", "warning")
        assert re.fullmatch(r"\d+[smhd]", rule.get("for", "1m"))


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_brackets_of_expressions_are_closed(expression: str):
    for opening, closing in ("()", "{}", "[]"):
        assert expression.count(opening) == expression.count(closing)


def test_panels_lie_beside_each_other_and_ask_the_chosen_prometheus():
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + i, place["y"] + j) for i in range(place["w"]) for j in range(place["h"])}
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        assert {target["datasource"]["uid"] for target in panel["targets"]} == {"${datasource}"}
        taken |= cells
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
