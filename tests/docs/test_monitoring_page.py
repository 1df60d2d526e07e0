"""docs/monitoring.md: what a coordinator shows, the dashboard and the alerts that live on it."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import tiny_bundle
from coordinator_lab import Lab
from exposition import Exposition
from measured_rounds import rounds_with_a_reject
from promtool import promtool

from pfedfrz_coordinator.metrics_policy import MetricsPolicy

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "monitoring.md").read_text()
DASHBOARD: dict[str, Any] = json.loads((DOCS / "grafana" / "pfedfrz.json").read_text())
ALERTS = DOCS / "grafana" / "alerts.yml"
(YAML,) = re.findall(r"```yaml\n(.+?)```", PAGE, re.S)
TOML = re.findall(r"```toml\n(.+?)```", PAGE, re.S)
_BY_PROMETHEUS = {"job", "instance"}
"""Labels that every series has once it was scraped."""
_VARIABLES = {"$instance": ".+", "$__rate_interval": "1m", "$__range": "3h"}


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exposition]:
    """What a coordinator shows that has done rounds, devices by name among it."""
    lab = Lab(tmp_path_factory.mktemp("coordinator"), tiny_bundle.make_bundle())
    yield rounds_with_a_reject(lab, per_device=True, evaluate=False)
    lab.close()


def panels() -> list[dict[str, Any]]:
    return [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def expressions() -> list[str]:
    return [target["expr"] for panel in panels() for target in panel["targets"]]


def concrete(expression: str) -> str:
    for name, value in _VARIABLES.items():
        expression = expression.replace(name, value)
    return expression


def uses(expression: str) -> Iterator[tuple[str, set[str]]]:
    """(metric, the labels that are asked of it) for each selector in an expression of PromQL."""
    grouped = set(re.findall(r"\w+", " ".join(re.findall(r"\bby \(([^)]*)\)", expression))))
    for name, selector in re.findall(r"\b((?:pfedfrz|process)_\w+)(\{[^}]*\})?", expression):
        yield name, set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", selector)) | grouped


def require_shown(expression: str, shown: Exposition, legend: str = "") -> None:
    labels = shown.labels()
    found = list(uses(expression))
    assert found, expression
    in_legend = set(re.findall(r"\{\{\s*(\w+)\s*\}\}", legend))
    for name, wanted in found:
        assert name in labels, f"{name} in {expression}"
        assert wanted - _BY_PROMETHEUS <= labels[name], f"{wanted} of {name} in {expression}"
    if in_legend:
        assert any(in_legend <= labels[name] for name, _ in found), f"{legend} of {expression}"


def test_every_panel_asks_for_what_a_coordinator_shows(shown: Exposition) -> None:
    assert len(expressions()) > 25
    for panel in panels():
        for target in panel["targets"]:
            require_shown(target["expr"], shown, target["legendFormat"])


@pytest.mark.parametrize(
    ("expression", "legend"),
    [
        ("pfedfrz_rounds", ""),
        ('pfedfrz_devices{presense="online"}', ""),
        ("sum by (cause) (pfedfrz_updates_total)", ""),
        ("pfedfrz_devices", "{{state}}"),
        ("up", ""),
    ],
)
def test_a_panel_that_asks_for_what_is_not_there_is_found(
    shown: Exposition, expression: str, legend: str
) -> None:
    with pytest.raises(AssertionError):
        require_shown(expression, shown, legend)


def test_label_values_that_panels_ask_for_are_there(shown: Exposition) -> None:
    values: dict[tuple[str, str], set[str]] = {}
    for name, labels in shown.samples:
        for label, value in labels:
            values.setdefault((name, label), set()).add(value)
    asked = 0
    for text in [*expressions(), ALERTS.read_text()]:
        for name, selector in re.findall(r"\b(pfedfrz_\w+)\{([^}]*)\}", text):
            for label, value in re.findall(r'(\w+)="(\w+)"', selector):
                assert value in values[name, label], f"{label}={value} of {name}"
                asked += 1
    assert asked > 4


def test_every_expression_is_promql(tmp_path: Path) -> None:
    rules = [
        {"record": f"panel:{number}", "expr": concrete(expression)}
        for number, expression in enumerate(expressions())
    ]
    path = tmp_path / "rules.yml"
    path.write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}))
    assert f"{len(rules)} rules found" in promtool("check", "rules", str(path))
    assert "$" not in "".join(rule["expr"] for rule in rules)


def test_the_dashboard_is_one_that_grafana_imports() -> None:
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    variables = {each["name"]: each for each in DASHBOARD["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    assert "pfedfrz_build_info" in variables["instance"]["definition"]
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= 24
        assert not cells & taken, f"{panel['title']} lies on another panel"
        taken |= cells
    for panel in panels():
        assert panel["title"]
        assert panel["description"]
        assert panel["datasource"]["uid"] == "${datasource}"
        assert all(t["datasource"]["uid"] == "${datasource}" for t in panel["targets"])
        assert all('instance=~"$instance"' in target["expr"] for target in panel["targets"])


def test_the_pages_table_is_what_a_coordinator_shows(shown: Exposition) -> None:
    text = PAGE.split("### What there is")[1].split("### The cosine")[0]
    table, by_name = text.split("With `per_device = true`")
    rows = re.findall(r"^\| `(pfedfrz_\w+)` \|([^|]*)\|[^|]+\|$", table, re.M)
    told = {name: set(re.findall(r"`(\w+)`", labels)) for name, labels in rows}
    for name in re.findall(r"`(pfedfrz_device_\w+)`", by_name):
        told[name] = {"device"}
    found: dict[str, set[str]] = {}
    for family in shown.families.values():
        for sample in family.samples:
            histogram = family.type == "histogram"
            name = family.name if histogram else sample.name
            found.setdefault(name, set()).update(set(sample.labels) - {"le"})
    assert told == {name: labels for name, labels in found.items() if name.startswith("pfedfrz_")}


def test_the_settings_are_those_of_the_coordinator() -> None:
    (text,) = (block for block in TOML if "[metrics]" in block)
    policy = msgspec.toml.decode(text)["metrics"]
    assert msgspec.convert(policy, MetricsPolicy).address() == ("127.0.0.1", 9464)
    assert policy["per_device"] is MetricsPolicy().per_device


def test_prometheus_takes_the_configuration_with_the_alerts_beside_it(tmp_path: Path) -> None:
    (tmp_path / "prometheus.yml").write_text(YAML)
    shutil.copy(ALERTS, tmp_path)
    assert "promtool check config prometheus.yml" in PAGE
    said = promtool("check", "config", "prometheus.yml", cwd=tmp_path)
    assert "SUCCESS" in said
    assert "7 rules found" in said


_ALERT_TESTS = """
rule_files: [alerts.yml]
evaluation_interval: 1m
tests:
  - interval: 1m
    input_series:
      - {series: 'up{job="pfedfrz",instance="dead"}', values: '1x5 0x20'}
      - {series: 'pfedfrz_broker_connected{instance="cut"}', values: '1x5 0x20'}
      - {series: 'pfedfrz_broker_connected{instance="well"}', values: '1x30'}
      - {series: 'pfedfrz_updates_total{instance="attacked",outcome="rejected",reason="late"}', values: '0+2x90'}
      - {series: 'pfedfrz_updates_total{instance="attacked",outcome="accepted",reason="none"}', values: '0+8x90'}
      - {series: 'pfedfrz_updates_total{instance="well",outcome="rejected",reason="late"}', values: '0+1x90'}
      - {series: 'pfedfrz_updates_total{instance="well",outcome="accepted",reason="none"}', values: '0+20x90'}
      - {series: 'pfedfrz_round_closed_timestamp_seconds{instance="stuck"}', values: '60x300'}
      - {series: 'pfedfrz_round_closed_timestamp_seconds{instance="rests"}', values: '60x300'}
      - {series: 'pfedfrz_round_closed_timestamp_seconds{instance="young"}', values: '0x300'}
      - {series: 'pfedfrz_round_closed_timestamp_seconds{instance="well"}', values: '60+60x300'}
      - {series: 'pfedfrz_paused{instance="stuck"}', values: '0x300'}
      - {series: 'pfedfrz_paused{instance="young"}', values: '0x300'}
      - {series: 'pfedfrz_paused{instance="well"}', values: '0x300'}
      - {series: 'pfedfrz_paused{instance="rests"}', values: '1x900'}
      - {series: 'pfedfrz_devices{instance="empty",presence="online"}', values: '3x5 0x60'}
      - {series: 'pfedfrz_updates_opposed{instance="attacked"}', values: '2x60'}
    alert_rule_test:
      - eval_time: 20m
        alertname: PfedfrzCoordinatorDown
        exp_alerts: [{exp_labels: {severity: critical, job: pfedfrz, instance: dead}, exp_annotations: {summary: "No answer from the coordinator at dead", description: "Its process has ended, or its machine is away. Devices wait; nothing is lost."}}]
