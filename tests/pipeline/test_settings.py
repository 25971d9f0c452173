from pathlib import Path

import pytest

from tachograph.pipeline.errors import ConfigError
from tachograph.pipeline.settings import (
    BROKER_FILE,
    FETCH_WAIT_MS,
    STANDIN_BROKER,
    STANDIN_FETCH_WAIT_MS,
    Settings,
)
from tachograph.pipeline.up.embedded import told


def test_nothing_set_means_loopback_and_the_default_tenant() -> None:
    settings = Settings.from_env({})
    assert settings.kafka.bootstrap == "127.0.0.1:9092"
    assert settings.clickhouse.url == "http://127.0.0.1:8123"
    assert (settings.door_host, settings.door_port) == ("127.0.0.1", 4318)
    assert settings.tenant == "default"


def test_tls_and_sasl_reach_the_client_under_its_own_names(tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("from-a-file\n")
    settings = Settings.from_env(
        {
            "KAFKA_BOOTSTRAP_SERVERS": "broker:9093",
            "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
            "KAFKA_SASL_MECHANISM": "SCRAM-SHA-512",
            "KAFKA_SASL_USERNAME": "tacho",
            "KAFKA_SASL_PASSWORD_FILE": str(secret),
            "KAFKA_SSL_CA_LOCATION": "/etc/ca.pem",
        }
    )
    config = settings.kafka.client_config()
    assert config["bootstrap.servers"] == "broker:9093"
    assert config["sasl.password"] == "from-a-file"
    assert config["ssl.ca.location"] == "/etc/ca.pem"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("KAFKA_SECURITY_PROTOCOL", "TLS"),
        ("KAFKA_SESSION_S", "0.5"),
        ("KAFKA_SESSION_S", "3600"),
        ("KAFKA_SESSION_S", "-1"),
        ("KAFKA_SESSION_S", "nan"),
        ("KAFKA_SESSION_S", "soon"),
        ("TACHO_DOOR_PORT", "http"),
        ("TACHO_DOOR_PORT", "70000"),
        ("CLICKHOUSE_PASSWORD_FILE", "/nowhere/at/all"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named(name: str, value: str) -> None:
    with pytest.raises(ConfigError, match=name):
        Settings.from_env({name: value})


def test_a_broker_keeps_a_question_longer_than_the_stand_in(tmp_path: Path) -> None:
    assert Settings.from_env({}).kafka.fetch_wait_ms == FETCH_WAIT_MS
    assert Settings.from_env({STANDIN_BROKER: "1"}).kafka.fetch_wait_ms == STANDIN_FETCH_WAIT_MS
    home = {"TACHO_HOME": str(tmp_path)}
    with told(tmp_path / BROKER_FILE, "127.0.0.1:45643"):
        assert Settings.beside_up(home).kafka.fetch_wait_ms == STANDIN_FETCH_WAIT_MS


def test_tail_and_replay_find_the_broker_of_up_unless_another_is_named(tmp_path: Path) -> None:
    home = {"TACHO_HOME": str(tmp_path)}
    named = {**home, "KAFKA_BOOTSTRAP_SERVERS": "kafka:9092"}
    with told(tmp_path / BROKER_FILE, "127.0.0.1:45643"):
        assert Settings.beside_up(home).kafka.bootstrap == "127.0.0.1:45643"
        assert Settings.beside_up(named).kafka.bootstrap == "kafka:9092"
    assert Settings.beside_up(home).kafka.bootstrap == "127.0.0.1:9092"
