"""The Compose file: loopback only, nothing unpinned, nothing without a health check."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

INFRA = Path(__file__).resolve().parents[2] / "infra"
SERVICES: dict[str, Any] = yaml.safe_load((INFRA / "compose.yaml").read_text())["services"]


def test_it_offers_kafka_and_clickhouse() -> None:
    assert set(SERVICES) == {"kafka", "clickhouse"}


@pytest.mark.parametrize("name", SERVICES)
def test_every_port_is_bound_to_loopback(name: str) -> None:
    ports = SERVICES[name]["ports"]
    assert ports
    assert all(str(port).startswith("127.0.0.1:") for port in ports)


@pytest.mark.parametrize("name", SERVICES)
def test_every_image_is_pinned_to_a_full_version(name: str) -> None:
    assert re.fullmatch(r"[\w/-]+:\d+\.\d+\.\d+(\.\d+)?", SERVICES[name]["image"])


@pytest.mark.parametrize("name", SERVICES)
def test_every_server_has_a_health_check_and_keeps_its_data(name: str) -> None:
    assert SERVICES[name]["healthcheck"]["test"]
    assert SERVICES[name]["volumes"]


def test_both_ways_to_kafka_give_the_same_version() -> None:
    version = SERVICES["kafka"]["image"].partition(":")[2]
    assert f"kafka_2.13-{version}.jar" in (INFRA / "kafka" / "jars.sha256").read_text()
    assert f"<version>{version}</version>" in (INFRA / "kafka" / "pom.xml").read_text()


def test_no_password_is_written_down() -> None:
    environment = SERVICES["clickhouse"]["environment"]
    assert environment["CLICKHOUSE_PASSWORD"].startswith("${CLICKHOUSE_PASSWORD:?")
