"""Receivers as fixtures; without rsyslog its tests are skipped with the reason, but fail in CI."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.pipeline.forward.receivers import (
    Rsyslog,
    SyslogNg,
    WebhookReceiver,
    rsyslogd,
    syslog_ng,
)


@pytest.fixture
def start_rsyslog(tmp_path: Path) -> Iterator[Callable[..., Rsyslog]]:
    """Start rsyslogd with a folder and port of its own; takes Rsyslog's options."""
    if rsyslogd() is None:
        reason = "rsyslogd is not installed (Debian: apt-get install rsyslog rsyslog-gnutls)"
        if os.environ.get("CI") == "true":
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    started: list[Rsyslog] = []

    def start(*, tls: dict[str, Path] | None = None, clients: str = "anon") -> Rsyslog:
        folder = tmp_path / f"rsyslog-{len(started)}"
        folder.mkdir()
        started.append(Rsyslog(folder, tls=tls, clients=clients))
        return started[-1].start()

    yield start
    for daemon in started:
        daemon.stop()


@pytest.fixture
def start_syslog_ng(tmp_path: Path) -> Iterator[Callable[..., SyslogNg]]:
    """Start syslog-ng with a folder and port of its own; takes SyslogNg's options."""
    if syslog_ng() is None:
        pytest.skip("syslog-ng is not there (on Debian .ci/run unpacks it under .cache)")
    started: list[SyslogNg] = []

    def start(*, framing: str = "octet", tls: dict[str, Path] | None = None) -> SyslogNg:
        folder = tmp_path / f"syslog-ng-{len(started)}"
        folder.mkdir()
        started.append(SyslogNg(folder, framing=framing, tls=tls))
        started[-1].start()
        return started[-1]

    yield start
    for daemon in started:
        daemon.stop()


@pytest.fixture
def webhook() -> Iterator[WebhookReceiver]:
    """A receiver of webhooks that answers as it is told."""
    receiver = WebhookReceiver()
    yield receiver
    receiver.close()


@pytest.fixture
def certificates(tmp_path: Path) -> dict[str, Path]:
    """A throw-away CA, and a certificate of 127.0.0.1 and localhost signed by it."""
    folder = tmp_path / "tls"
    folder.mkdir()
    names = {name: folder / f"{name}.pem" for name in ("ca", "cakey", "cert", "key", "request")}
    extension = folder / "extension"
    extension.write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
    _openssl(
        *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
        *("-days", "2", "-subj", "/CN=test CA", "-keyout", names["cakey"], "-out", names["ca"]),
    )
    _openssl(
        *("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
        *("-subj", "/CN=localhost", "-keyout", names["key"], "-out", names["request"]),
    )
    _openssl(
        *("x509", "-req", "-in", names["request"], "-CA", names["ca"], "-CAkey", names["cakey"]),
        *("-CAcreateserial", "-days", "2", "-extfile", extension, "-out", names["cert"]),
    )
    return names


def _openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)


@pytest.fixture
def moto() -> Iterator[tuple[str, Any]]:
    """A real S3 of moto's on loopback, with the bucket, and a client of botocore's."""
    boto3 = pytest.importorskip("boto3")
    server = pytest.importorskip("moto.server").ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    client = boto3.client(
        "s3", endpoint_url=url, region_name="us-east-1",
        aws_access_key_id="AKIA", aws_secret_access_key="a secret that moto does not check",
    )  # fmt: skip
    client.create_bucket(Bucket="soc-alerts")
    yield url, client
    # What it keeps it keeps for the whole process.
    for found in client.list_objects_v2(Bucket="soc-alerts").get("Contents", []):
        client.delete_object(Bucket="soc-alerts", Key=found["Key"])
    client.close()
    server.stop()