"""  # noqa: E501
_FIRING = [
    ("PfedfrzBrokerAway", "8m", []),
    ("PfedfrzBrokerAway", "20m", ["cut"]),
    ("PfedfrzManyRejects", "80m", ["attacked"]),
    ("PfedfrzNoRoundClosed", "100m", []),
    ("PfedfrzNoRoundClosed", "140m", ["stuck"]),
    ("PfedfrzNoDevices", "50m", ["empty"]),
    ("PfedfrzUpdatesPullAgainstTheModel", "40m", ["attacked"]),
    ("PfedfrzPausedForLong", "700m", []),
    ("PfedfrzPausedForLong", "730m", ["rests"]),
]


def test_alerts_fire_for_what_they_say_and_for_nothing_else(tmp_path: Path) -> None:
    shutil.copy(ALERTS, tmp_path)
    tests = _ALERT_TESTS + "    promql_expr_test:\n"
    for alert, when, instances in _FIRING:
        samples = ", ".join(f"{{labels: '{{instance=\"{one}\"}}', value: 1}}" for one in instances)
        firing = f'ALERTS{{alertname=\\"{alert}\\",alertstate=\\"firing\\"}}'
        tests += f'      - expr: "sum by (instance) ({firing})"\n        eval_time: {when}\n'
        tests += f"        exp_samples: [{samples}]\n"
    (tmp_path / "tests.yml").write_text(tests)
    assert "SUCCESS" in promtool("test", "rules", "tests.yml", cwd=tmp_path)
    named = set(re.findall(r"alert: (\w+)", ALERTS.read_text()))
    assert named == {alert for alert, _, _ in _FIRING} | {"PfedfrzCoordinatorDown"}


def test_alerts_ask_for_what_a_coordinator_shows(shown: Exposition) -> None:
    text = re.sub(
        r"^ *(?:#|summary|description).*\n(?: {12}\S.*\n)*", "", ALERTS.read_text(), flags=re.M
    )
    found = re.findall(r"expr: (?:>-\n)?((?:.+\n)(?: {10}\S.*\n)*)", text)
    assert len(found) == 7
    for expression in found:
        if "up{" not in expression:
            require_shown(expression, shown)
