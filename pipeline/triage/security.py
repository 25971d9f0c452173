"""TLS and SASL for Faust: the same settings as every other client, in its own objects."""

import ssl
from typing import Any

import faust

from tachograph.pipeline.errors import ConfigError
from tachograph.pipeline.settings import KafkaSettings


def credentials(settings: KafkaSettings) -> Any:
    """Faust's credentials, or None without TLS and SASL. Raises ConfigError."""
    protocol = settings.security.get("security.protocol", "PLAINTEXT")
    context = tls_context(settings) if protocol.endswith("SSL") else None
    if protocol == "SSL":
        return faust.SSLCredentials(context)
    if not protocol.startswith("SASL"):
        return None
    try:
        return faust.SASLCredentials(
            username=settings.security.get("sasl.username"),
            password=settings.security.get("sasl.password"),
            mechanism=settings.security.get("sasl.mechanism", "PLAIN"),
            ssl_context=context,
        )
    except ValueError as error:
        raise ConfigError(f"KAFKA_SASL_MECHANISM: {error}") from error


def tls_context(settings: KafkaSettings) -> ssl.SSLContext:
    """TLS context of a client. Raises ConfigError naming what cannot be read."""
    security = settings.security
    try:
        context = ssl.create_default_context(cafile=security.get("ssl.ca.location"))
        certificate = security.get("ssl.certificate.location")
        if certificate:
            context.load_cert_chain(
                certificate, security.get("ssl.key.location"), security.get("ssl.key.password")
            )
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"KAFKA_SSL_*: {error}") from error
    if security.get("ssl.endpoint.identification.algorithm") == "none":
        context.check_hostname = False
    return context
