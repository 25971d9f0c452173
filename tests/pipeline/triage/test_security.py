"""TLS and SASL settings reach Faust as they reach every other client."""

from pathlib import Path

import faust
import pytest

from tachograph.pipeline.errors import ConfigError
from tachograph.pipeline.settings import KafkaSettings
from tachograph.pipeline.triage.security import credentials, tls_context


def kafka(**security: str) -> KafkaSettings:
    return KafkaSettings(
        bootstrap="b:9092", security={k.replace("_", "."): v for k, v in security.items()}
    )


def test_without_security_there_are_no_credentials() -> None:
    assert credentials(kafka()) is None


def test_sasl_keeps_user_password_and_mechanism() -> None:
    made = credentials(
        kafka(
            security_protocol="SASL_PLAINTEXT",
            sasl_mechanism="SCRAM-SHA-512",
            sasl_username="tacho",
            sasl_password="hush",
        )
    )
    assert isinstance(made, faust.SASLCredentials)
    assert (made.username, made.password, made.mechanism.value) == (
        "tacho",
        "hush",
        "SCRAM-SHA-512",
    )
    assert made.protocol.value == "SASL_PLAINTEXT"
    assert "hush" not in repr(made)


def test_sasl_over_tls_and_tls_alone_carry_a_verifying_context() -> None:
    for protocol in ("SASL_SSL", "SSL"):
        made = credentials(kafka(security_protocol=protocol))
        assert made.protocol.value == protocol
        context = getattr(made, "ssl_context", None) or made.context
        assert context.check_hostname


def test_the_host_name_is_unchecked_only_when_asked() -> None:
    assert tls_context(kafka()).check_hostname
    relaxed = kafka(ssl_endpoint_identification_algorithm="none")
    assert not tls_context(relaxed).check_hostname


def test_an_unknown_mechanism_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="KAFKA_SASL_MECHANISM"):
        credentials(kafka(security_protocol="SASL_SSL", sasl_mechanism="ROT13"))


def test_a_certificate_that_cannot_be_read_is_refused_by_name(tmp_path: Path) -> None:
    broken = tmp_path / "broken.pem"
    broken.write_text("no certificate")
    for place in ("/nowhere/ca.pem", str(broken)):
        with pytest.raises(ConfigError, match="KAFKA_SSL"):
            tls_context(kafka(ssl_ca_location=place))
    with pytest.raises(ConfigError, match="KAFKA_SSL"):
        tls_context(kafka(ssl_certificate_location=str(broken)))
