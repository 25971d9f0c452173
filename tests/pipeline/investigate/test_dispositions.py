"""What people say goes through the topic, and comes back joined to the alert and to its rules."""

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from confluent_kafka import Consumer

from tachograph.pipeline.clock import to_us
from tachograph.pipeline.errors import ConfigError, RetryLater
from tachograph.pipeline.investigate.dispositions import TOPIC, Word, run_say
from tachograph.pipeline.kafka.reader import headers_of
from tachograph.pipeline.query.reader import Reader
from tachograph.pipeline.settings import ClickHouseSettings, KafkaSettings, Settings
from tachograph.pipeline.standins.broker import MockBroker
from tachograph.pipeline.store.sink import Sink
from tachograph.schemas import codec
from tachograph.schemas.alert import Alert, RuleHit
from tachograph.schemas.records import Disposition
from tests.pipeline.store.samples import NOON, Feed, at
from tests.pipeline.world import example
from tests.waiting import eventually

RULES = {"good": 10, "poor": 10, "bad": 12, "new": 2}
# Of ten alerts of `poor`, three are true; of `bad` not one.
TRUE = {"good": 8, "poor": 3, "bad": 0, "new": 2}
TENANT = "desk"


def alert_of(rule: str, number: int) -> Alert:
    hit = RuleHit(
        rule_id=rule, rule_version="v", title=rule, severity="low", kind="stateless", count=1
    )
    alert: Alert = example(
        Alert, "alert", "secret_sent_outside", alert_id=f"de5c{rule}{number:02d}", rules=[hit],
        state=None, state_missing="none", agent_id="desk-bot", entity="desk-bot",
        session_id="desk-1", first_seen=NOON,
        last_seen=NOON, session_ids=[], observables=[],
    )  # fmt: skip
    return msgspec.structs.replace(alert, tenant=TENANT)


class Desk:
    """A broker of this test alone, and the store that reads it, asked for by hand."""

    def __init__(self, settings: Settings, writer: ClickHouseSettings) -> None:
        self.settings = settings
        self._sink = Sink(
            msgspec.structs.replace(settings, clickhouse=writer), stopping=lambda: True
        )
        self._feed = Feed(TENANT)
        self._consumer = Consumer(
            {**settings.kafka.client_config(), "group.id": "desk", "auto.offset.reset": "earliest"}
        )
        self._consumer.subscribe([TOPIC])
        self.keys: list[bytes] = []
        self.read: list[Disposition] = []
        self._seconds = 0

    def alerts(self) -> None:
        alerts = [alert_of(rule, n) for rule, count in RULES.items() for n in range(count)]
        self._sink.store(self._feed.records("agent.alerts", *alerts))

    def store(self, _pause_s: float = 0.0) -> None:
        """What `store` does meanwhile."""
        found = [one for one in self._consumer.consume(100, 0.5) if one.error() is None]
        for message in found:
            assert headers_of(message)["tacho-record"] == b"disposition"
            self.keys.append(bytes(message.key() or b""))
        values = [bytes(message.value() or b"") for message in found]
        self.read += [codec.decode(Disposition, value) for value in values]
        if values:
            self._sink.store(self._feed.records(TOPIC, *values))

    def say(self, ids: list[str], *, stored: bool = True, **word: Any) -> str:
        sink = io.StringIO()
        self._seconds += 1
        now = to_us(at(self._seconds))
        pause = self.store if stored else (lambda _s: None)
        run_say(ids, Word(**word), self.settings, sink=sink, clock=lambda: now, sleep=pause)
        return sink.getvalue()

    def close(self) -> None:
        self._consumer.close()
        self._sink.close()


@pytest.fixture(scope="module")
def desk(
    world_writer: ClickHouseSettings, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Desk]:
    with MockBroker() as broker, pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLICKHOUSE_URL", world_writer.url)
        settings = Settings(
            kafka=KafkaSettings(bootstrap=broker.bootstrap_servers),
            clickhouse=ClickHouseSettings(url=world_writer.url),
            home=Path(tmp_path_factory.mktemp("home")),
        )
        desk = Desk(settings, world_writer)
        desk.alerts()
        yield desk
        desk.close()


