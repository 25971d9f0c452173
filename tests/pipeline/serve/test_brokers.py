"""Door and feed on the stand-in and on Apache Kafka: the same claims hold on both."""

import uuid
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from confluent_kafka import Producer

from tachograph.pipeline import door_headers
from tachograph.pipeline.secrets import operator_key
from tachograph.pipeline.settings import Settings
from tachograph.schemas.codec import encode

from .conftest import headers_of, open_door, records, wait_for_feed, written
from .test_door import NDJSON, lines
from .test_feed import alert, watching


@pytest.fixture
def settings(any_broker: Any, settings_for: Callable[..., Settings]) -> Settings:
    """Brokers are shared with other tests here: each test tells its own records by a tenant."""
    found = settings_for(any_broker.bootstrap_servers)
    return msgspec.structs.replace(found, tenant=f"t-{uuid.uuid4().hex[:8]}")


def test_an_accepted_action_stands_signed_under_its_agents_key(settings: Settings) -> None:
    with open_door(settings) as door, door.client() as client:
        wait_for_feed(door)
        before = written(settings, "agent.raw")
        answer = client.post("/v1/actions", content=lines({}, {}), headers=NDJSON)
        assert answer.json() == {"accepted": 2}
    found = records(settings, "agent.raw", before + 1)
    key = f"{settings.tenant}/a-1".encode()
    [mine] = [record for record in found if record.key() == key]
    facts = door_headers.verify(operator_key(settings.home), mine.value() or b"", headers_of(mine))
    assert facts is not None
    assert facts.tenant == settings.tenant


def test_a_watcher_resumes_on_another_door_where_it_was(settings: Settings) -> None:
    producer = Producer({**settings.kafka.client_config(), "linger.ms": 0})

    def produce(*numbers: int) -> None:
        for number in numbers:
            value = encode(alert(number, tenant=settings.tenant))
            producer.produce("agent.alerts", value, key=str(number).encode())
        assert producer.flush(20) == 0

    with open_door(settings) as door:
        wait_for_feed(door)
        with watching(door, tenant=settings.tenant) as watcher:
            produce(1, 2, 3)
            assert sorted(watcher.numbers(3)) == [1, 2, 3]
            place = watcher.last_id
    produce(4, 5)
    with open_door(settings) as door:
        wait_for_feed(door)
        with watching(door, tenant=settings.tenant, last_id=place) as watcher:
            assert sorted(watcher.numbers(2)) == [4, 5]
            produce(6)
            assert watcher.numbers(1) == [6]
