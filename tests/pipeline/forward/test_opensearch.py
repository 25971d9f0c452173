"""A real OpenSearch takes the templates we ship and every alert, however hostile, once."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from infra.opensearch.node import OpenSearch, missing
from tachograph.pipeline.forward.destination import Destination, Outgoing, Secret, types
from tachograph.pipeline.forward.formats import ecs
from tachograph.schemas.alert import Alert
from tests.pipeline.forward import alerts
from tests.waiting import WAIT_S, eventually

REASON = missing()
pytestmark = pytest.mark.skipif(REASON is not None, reason=REASON or "")

SHIPPED = Path(__file__).parents[3] / "infra" / "siem" / "elastic"
INDEX = "tacho-alerts"


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A node with both templates, asked as a client asks."""
    with OpenSearch(tmp_path_factory.mktemp("opensearch")) as node:
        eventually(node.ready, "OpenSearch answers", within_s=600.0)
        with httpx.Client(base_url=node.url, timeout=WAIT_S) as client:
            for name in ("data-stream-template", "index-template"):
                template = json.loads((SHIPPED / f"{name}.json").read_text())
                client.put(f"/_index_template/{name}", json=template).raise_for_status()
            yield client


def opened(node: httpx.Client, **options: Any) -> Destination:
    """Our sender; the node asks nobody who they are."""
    kind = types()["opensearch"]
    given = {"auth": "basic", "username": "tacho", "deadline_s": 25.0, **options}
    return kind.open(kind.Options(url=str(node.base_url), **given), Secret("a password"))


def outgoing(alert: Alert) -> Outgoing:
    return Outgoing(f"{alert.alert_id}:{alert.revision}", ecs.render(alert), ecs.CONTENT_TYPE)


def documents(node: httpx.Client, index: str) -> dict[str, dict[str, Any]]:
    """What is found in an index, by id."""
    node.post(f"/{index}/_refresh").raise_for_status()
    found = node.get(f"/{index}/_search", params={"size": 500}).raise_for_status().json()
    return {hit["_id"]: hit["_source"] for hit in found["hits"]["hits"]}


def test_the_data_stream_takes_every_alert_once_and_health_too(node: httpx.Client) -> None:
    hostile = [alerts.hostile(text) for text in alerts.HOSTILE.values()]
    sent = [*alerts.examples().values(), *hostile, alerts.huge()]
    # Hostile ones share an id: each is a revision of its own here.
    records = [
        Outgoing(f"{number:032x}:1", ecs.render(alert), ecs.CONTENT_TYPE)
        for number, alert in enumerate(sent)
    ]
    health = alerts.health_examples().values()
    records += [
        Outgoing(f"health:{at}", ecs.render_health(one), "") for at, one in enumerate(health)
    ]
    destination = opened(node)
    assert destination.deliver(records) == f"{len(records)} created, 0 there already"
    assert destination.deliver(records) == f"0 created, {len(records)} there already"
    destination.close()
    kept = documents(node, ecs.DATA_STREAM)
    assert {key: json.dumps(one) for key, one in kept.items()} == {
        record.key: json.dumps(json.loads(record.body)) for record in records
    }


def test_what_analysts_search_by_is_found(node: httpx.Client) -> None:
    alert = alerts.examples()["secret_sent_outside"]
    destination = opened(node, index=INDEX)
    destination.deliver([outgoing(alert)])
    destination.close()
    node.post(f"/{INDEX}/_refresh").raise_for_status()
    for field, value in {
        "event.id": alert.alert_id,
        "rule.id": alert.rules[0].rule_id,
        "tacho.alert.status": alert.status,
        "user.name": alert.principal_id,
        "threat.technique.id": "AML.T0051",
    }.items():
        query = {"query": {"term": {field: value}}}
        found = node.post(f"/{INDEX}/_search", json=query).raise_for_status().json()
        assert alert.alert_id in [hit["_id"] for hit in found["hits"]["hits"]], field


def test_in_an_index_a_newer_revision_takes_the_place_of_an_older(node: httpx.Client) -> None:
    destination = opened(node, index=INDEX)
    for revision, status in ((5, "open"), (7, "closed"), (6, "open"), (7, "closed")):
        destination.deliver([outgoing(alerts.alert(1, revision=revision, status=status))])
    destination.close()
    kept = documents(node, INDEX)[f"{1:032x}"]
    assert (kept["event"]["sequence"], kept["tacho"]["alert"]["status"]) == (7, "closed")
