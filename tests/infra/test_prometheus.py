"""Our alert rules for Prometheus ask for metrics that there are, and fire when they should."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import Counter, Gauge, Histogram

from tachograph.pipeline import metrics

SHIPPED = Path(__file__).parents[2] / "infra" / "prometheus"
RULES = yaml.safe_load((SHIPPED / "tacho.rules.yaml").read_text())["groups"][0]["rules"]
every_rule = pytest.mark.parametrize("rule", RULES, ids=[rule["alert"] for rule in RULES])
# What PromQL itself says beside names and labels; quoted values are taken out before.
WORDS = {
    *("sum", "min", "max", "by", "le", "rate", "increase", "min_over_time", "max_over_time"),
    *("histogram_quantile", "time", "unless", "and"),
}


def ours() -> dict[str, set[str]]:
    """Names as Prometheus reads them, with their labels."""
    found: dict[str, set[str]] = {"up": {"job", "instance"}}
    ends = {Counter: "_total", Gauge: "", Histogram: "_bucket"}
    for metric in vars(metrics).values():
        if isinstance(metric, Counter | Gauge | Histogram):
            found[metric._name + ends[type(metric)]] = {*metric._labelnames, "instance"}
    return found


def names_of(expression: str) -> set[str]:
    plain = re.sub(r'"[^"]*"|\[[^]]*\]', "", expression)
    return set(re.findall(r"\b[a-z_]+\b", plain)) - WORDS


@every_rule
def test_a_rule_asks_for_metrics_and_labels_that_there_are(rule: dict[str, Any]) -> None:
    known = ours()
    asked = names_of(rule["expr"])
    measured = asked & set(known)
    assert measured
    labels = set().union(*(known[name] for name in measured))
    assert asked - measured <= labels
    shown = set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]))
    assert shown <= labels


@every_rule
def test_a_rule_says_how_grave_it_is_and_what_it_means(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in {"warning", "critical"}
    assert rule["annotations"]["summary"].endswith(".")


@pytest.mark.skipif(shutil.which("promtool") is None, reason="needs promtool (Debian: prometheus)")
def test_the_rules_fire_when_all_is_wrong_and_never_when_all_is_well() -> None:
    command = ["promtool", "test", "rules", str(SHIPPED / "tacho.test.yaml")]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout + answer.stderr
