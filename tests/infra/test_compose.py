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


def test_kafka_is_asked_for_its_health_by_a_name_that_is_good_inside_its_container() -> None:
    [asked] = [one for one in SERVICES["kafka"]["healthcheck"]["test"] if ":" in one]
    advertised = SERVICES["kafka"]["environment"]["KAFKA_ADVERTISED_LISTENERS"]
    assert f"NETWORK://{asked}" in advertised.split(",")


def test_the_user_of_clickhouse_may_create_roles() -> None:
    assert SERVICES["clickhouse"]["environment"]["CLICKHOUSE_DEFAULT_ACCESS_MANAGEMENT"] == "1"
