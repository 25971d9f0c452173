"""Destinations over HTTP and Kafka: taken, tried again, refused; and no secret in any message."""

import json
import socket
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)

from tachograph.pipeline.errors import Refused, RetryLater
from tachograph.pipeline.forward.destination import (
    Busy,
    Destination,
    DestinationType,
    Outgoing,
    PartlyRefused,
    Secret,
    types,
)
from tachograph.pipeline.forward.formats import formats
from tachograph.pipeline.standins.broker import MockBroker
from tachograph.schemas.alert import Alert
from tests.pipeline.forward import alerts
from tests.pipeline.forward.receivers import Request
from tests.pipeline.forward.stubs import BulkStub, Reply, Scripted, SentinelStub, SplunkStub, reply
from tests.waiting import WAIT_S, eventually

SECRET = "s3cret-value-of-the-test"


def outgoing(kind: str, *found: Alert, **extra: Any) -> list[Outgoing]:
    form = formats()[types()[kind].FORMATS[0]]
    return [
        Outgoing(
            f"{a.alert_id}:{a.revision}", form.render(a, **extra), form.CONTENT_TYPE, a.updated_at
        )
        for a in found
    ]


def opened(kind: str, secret: str | None = SECRET, **options: Any) -> Destination:
    module = types()[kind]
    made = module.Options(**options)
    given = Secret(secret) if secret else None
    assert made.problems(given) == []
    return module.open(made, given)


def some(count: int) -> list[Alert]:
    return [alerts.alert(n) for n in range(1, count + 1)]


# --- what holds for every destination ---------------------------------------------------------

LEAST: dict[str, dict[str, Any]] = {
    "elasticsearch": {"url": "{url}"},
    "opensearch": {"url": "{url}", "auth": "basic", "username": "tacho"},
    "kafka": {"bootstrap_servers": "{place}", "topic": "alerts", "deadline_s": 0.5},
    "otlp": {"url": "{url}/v1/logs"},
    "s3": {"bucket": "soc-alerts", "access_key_id": "AKIA", "endpoint": "{url}"},
    "second_opinion": {
        "url": "{url}", "severities": ["high", "critical", "medium", "low", "informational"],
    },
    "sentinel": {
        "url": "{url}", "dcr_immutable_id": "dcr-0123", "tenant_id": "tenant-1",
        "client_id": "app-1", "login_url": "{url}",
    },
    "slack": {},
    "splunk_hec": {"url": "{url}"},
    "syslog": {"address": "{place}"},
    "webhook": {"url": "{url}"},
}  # fmt: skip


def least(kind: str, place: str) -> tuple[DestinationType, Any, Secret | None]:
    """A destination with nothing but what it must be told, at a place."""
    url = f"http://{place}"
    given = {
        name: value.format(url=url, place=place) if isinstance(value, str) else value
        for name, value in LEAST[kind].items()
    }
    secret = {"slack": f"{url}/services/T0/{SECRET}", "syslog": None, "kafka": None}
    chosen = secret.get(kind, SECRET)
    return types()[kind], types()[kind].Options(**given), Secret(chosen) if chosen else None


