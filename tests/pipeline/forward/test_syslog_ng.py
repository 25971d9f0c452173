"""Syslog over TCP and TLS against a real syslog-ng: CEF and LEEF arrive whole."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tachograph.pipeline.forward.destination import Outgoing
from tachograph.pipeline.forward.destinations._syslog_tcp import Options, SyslogTcp
from tachograph.pipeline.forward.formats import syslog
from tests.pipeline.forward import alerts
from tests.pipeline.forward.receivers import SyslogNg
from tests.waiting import eventually

Start = Callable[..., SyslogNg]


def records(message: syslog.Message) -> list[Outgoing]:
    """A plain alert, those full of hostile text, and a plain one again."""
    every = [alerts.alert(1), *map(alerts.hostile, alerts.HOSTILE.values()), alerts.alert(2)]
    return [
        Outgoing(f"{one.alert_id}:{at}", syslog.render(one, message=message), "")
        for at, one in enumerate(every)
    ]


@pytest.mark.parametrize("message", ["cef", "leef"])
@pytest.mark.parametrize("framing", ["octet", "lf"])
def test_every_record_arrives_whole_and_once(
    start_syslog_ng: Start, framing: str, message: syslog.Message
) -> None:
    daemon = start_syslog_ng(framing=framing)
    options = {"framing": "lf" if framing == "lf" else "octet_counting"}
    sender = SyslogTcp(Options(address=f"127.0.0.1:{daemon.port}", **options))  # type: ignore[arg-type]
    sent = records(message)
    sender.deliver(sent)
    sender.close()
    eventually(lambda: len(daemon.lines()) >= len(sent), "a line a record")
    assert daemon.lines() == [record.body.decode() for record in sent]


def test_records_arrive_whole_over_tls(
    start_syslog_ng: Start, certificates: dict[str, Path]
) -> None:
    daemon = start_syslog_ng(tls=certificates)
    sender = SyslogTcp(
        Options(address=f"127.0.0.1:{daemon.port}", tls=True, ca_file=str(certificates["ca"]))
    )
    sent = records("cef")
    sender.deliver(sent)
    sender.close()
    eventually(lambda: len(daemon.lines()) >= len(sent), "a line a record over TLS")
    assert daemon.lines() == [record.body.decode() for record in sent]
