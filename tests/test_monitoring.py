"""The board and the alert rules: Prometheus takes them, and they ask for what there is."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest
from rig.debian import Missing
from rig.unpacked import unpacked

from chatmaild import cli
from chatmaild.filter.counters import Counters
from chatmaild.filter.outside import Dns
from chatmaild.metrics import render
from chatmaild.push import metrics as push_metrics
from chatmaild.push.metrics import Standing
from chatmaild.services.doveauth import DoveAuth
from chatmaild.services.lastlogin import LastLogin

MONITORING = Path(__file__).parents[1] / "doc/monitoring"
RULES = MONITORING / "rules.yml"
BOARD = json.loads((MONITORING / "board.json").read_text())
EXPRESSIONS = [target["expr"] for panel in BOARD["panels"] for target in panel["targets"]]

KNOWN = {
    "panel": {"id", "type", "title", "description", "datasource", "gridPos", "fieldConfig",
              "targets", "options"},
    "stat": {"reduceOptions", "colorMode", "graphMode", "textMode", "justifyMode", "orientation",
             "wideLayout", "showPercentChange", "percentChangeColorMode"},
    "timeseries": {"legend", "tooltip"},
    "legend": {"calcs", "displayMode", "placement", "showLegend"},
    "target": {"refId", "datasource", "expr", "legendFormat"},
}
"""What the types in Grafana's package @grafana/schema (13.2) demand, of which the board has all."""

CASES = """\
rule_files: [rules.yml]
evaluation_interval: 1m
tests:
  - interval: 1m
    input_series:
      - series: up{job="chatmaild",instance="doveauth"}
        values: 1x5 0x20
      - series: chatmaild_filter_errors_total{service="filtermail"}
        values: 0x10 1x15
      - series: chatmaild_dns_lookups_total{service="filtermail-incoming",result="failed"}
        values: 0+10x60
      - series: chatmaild_dns_lookups_total{service="filtermail-incoming",result="found"}
        values: 0+5x60
      - series: chatmaild_signups_refused_total{domain="chat.example",reason="disk"}
        values: 0x5 3x60
      - series: chatmaild_signups_refused_total{domain="chat.example",reason="name"}
        values: 0+5x60
      - series: chatmaild_push_gateway_up{service="notifier"}
        values: 1x60
    alert_rule_test:
      - {eval_time: 4m, alertname: ChatmaildServiceDown}
      - eval_time: 15m
        alertname: ChatmaildServiceDown
        exp_alerts:
          - exp_labels: {severity: critical, job: chatmaild, instance: doveauth}
      - {eval_time: 9m, alertname: ChatmaildFilterErrors}
      - eval_time: 14m
        alertname: ChatmaildFilterErrors
        exp_alerts: [{exp_labels: {severity: critical, service: filtermail}}]
      - eval_time: 40m
        alertname: ChatmaildDnsFails
        exp_alerts: [{exp_labels: {severity: warning}}]
      - eval_time: 20m
        alertname: ChatmaildNoRoomForAccounts
        exp_alerts: [{exp_labels: {severity: warning}}]
      - {eval_time: 40m, alertname: ChatmaildPushGatewayDown}
      - {eval_time: 40m, alertname: ChatmaildFilterSlow}
"""


@pytest.fixture(scope="module")
def promtool():
    try:
        return unpacked("prometheus") / "usr/bin/promtool"
    except (Missing, OSError) as error:
        assert not os.environ.get("CI"), error
        pytest.skip(str(error))


