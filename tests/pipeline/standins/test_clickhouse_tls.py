"""TLS at the embedded ClickHouse, with authorities made for the test."""

from pathlib import Path

import httpx
import pytest

from tachograph.pipeline.errors import ConfigError, RetryLater
from tachograph.pipeline.query.reader import Reader
from tachograph.pipeline.settings import ClickHouseSettings, Settings
from tachograph.pipeline.standins.clickhouse import EmbeddedClickHouse
from tachograph.pipeline.store.clickhouse import Connection
from tachograph.pipeline.tls import ClientTls, ServerTls
from tests.pipeline.authority import Authority


def test_with_a_client_authority_only_its_clients_read_and_write(tmp_path: Path) -> None:
    ours, others = Authority(tmp_path, "ours"), Authority(tmp_path, "others")
    cert, key = ours.issue("server")
    tls = ServerTls(cert=cert, key=key, client_ca=ours.path)
    with EmbeddedClickHouse(tmp_path / "clickhouse", tls=tls) as server:
        assert server.url.startswith("https://127.0.0.1:")
        client, client_key = ours.issue("client")
        environ = {
            "CLICKHOUSE_URL": server.url,
            "CLICKHOUSE_USER": server.writer_user,
            "CLICKHOUSE_PASSWORD": server.writer_password,
            "CLICKHOUSE_CA_CERT": str(ours.path),
            "CLICKHOUSE_CLIENT_CERT": str(client),
            "CLICKHOUSE_CLIENT_KEY": str(client_key),
        }
        with Connection(Settings.from_env(environ).clickhouse) as connection:
            connection.command("CREATE DATABASE tacho")
            connection.command("CREATE TABLE tacho.t (n UInt8) ENGINE = MergeTree ORDER BY n")
            connection.insert("t", ["n"], b"7\n", form="CSV")
        known = ClientTls(ca_cert=ours.path, cert=client, key=client_key)
        with Reader(ClickHouseSettings(url=server.url, tls=known)) as reader:
            assert reader.rows("SELECT n FROM tacho.t") == [{"n": 7}]
        stranger, stranger_key = others.issue("stranger")
        for refused in (
            ClientTls(ca_cert=ours.path),
            ClientTls(ca_cert=ours.path, cert=stranger, key=stranger_key),
            ClientTls(ca_cert=others.path, cert=client, key=client_key),
        ):
            with pytest.raises(RetryLater):
                Reader(ClickHouseSettings(url=server.url, tls=refused))
        with pytest.raises(httpx.TransportError):
            httpx.get(server.url.replace("https", "http") + "/ping")


def test_a_certificate_without_its_key_starts_no_server(tmp_path: Path) -> None:
    cert, _ = Authority(tmp_path, "ours").issue("server")
    with pytest.raises(ConfigError, match="--tls-cert and --tls-key go together"):
        EmbeddedClickHouse(tmp_path / "clickhouse", tls=ServerTls(cert=cert))