@pytest.fixture(scope="module")
def ask(world: ClickHouseSettings) -> Iterator[Callable[[str], list[Any]]]:
    with Reader(world) as reader:
        yield lambda sql: [list(row.values()) for row in reader.rows(sql)]


def test_a_verdict_goes_through_the_topic_and_stands_on_the_alert_and_its_rule(
    desk: Desk, ask: Callable[[str], list[Any]]
) -> None:
    for rule, count in RULES.items():
        ids = [f"de5c{rule}{n:02d}" for n in range(count)]
        true, false = ids[: TRUE[rule]], ids[TRUE[rule] :]
        for some, verdict in ((true, "true_positive"), (false, "false_positive")):
            if some:
                desk.say(some, action="close", disposition=verdict, by="ann", note="looked")
    assert f"{TENANT}/de5cgood00".encode() in desk.keys
    [row] = ask(
        "SELECT status, disposition, note, acted_by FROM tacho.alerts WHERE alert_id = 'de5cgood00'"
    )
    assert row == ["closed", "true_positive", "looked", "ann"]
    verdicts = ask(
        "SELECT rule_id, precision, verdict FROM tacho.rule_quality"
        f" WHERE tenant = '{TENANT}' ORDER BY rule_id"
    )
    assert verdicts == [
        ["bad", 0, "retire"],
        ["good", 0.8, "keep"],
        ["new", 1, "undecided"],
        ["poor", 0.3, "tune"],
    ]
    said = desk.say(["de5cbad0"[:7] + "00"], action="reopen", by="ben")
    assert said == f"reopened de5cbad00  {alert_of('bad', 0).title}\n"
    query = f"SELECT false_positives FROM tacho.rule_quality WHERE tenant = '{TENANT}'"
    assert ask(f"{query} AND rule_id = 'bad'") == [[11]], "an open alert is judged no more"


def test_an_alert_is_assigned_and_noted(desk: Desk, ask: Callable[[str], list[Any]]) -> None:
    desk.say(["de5cnew01"], action="assign", assignee="cleo", by="ann")
    desk.say(["de5cnew01"], action="note", note="asked\x1b the owner", by="ann")
    [row] = ask("SELECT assignee, note FROM tacho.alerts WHERE alert_id = 'de5cnew01'")
    assert row == ["cleo", "asked\x1b the owner"]


def test_what_the_store_has_not_read_yet_is_said_to_be_so(desk: Desk) -> None:
    said = desk.say(["de5cnew00"], stored=False, action="note", note="later", by="ann")
    assert "not in ClickHouse yet" in said
    came = len(desk.read)

    def read() -> bool:
        desk.store()
        return len(desk.read) > came

    eventually(read, "the note comes to the store")


@pytest.mark.parametrize(
    ("ids", "word", "problem"),
    [
        (["de5cnew00"], {"action": "close"}, "true_positive, false_positive, benign, duplicate"),
        (["de5cnew00"], {"action": "close", "disposition": "meh"}, "--disposition"),
        (["de5cnew00"], {"action": "note", "note": " "}, "note: say something"),
        (["de5cnew0"], {"action": "reopen"}, "begins several ids"),
        (["de5cnew00", "nope"], {"action": "reopen"}, "no alert begins with 'nope'"),
        (["a"] * 501, {"action": "reopen"}, "at most 500"),
    ],
)
def test_what_cannot_be_meant_is_refused_and_nothing_is_said(
    desk: Desk, ids: list[str], word: dict[str, Any], problem: str
) -> None:
    desk.store()
    before = len(desk.read)
    with pytest.raises(ConfigError, match=problem):
        desk.say(ids, **word)
    desk.store()
    assert len(desk.read) == before


def test_without_a_broker_it_says_where_words_go(desk: Desk) -> None:
    settings = msgspec.structs.replace(desk.settings, kafka=KafkaSettings(bootstrap="127.0.0.1:9"))
    word = Word(action="reopen")
    with pytest.raises(RetryLater, match=r"goes through agent\.dispositions; start `tacho up`"):
        run_say(["de5cnew00"], word, settings, sink=io.StringIO(), sleep=lambda _s: None)