def told(promtool, *arguments):
    done = subprocess.run([promtool, *arguments], text=True, capture_output=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_prometheus_takes_the_rules(promtool):
    assert f"{RULES.read_text().count('- alert:')} rules found" in told(
        promtool, "check", "rules", RULES)


def test_alerts_come_when_they_should_and_not_before(promtool, tmp_path):
    rules = RULES.read_text()
    # What is said may be worded otherwise; when it is said counts here.
    (tmp_path / "rules.yml").write_text(re.sub(r"(?m)^ +(annotations:|summary:.*|action:.*)\n", "",
                                               rules))
    (tmp_path / "cases.yml").write_text(CASES)
    told(promtool, "test", "rules", tmp_path / "cases.yml")


def test_grafana_takes_each_panel():
    source = {"type": "prometheus", "uid": "${datasource}"}
    for panel in BOARD["panels"]:
        assert panel.keys() == KNOWN["panel"], panel["title"]
        assert panel["options"].keys() == KNOWN[panel["type"]], panel["title"]
        assert set(panel["options"].get("legend", KNOWN["legend"])) == KNOWN["legend"]
        for target in panel["targets"]:
            assert target.keys() == KNOWN["target"], panel["title"]
            assert panel["datasource"] == target["datasource"] == source


@pytest.fixture(scope="module")
def faults():
    """What Grafana's types say against the text of a board."""
    tests = Path(__file__).parent
    done = subprocess.run([tests / "rig/venv", "grafana"], text=True, capture_output=True,
                          env=os.environ | {"PIP_NO_INDEX": "1"})    # only if it is there already
    if done.returncode:
        assert not os.environ.get("CI"), done.stderr
        pytest.skip("needs Grafana's types: sudo tests/rig/venv grafana")
    return lambda text: subprocess.run(
        [f"{done.stdout.strip()}/bin/python", tests / "grafanaboard.py", "/dev/stdin"],
        input=text, text=True, capture_output=True, check=True).stdout.splitlines()


def test_grafana_knows_each_word_of_the_board(faults):
    """By the types that are made from its own schemas."""
    text = json.dumps(BOARD)
    assert faults(text) == []
    for right, wrong in (('"colorMode"', '"colourMode"'), ('"lastNotNull"', "7"),
                         ('"graphMode": "none"', '"graphMode": "no"'), ('"expr"', '"query"')):
        assert faults(text.replace(right, wrong, 1)), wrong


def test_the_board_is_as_its_linter_wants_it():
    """grafana/dashboard-linter; but people may edit it, and need not choose job and instance."""
    variable, = BOARD["templating"]["list"]
    assert (variable["name"], variable["label"]) == ("datasource", "Data source")
    for panel in BOARD["panels"]:
        assert panel["title"] and panel["description"].endswith("."), panel["title"]
        assert panel["targets"] and panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
    for text in EXPRESSIONS:
        for counter in re.findall(r"(?:(\w+)\()?chatmaild_\w+_total", text):
            assert counter in ("rate", "increase"), text


def test_no_panel_covers_another():
    places = [panel["gridPos"] for panel in BOARD["panels"]]
    squares = [(x, y) for place in places
               for x in range(place["x"], place["x"] + place["w"])
               for y in range(place["y"], place["y"] + place["h"])]
    assert len(set(squares)) == len(squares) and max(x for x, _ in squares) < 24
    assert len({panel["id"] for panel in BOARD["panels"]}) == len(places)


def test_prometheus_takes_each_expression_of_the_board(promtool, tmp_path):
    rules = {"groups": [{"name": "board", "rules": [
        {"record": f"board:{number}", "expr": text.replace("$__rate_interval", "5m")}
        for number, text in enumerate(EXPRESSIONS)]}]}
    (tmp_path / "board.yml").write_text(json.dumps(rules))
    told(promtool, "check", "rules", tmp_path / "board.yml")


@pytest.fixture(scope="module")
def exposed(tmp_path_factory):
    """Everything that can be asked for: the text of the services and of the report."""
    path = tmp_path_factory.mktemp("monitoring")
    (path / "mail/chat.example").mkdir(parents=True)
    (path / "chatmaild.ini").write_text(
        f"[chatmaild]\nmail_domains = chat.example\nmailboxes_dir = {path}/mail\n")
    counters = Counters()
    counters.verdicts.add("outgoing", "accept", "encrypted")
    counters.read("outgoing", 1000, 0.002)
    doveauth = DoveAuth()
    texts = [render(counters.metrics(Dns())), render(doveauth.metrics()),
             render(LastLogin().metrics()),
             push_metrics.render(Standing(1, 0, 0, 0, 0, 0.0, 1, 1.0))]
    doveauth.close()
    assert cli.main(["-c", str(path / "chatmaild.ini"), "report", "--textfile",
                     str(path / "report.prom")]) == 0
    return "".join([*texts, (path / "report.prom").read_text()])


def test_what_is_asked_for_exists(exposed):
    known = set(re.findall(r"^# TYPE (\w+)", exposed, re.MULTILINE))
    for text in [*EXPRESSIONS, *re.findall(r"expr: (.*)", RULES.read_text())]:
        for name in re.findall(r"chatmaild_\w+", text):
            assert re.sub("_(bucket|sum|count)$", "", name) in known or name in known, name


def test_prometheus_takes_what_is_exposed(promtool, exposed):
    done = subprocess.run([promtool, "check", "metrics"], input=exposed, text=True,
                          capture_output=True)
    # Names that its linter finds odd were there before; it must be able to read everything.
    assert "error while linting" not in done.stderr and done.returncode in (0, 3), done.stderr


def test_each_alert_says_what_to_do():
    alerts = RULES.read_text().split("- alert:")[1:]
    assert len(alerts) > 10
    assert not [alert for alert in alerts if "summary:" not in alert or "action:" not in alert]