@pytest.fixture
def nobody() -> Iterator[str]:
    """A place where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{probe.getsockname()[1]}"


def test_every_destination_is_in_the_suite() -> None:
    assert set(LEAST) == set(types())


@pytest.mark.parametrize("kind", LEAST)
def test_who_is_away_is_tried_again_and_no_secret_is_told(kind: str, nobody: str) -> None:
    module, options, secret = least(kind, nobody)
    assert options.problems(secret) == []
    destination = module.open(options, secret)
    with pytest.raises(RetryLater) as told:
        destination.deliver(outgoing(kind, alerts.alert(1)))
    destination.close()
    destination.close() if kind in {"kafka", "syslog"} else None
    assert SECRET not in f"{told.value} {options!r} {secret!r}"


@pytest.mark.parametrize("kind", sorted(set(LEAST) - {"kafka", "syslog"}))
@pytest.mark.parametrize("status", [401, 403, 404, 429, 500, 503])
def test_what_can_be_mended_at_the_other_end_is_no_fault_of_the_alert(
    kind: str, status: int
) -> None:
    with Scripted(lambda _request: reply(status, {"error": "x"}, retry_after="9")) as stub:
        module, options, secret = least(kind, stub.url.removeprefix("http://"))
        destination = module.open(options, secret)
        with pytest.raises(RetryLater) as told:
            destination.deliver(outgoing(kind, alerts.alert(1)))
        destination.close()
    # A login server's answer to a token request is not the receiver's: our own pauses hold there.
    assert kind == "sentinel" or (isinstance(told.value, Busy) and told.value.after_s == 9)


@pytest.mark.parametrize("kind", sorted(set(LEAST) - {"kafka", "syslog"}))
def test_hostile_alerts_reach_no_other_address_and_no_other_path(kind: str) -> None:
    paths: list[set[str]] = []
    for text in ("plain", "https://evil.example/x?y=\r\nhost: evil.example"):
        with Scripted(lambda _request: reply(500)) as stub:
            module, options, secret = least(kind, stub.url.removeprefix("http://"))
            destination = module.open(options, secret)
            with pytest.raises(RetryLater):
                destination.deliver(outgoing(kind, alerts.hostile(text)))
            destination.close()
            sent = stub.requests
        assert all(r.headers["host"] == stub.url.removeprefix("http://") for r in sent)
        # An object's name follows from its content by a hash.
        paths.append(
            {request.path.partition("-")[0] if kind == "s3" else request.path for request in sent}
        )
    assert paths[0] == paths[1]


@pytest.mark.parametrize("kind", sorted(set(LEAST) - {"kafka", "syslog", "slack"}))
def test_plain_http_to_another_host_must_be_allowed_by_word(kind: str) -> None:
    _, options, secret = least(kind, "siem.example")
    assert any("plain http to another host" in problem for problem in options.problems(secret))


# --- Splunk -----------------------------------------------------------------------------------


def test_splunk_indexes_a_batch_and_acknowledges_it() -> None:
    with SplunkStub(SECRET) as stub:
        stub.asked_before_true = 2
        destination = opened("splunk_hec", url=stub.url)
        said = destination.deliver(outgoing("splunk_hec", *some(3)))
        destination.close()
    assert said == "3 events, acknowledged by the indexers"
    assert [e["fields"]["tacho_alert_id"] for e in stub.indexed] == [f"{n:032x}" for n in (1, 2, 3)]
    assert len({r.headers["x-splunk-request-channel"] for r in stub.requests}) == 1


def test_splunk_is_asked_again_before_anything_is_sent_again() -> None:
    with SplunkStub(SECRET) as stub:
        stub.asked_before_true = 1_000
        destination = opened("splunk_hec", url=stub.url, deadline_s=1.0)
        batch = outgoing("splunk_hec", *some(2))
        with pytest.raises(RetryLater, match="not acknowledged by the indexers yet"):
            destination.deliver(batch)
        stub.asked_before_true = 0
        eventually(lambda: _taken(destination, batch), "the indexers acknowledge it")
        destination.close()
    assert len(stub.indexed) == 2


def _taken(destination: Destination, batch: list[Outgoing]) -> bool:
    """Whether it took the batch before its deadline, which is short."""
    try:
        destination.deliver(batch)
    except RetryLater:
        return False
    return True


def test_a_token_without_acknowledgement_is_told_before_the_first_event() -> None:
    with SplunkStub(SECRET, ack=False) as stub:
        destination = opened("splunk_hec", url=stub.url)
        with pytest.raises(RetryLater, match="no indexer acknowledgement"):
            destination.deliver(outgoing("splunk_hec", *some(1)))
        destination.close()
        assert stub.indexed == []
        plain = opened("splunk_hec", url=stub.url, ack=False)
        assert "Success" in plain.deliver(outgoing("splunk_hec", *some(1)))
        plain.close()
    assert len(stub.indexed) == 1


def test_an_event_that_splunk_refuses_is_named_and_those_before_it_are_in() -> None:
    with SplunkStub(SECRET) as stub:
        destination = opened("splunk_hec", url=stub.url)
        batch = outgoing("splunk_hec", *some(3))
        batch[1] = Outgoing(batch[1].key, b'{"event":""}', "")
        with pytest.raises(PartlyRefused, match="cannot be blank") as told:
            destination.deliver(batch)
        destination.close()
    assert told.value.at == 1
    assert len(stub.indexed) == 1


def test_a_wrong_index_waits_for_somebody_to_mend_it() -> None:
    with SplunkStub(SECRET) as stub:
        destination = opened("splunk_hec", url=stub.url)
        with pytest.raises(RetryLater, match="Incorrect index"):
            destination.deliver(outgoing("splunk_hec", *some(1), index="nowhere"))
        destination.close()


# --- Elasticsearch, OpenSearch ----------------------------------------------------------------


def test_each_revision_is_a_document_and_a_repeat_is_as_good_as_taken() -> None:
    with BulkStub(f"ApiKey {SECRET}") as stub:
        destination = opened("elasticsearch", url=stub.url)
        batch = outgoing("elasticsearch", alerts.alert(1), alerts.alert(1, revision=2))
        assert destination.deliver(batch) == "2 created, 0 there already"
        assert destination.deliver(batch) == "0 created, 2 there already"
        destination.close()
    names = {index for index, _ in stub.documents}
    assert names == {"logs-tacho.alert-default"}
    assert len(stub.documents) == 2


def test_in_an_index_an_alert_is_one_document_and_an_older_revision_changes_nothing() -> None:
    basic = "Basic dGFjaG86czNjcmV0LXZhbHVlLW9mLXRoZS10ZXN0"
    with BulkStub(basic) as stub:
        given = {"auth": "basic", "username": "tacho", "index": "tacho-alerts"}
        destination = opened("opensearch", url=f"{stub.url}/", **given)
        closed = alerts.alert(1, revision=7, status="closed")
        destination.deliver(outgoing("opensearch", closed))
        destination.deliver(outgoing("opensearch", alerts.alert(1, revision=5)))
        destination.close()
    [document] = stub.documents.values()
    assert document["tacho"]["alert"]["status"] == "closed"


@pytest.mark.parametrize(
    ("status", "error"), [(400, Refused), (429, RetryLater), (503, RetryLater), (403, RetryLater)]
)
def test_an_items_own_answer_counts_and_not_the_200_around_it(
    status: int, error: type[Exception]
) -> None:
    with BulkStub(f"ApiKey {SECRET}") as stub:
        destination = opened("elasticsearch", url=stub.url)
        batch = outgoing("elasticsearch", *some(3))
        stub.reject = {batch[1].key: (status, "mapper_parsing_exception")}
        with pytest.raises(error, match=f"{status} mapper_parsing_exception: of the test"):
            destination.deliver(batch)
        destination.close()


def test_an_answer_that_does_not_speak_of_every_record_is_none() -> None:
    with Scripted(lambda _request: reply(200, {"errors": False, "items": []})) as stub:
        destination = opened("elasticsearch", url=stub.url)
        with pytest.raises(RetryLater, match="0 answers to 1 records"):
            destination.deliver(outgoing("elasticsearch", *some(1)))
        destination.close()


@pytest.mark.parametrize("name", ["Upper", "a b", "a/b", "", "_x", "a*", "..", "x" * 256])
def test_a_name_that_is_none_of_an_index_is_told(name: str) -> None:
    options = types()["elasticsearch"].Options(url="https://es.example", index=name)
    assert any("no name of an index" in problem for problem in options.problems(Secret(SECRET)))


# --- Sentinel ---------------------------------------------------------------------------------


def sentinel(stub: SentinelStub, secret: str = SECRET) -> Destination:
    return opened(
        "sentinel", secret, url=stub.url, login_url=stub.url, dcr_immutable_id="dcr-0123",
        tenant_id="tenant-1", client_id="app-1",
    )  # fmt: skip


def test_sentinel_gets_rows_under_a_token_that_is_kept() -> None:
    with SentinelStub(client_id="app-1", secret=SECRET, columns={"AlertId"}) as stub:
        destination = sentinel(stub)
        destination.deliver(outgoing("sentinel", *some(2)))
        destination.deliver(outgoing("sentinel", alerts.alert(3)))
        destination.close()
    assert [row["AlertId"] for row in stub.rows] == [f"{n:032x}" for n in (1, 2, 3)]
    assert len(stub.valid) == 1


def test_a_token_that_ran_out_is_fetched_again() -> None:
    with SentinelStub(client_id="app-1", secret=SECRET, columns=set()) as stub:
        destination = sentinel(stub)
        destination.deliver(outgoing("sentinel", *some(1)))
        stub.valid.clear()
        with pytest.raises(RetryLater, match="InvalidToken"):
            destination.deliver(outgoing("sentinel", *some(1)))
        destination.deliver(outgoing("sentinel", *some(1)))
        destination.close()
    assert len(stub.rows) == 2


def test_a_login_server_that_quotes_the_secret_is_not_quoted() -> None:
    with SentinelStub(client_id="app-1", secret="another one", columns=set()) as stub:
        destination = sentinel(stub)
        with pytest.raises(RetryLater, match="no token: 401 invalid_client") as told:
            destination.deliver(outgoing("sentinel", *some(1)))
        destination.close()
    assert SECRET not in str(told.value)


# --- OTLP -------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["json", "protobuf"])
def test_a_collector_reads_the_alert_with_opentelemetrys_own_protobuf(encoding: str) -> None:
    read: list[ExportLogsServiceRequest] = []

    def collect(request: Request) -> Reply:
        assert request.headers["authorization"] == "Bearer x"
        if request.headers["content-type"] == "application/json":
            json.loads(request.body)
            return reply(200, {})
        read.append(ExportLogsServiceRequest.FromString(request.body))
        return 200, {"content-type": "application/x-protobuf"}, b""

    with Scripted(collect) as stub:
        url = f"{stub.url}/v1/logs"
        destination = opened("otlp", "Bearer x", url=url, encoding=encoding)
        destination.deliver(outgoing("otlp", *some(2)))
        destination.close()
    assert len(stub.requests) == 2
    titles = [r.resource_logs[0].scope_logs[0].log_records[0].body.string_value for r in read]
    assert titles == ([] if encoding == "json" else [a.title for a in some(2)])


@pytest.mark.parametrize("encoding", ["json", "protobuf"])
def test_a_record_that_a_success_rejects_is_refused(encoding: str) -> None:
    told = ExportLogsServiceResponse()
    told.partial_success.rejected_log_records = 1
    told.partial_success.error_message = "too old"
    in_json = {"partialSuccess": {"rejectedLogRecords": "1", "errorMessage": "too old"}}
    answers = {"protobuf": (200, {}, told.SerializeToString()), "json": reply(200, in_json)}
    with Scripted(lambda _request: answers[encoding]) as stub:
        destination = opened("otlp", None, url=stub.url, encoding=encoding)
        with pytest.raises(Refused, match="rejected: too old"):
            destination.deliver(outgoing("otlp", *some(1)))
        destination.close()


# --- Slack ------------------------------------------------------------------------------------


def test_slack_gets_messages_one_by_one_and_a_bad_one_is_refused() -> None:
    with Scripted(lambda _request: (200, {}, b"ok")) as stub:
        destination = opened("slack", f"{stub.url}/services/T0/B0/x")
        assert destination.deliver(outgoing("slack", *some(2))) == "200 OK: ok"
        stub.forced = [(400, {}, b"invalid_payload")]
        with pytest.raises(Refused, match="invalid_payload"):
            destination.deliver(outgoing("slack", *some(1)))
        destination.close()
    assert [request.path for request in stub.requests] == ["/services/T0/B0/x"] * 3
    assert all("blocks" in json.loads(request.body) for request in stub.requests)


# --- S3, against moto, which keeps what it gets but does not check a signature ----------------


def test_a_batch_is_an_object_that_a_repeat_does_not_double(
    moto: tuple[str, Any], tmp_path: Path
) -> None:
    url, client = moto
    given = {"bucket": "soc-alerts", "endpoint": url, "access_key_id": "AKIA"}
    batch = outgoing("s3", *some(3), alerts.hostile("a\nb/../c"))
    for kind in ("ndjson", "parquet"):
        destination = opened("s3", **given, object=kind, prefix=f"soc/{kind}")
        for _ in range(2):
            assert destination.deliver(batch).startswith("4 records in s3://soc-alerts/soc/")
        destination.close()
    names = [found["Key"] for found in client.list_objects_v2(Bucket="soc-alerts")["Contents"]]
    assert len(names) == 2
    assert all(f"/{name.split('/')[1]}/dt=2026-11-22/hour=18/" in f"/{name}" for name in names)
    lines, table = (client.get_object(Bucket="soc-alerts", Key=n)["Body"].read() for n in names)
    assert [json.loads(line)["alert_id"] for line in lines.split(b"\n")[:-1]] == [
        f"{n:032x}" for n in (1, 2, 3, 1)
    ]
    (tmp_path / "x.parquet").write_bytes(table)
    rows = pq.read_table(tmp_path / "x.parquet").to_pylist()
    assert [row["revision"] for row in rows] == [1, 2, 3, 1]
    assert rows[0]["updated_at"] == alerts.alert(1).updated_at
    assert rows[3]["tenant"] == "a\nb/../c"
    assert [row["record"].encode() for row in rows] == [record.body for record in batch]


@pytest.mark.parametrize("code", ["ExpiredToken", "AuthorizationHeaderMalformed", "RequestTimeout"])
def test_what_s3_says_of_its_token_or_region_is_no_fault_of_the_alerts(code: str) -> None:
    said = f"<Error><Code>{code}</Code></Error>".encode()
    with Scripted(lambda _request: (400, {}, said)) as stub:
        destination = opened("s3", bucket="soc", endpoint=stub.url, access_key_id="AKIA")
        with pytest.raises(RetryLater, match=code):
            destination.deliver(outgoing("s3", *some(2)))
        destination.close()


def test_a_bucket_that_is_not_there_waits_for_somebody_to_make_it(moto: tuple[str, Any]) -> None:
    url, _ = moto
    destination = opened("s3", bucket="no-such-bucket", endpoint=url, access_key_id="AKIA")
    with pytest.raises(RetryLater, match="NoSuchBucket"):
        destination.deliver(outgoing("s3", *some(1)))
    destination.close()


# --- Kafka ------------------------------------------------------------------------------------


def test_a_topic_gets_records_keyed_by_alert_as_kcat_reads_them() -> None:
    kcat = _kcat()
    with MockBroker(topics={"soc.alerts": 3}) as broker:
        servers = broker.bootstrap_servers
        destination = opened("kafka", None, bootstrap_servers=servers, topic="soc.alerts")
        found = [*some(5), alerts.alert(1, revision=9, status="closed")]
        said = destination.deliver(outgoing("kafka", *found))
        destination.close()
        form = '{"p":%p,"key":"%k","value":%s,"headers":"%h"}\n'
        read = _run([kcat, "-C", "-b", servers, "-t", "soc.alerts", "-e", "-q", "-f", form])
    assert said == "6 records acknowledged in soc.alerts"
    records = [json.loads(line) for line in read.splitlines()]
    assert len(records) == 6
    assert all(record["key"] == record["value"]["alert_id"] for record in records)
    first = [r for r in records if r["key"] == f"{1:032x}"]
    assert [r["value"]["revision"] for r in first] == [1, 9]
    assert len({r["p"] for r in first}) == 1
    assert f"tacho-delivery={1:032x}:9" in first[1]["headers"]


def test_a_record_that_no_broker_takes_is_refused_and_the_next_one_goes_out() -> None:
    with MockBroker(topics={"soc.alerts": 1}) as broker:
        destination = opened(
            "kafka", None, bootstrap_servers=broker.bootstrap_servers, topic="soc.alerts"
        )
        with pytest.raises(Refused):
            destination.deliver([Outgoing("a:1", b"x" * 3_000_000, "")])
        destination.deliver(outgoing("kafka", *some(1)))
        destination.close()


def _kcat() -> str:
    import shutil

    found = shutil.which("kcat")
    if found is None:
        pytest.skip("kcat is not installed (Debian: apt-get install kcat)")
    return found


def _run(command: Sequence[str]) -> str:
    return subprocess.run(
        command, check=True, capture_output=True, text=True, timeout=WAIT_S
    ).stdout
