"""Syslog over TCP and TLS against a real rsyslogd."""

import re
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tachograph.pipeline.errors import RetryLater
from tachograph.pipeline.forward.destination import Outgoing
from tachograph.pipeline.forward.destinations import _syslog_tcp as syslog_tcp
from tachograph.pipeline.forward.destinations import syslog as syslog_type
from tachograph.pipeline.forward.destinations._syslog_tcp import Options, SyslogTcp
from tachograph.pipeline.forward.formats import syslog
from tachograph.schemas.alert import Alert
from tests.pipeline.forward import alerts
from tests.pipeline.forward.receivers import Rsyslog
from tests.waiting import WAIT_S, eventually

StartRsyslog = Callable[..., Rsyslog]
KEY = re.compile(r'alertId="([0-9a-f]{32})" revision="(\d+)"')


def outgoing(alert: Alert) -> Outgoing:
    return Outgoing(f"{alert.alert_id}:{alert.revision}", syslog.render(alert), "")


def keys(lines: list[str]) -> list[tuple[str, str]]:
    """Alert id and revision of each line; a line without both is no whole record."""
    found = [KEY.search(line) for line in lines]
    assert all(found)
    return [match.groups() for match in found if match]  # type: ignore[misc]


def sender(daemon: Rsyslog, **options: object) -> SyslogTcp:
    defaults: dict[str, object] = {"address": f"127.0.0.1:{daemon.port}", "deadline_s": 60.0}
    return SyslogTcp(Options(**{**defaults, **options}))  # type: ignore[arg-type]


@pytest.mark.parametrize("confirm", ["close", "drain"])
def test_rsyslog_gets_every_record_whole_and_once(
    start_rsyslog: StartRsyslog, confirm: str
) -> None:
    daemon = start_rsyslog()
    records = [outgoing(alerts.alert(n)) for n in range(1, 301)]
    destination = sender(daemon, confirm=confirm)
    for start in range(0, 300, 100):
        destination.deliver(records[start : start + 100])
    eventually(lambda: len(daemon.lines()) == 300, "300 lines")
    destination.close()
    assert daemon.lines() == [record.body.decode() for record in records]


def test_hostile_values_arrive_as_one_record_each(start_rsyslog: StartRsyslog) -> None:
    daemon = start_rsyslog()
    records = [outgoing(alerts.hostile(text)) for text in alerts.HOSTILE.values()]
    sender(daemon).deliver(records)
    eventually(lambda: len(daemon.lines()) == len(records), "a line a record")
    # rsyslog writes control characters (only the tab is left of them) as #ooo.
    sent = [record.body.decode().replace("\t", "#011") for record in records]
    assert daemon.lines() == sent


def test_records_go_over_tls_to_a_receiver_that_the_ca_vouches_for(
    start_rsyslog: StartRsyslog, certificates: dict[str, Path]
) -> None:
    daemon = start_rsyslog(tls=certificates)
    destination = sender(daemon, tls=True, ca_file=str(certificates["ca"]))
    records = [outgoing(alerts.alert(n)) for n in range(1, 51)]
    destination.deliver(records)
    eventually(lambda: len(daemon.lines()) == 50, "50 lines over TLS")
    assert daemon.lines() == [record.body.decode() for record in records]


def test_a_receiver_without_a_trusted_certificate_gets_nothing(
    start_rsyslog: StartRsyslog, certificates: dict[str, Path]
) -> None:
    daemon = start_rsyslog(tls=certificates)
    with pytest.raises(RetryLater, match="certificate verify failed"):
        sender(daemon, tls=True).deliver([outgoing(alerts.alert())])
    wrong_name = sender(
        daemon, tls=True, ca_file=str(certificates["ca"]), server_name="siem.example"
    )
    with pytest.raises(RetryLater, match=r"siem\.example"):
        wrong_name.deliver([outgoing(alerts.alert())])
    assert daemon.lines() == []


@pytest.mark.parametrize("confirm", ["close", "drain"])
def test_a_receiver_that_asks_for_our_certificate_confirms_nothing_without_it(
    start_rsyslog: StartRsyslog,
    certificates: dict[str, Path],
    confirm: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    daemon = start_rsyslog(tls=certificates, clients="x509/certvalid")
    ca_file = str(certificates["ca"])
    record = outgoing(alerts.alert())
    with monkeypatch.context() as patient:
        patient.setattr(syslog_tcp, "SETTLE_S", WAIT_S)
        with pytest.raises(RetryLater):
            sender(daemon, tls=True, ca_file=ca_file, confirm=confirm).deliver([record])
    pair = {"cert_file": str(certificates["cert"]), "key_file": str(certificates["key"])}
    known = sender(daemon, tls=True, ca_file=ca_file, confirm=confirm, **pair)
    known.deliver([record])
    eventually(lambda: len(daemon.lines()) == 1, "the record")
    known.close()


@pytest.mark.parametrize("confirm", ["close", "drain"])
def test_a_restart_of_rsyslog_in_mid_stream_loses_nothing(
    start_rsyslog: StartRsyslog, confirm: str
) -> None:
    daemon = start_rsyslog()
    destination = sender(daemon, confirm=confirm)
    restarts = threading.Thread(target=restart_twice, args=(daemon,))
    restarts.start()
    sent = 0
    while restarts.is_alive() or sent % 100:
        batch = [outgoing(alerts.alert(n)) for n in range(sent, sent + 20)]
        send_until_taken(destination, batch)
        sent += 20
    send_until_taken(destination, [outgoing(alerts.alert(sent))])
    expected = {(f"{n:032x}", str(n)) for n in range(sent + 1)}
    eventually(lambda: set(keys(daemon.lines())) == expected, "every record")
    destination.close()
    # What came twice is the same record twice, under the same id and revision.
    bodies: dict[tuple[str, str], set[str]] = {}
    lines = daemon.lines()
    for key, line in zip(keys(lines), lines, strict=True):
        bodies.setdefault(key, set()).add(line)
    assert all(len(different) == 1 for different in bodies.values())


def restart_twice(daemon: Rsyslog) -> None:
    for _ in range(2):
        seen = len(daemon.lines())
        eventually(lambda seen=seen: len(daemon.lines()) > seen + 60, "a stream to break")  # type: ignore[misc]
        daemon.stop()
        daemon.start()


def send_until_taken(destination: SyslogTcp, batch: list[Outgoing]) -> None:
    def taken() -> bool:
        try:
            destination.deliver(batch)
        except RetryLater:
            return False
        return True

    eventually(taken, "a receiver that takes the batch")


def test_a_receiver_that_never_reads_is_tried_again_within_the_deadline() -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        address = f"127.0.0.1:{deaf.getsockname()[1]}"
        destination = SyslogTcp(Options(address=address, deadline_s=0.3))
        with pytest.raises(RetryLater, match='has not closed; if it never does, set confirm = "dr'):
            destination.deliver([outgoing(alerts.alert())])


def test_a_receiver_that_closes_with_bytes_unread_gets_them_again() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def read_a_little_and_close() -> None:
            connection, _ = server.accept()
            connection.recv(100)
            connection.close()

        reader = threading.Thread(target=read_a_little_and_close)
        reader.start()
        address = f"127.0.0.1:{server.getsockname()[1]}"
        destination = SyslogTcp(Options(address=address, deadline_s=5))
        with pytest.raises(RetryLater):
            destination.deliver([outgoing(alerts.alert(n)) for n in range(100)])
        reader.join()


def test_a_receiver_that_reads_and_then_will_not_have_us_confirms_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(syslog_tcp, "SETTLE_S", WAIT_S)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def read_and_refuse() -> None:
            connection, _ = server.accept()
            connection.recv(100_000)
            time.sleep(0.2)
            connection.close()

        reader = threading.Thread(target=read_and_refuse)
        reader.start()
        address = f"127.0.0.1:{server.getsockname()[1]}"
        destination = SyslogTcp(Options(address=address, confirm="drain"))
        with pytest.raises(RetryLater, match="closed after this batch"):
            destination.deliver([outgoing(alerts.alert())])
        reader.join()


def test_nobody_listening_is_tried_again(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
    with pytest.raises(RetryLater, match="refused"):
        SyslogTcp(Options(address=address)).deliver([outgoing(alerts.alert())])


def test_the_frame_counts_octets_not_characters() -> None:
    assert syslog_tcp.framed("é|☃".encode()) == "6 é|☃".encode()


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"address": "siem"}, "address: 'siem' is not host:port"),
        ({"address": "siem:0"}, "address: 'siem:0' is not host:port"),
        ({"address": "siem:514", "ca_file": "/nowhere"}, 'ca_file: only with transport = "tls"'),
        ({"address": "siem:514", "tls": True, "ca_file": "/no/ca"}, "ca_file: no file /no/ca"),
        (
            {"address": "siem:514", "tls": True, "cert_file": __file__},
            "cert_file and key_file go together",
        ),
    ],
)
def test_options_that_cannot_work_are_named(options: dict[str, object], problem: str) -> None:
    assert problem in Options(**options).problems(None)  # type: ignore[arg-type]


@pytest.mark.parametrize("confirm", ["close", "drain"])
def test_records_ended_by_newlines_arrive_whole(start_rsyslog: StartRsyslog, confirm: str) -> None:
    daemon = start_rsyslog()
    records = [outgoing(alerts.hostile(alerts.HOSTILE[name])) for name in ("newlines", "json")]
    destination = sender(daemon, framing="lf", confirm=confirm)
    destination.deliver(records)
    eventually(lambda: len(daemon.lines()) == 2, "2 lines")
    destination.close()
    assert daemon.lines() == [record.body.decode() for record in records]


@pytest.mark.parametrize("message", ["cef", "leef"])
def test_datagrams_arrive_whole_and_short_enough(start_rsyslog: StartRsyslog, message: str) -> None:
    daemon = start_rsyslog()
    options = Options(
        address=f"127.0.0.1:{daemon.port}",
        transport="udp",
        message=message,  # type: ignore[arg-type]
        hostname="gw-01",
    )
    destination = syslog_type.open(options, None)
    extra = syslog_type.render_options(options)
    found = [alerts.hostile("plain"), alerts.hostile("y" * 5_000), alerts.hostile("\\" * 999)]
    bodies = [syslog.render(alert, **extra) for alert in found]
    records = [Outgoing("a:1", body, "") for body in bodies]
    assert max(len(body) for body in bodies) <= 2_048
    assert "3 datagrams sent" in destination.deliver(records)
    eventually(lambda: len(daemon.lines()) == 3, "3 datagrams")
    destination.close()
    # rsyslog writes the tab of LEEF, a control character, as #011.
    assert daemon.lines() == [body.decode().replace("\t", "#011") for body in bodies]


def test_a_datagram_to_a_port_where_nobody_listens_is_told_when_the_system_says_so() -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    destination = syslog_type.open(Options(address=f"127.0.0.1:{port}", transport="udp"), None)
    destination.deliver([outgoing(alerts.alert(1))])
    # What the other machine answered to the first one is said at a later one.
    time.sleep(0.1)
    with pytest.raises(RetryLater, match="refused"):
        destination.deliver([outgoing(alerts.alert(n)) for n in range(5)])
    destination.close()
