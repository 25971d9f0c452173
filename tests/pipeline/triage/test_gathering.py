"""What is said of alerts comes to the same, however often who joins them dies and starts again."""

from datetime import timedelta
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from tachograph.pipeline.triage import gathering
from tachograph.pipeline.triage.desk import Arrival, judge
from tachograph.pipeline.triage.entry import Entry
from tachograph.pipeline.triage.gathering import Gathering, News
from tachograph.pipeline.triage.joining import FEW_AGENTS, joined
from tachograph.pipeline.triage.policy import Policy
from tachograph.schemas.alert import Alert, Observable
from tachograph.schemas.codec import encode
from tachograph.schemas.records import Incident, IncidentLink, IncidentMember
from tests.pipeline.triage import groups as make
from tests.pipeline.triage.members import member


class World:
    """The log of members, alerts that hear of their incident, and incidents as they are shown."""

    def __init__(self) -> None:
        self.log: list[IncidentMember] = []
        self.newest: dict[str, IncidentMember] = {}
        self.links: dict[str, IncidentLink] = {}
        self.incidents: dict[str, Incident] = {}
        self.committed = 0
        self.start()

    def start(self) -> None:
        """Whoever joins starts (again), from what is committed."""
        self.gathering = Gathering()
        self.read = self.committed

    def say(self, one: IncidentMember) -> None:
        """Triage writes an alert's state, with the incident that it knows."""
        link = self.links.get(one.alert_id)
        told: dict[str, Any] = {
            "revision": len(self.log),
            "incident_id": link.incident_id if link else one.alert_id,
            "incident_reasons": link.reasons if link else [],
        }
        self.newest[one.alert_id] = msgspec.structs.replace(one, **told)
        self.log.append(self.newest[one.alert_id])

    def join(self, *, commit: bool = True) -> News:
        """One round of joining; its links come to the alerts, which answer."""
        for offset in range(self.read, len(self.log)):
            self.gathering.take(self.log[offset], offset)
        self.read = len(self.log)
        news = self.gathering.news()
        for incident in news.incidents:
            old = self.incidents.get(incident.incident_id)
            if old is None or old.revision <= incident.revision:
                self.incidents[incident.incident_id] = incident
        for link in news.links:
            known = self.links.get(link.alert_id)
            if known is None or known.revision < link.revision:
                self.links[link.alert_id] = link
                self.say(self.newest[link.alert_id])
        floor = self.gathering.floor()
        if commit and not news.links:
            self.committed = self.read if floor is None else min(floor, self.read)
        return news

    def settle(self) -> None:
        """Until there is nothing to say. An alert and its answer: no third round is news."""
        for _ in range(4):
            if not self.join().links:
                return
        raise AssertionError("it never comes to rest")


def _agreed(world: World) -> None:
    alerts = [one for one in world.newest.values() if one.status == "open"]
    wanted = {
        one.alert_id: (found.incident_id, found.reasons[one.alert_id][: gathering.MAX_REASONS])
        for found in joined(alerts)
        for one in found.members
    }
    assert {one.alert_id: (one.incident_id, one.incident_reasons) for one in alerts} == wanted
    shown = {key for key, one in world.incidents.items() if one.status == "open"}
    assert shown == {incident_id for incident_id, _ in wanted.values()}


STEPS = st.lists(
    st.tuples(
        st.integers(0, 7),  # alert
        st.sampled_from(("x", "y", "z", "")),  # what it rests on
        st.sampled_from(("open", "open", "open", "retracted")),
        st.sampled_from(("", "join", "join", "die")),
    ),
    min_size=1,
    max_size=25,
)


@settings(max_examples=150, deadline=None)
@given(steps=STEPS)
def test_every_alert_learns_its_incident_through_deaths_and_changes(
    steps: list[tuple[int, str, str, str]],
) -> None:
    world = World()
    for number, shares, status, then in steps:
        shared = {("content", shares)} if shares else set()
        world.say(
            member(f"a{number}", agent=f"agent-{number}", first_us=number, shared=shared,
                   status=status)
        )  # fmt: skip
        if then == "join":
            world.join()
        elif then == "die":
            world.join(commit=False)
            world.start()
    world.start()
    world.settle()
    _agreed(world)
    assert not world.join().incidents


def test_two_incidents_that_grow_together_become_the_earlier_one() -> None:
    world = World()
    world.say(member("a", agent="x", shared={("content", "p")}))
    world.say(member("b", agent="y", first_us=1, shared={("content", "q")}))
    world.settle()
    assert {key: one.status for key, one in world.incidents.items()} == {"a": "open", "b": "open"}
    world.say(member("c", agent="z", first_us=2, shared={("content", "p"), ("content", "q")}))
    world.settle()
    assert {one.incident_id for one in world.newest.values()} == {"a"}
    assert world.incidents["b"].status == "merged"
    assert world.incidents["b"].merged_into == "a"
    assert world.incidents["a"].alert_ids == ["a", "b", "c"]
    kinds = [(join.kind, join.value, join.alerts) for join in world.incidents["a"].joins]
    assert kinds == [("content", "p", 2), ("content", "q", 2)]


def test_an_incident_whose_value_turns_out_to_be_common_is_taken_apart() -> None:
    world = World()
    fleet = [
        member(f"a{n}", agent=f"x{n}", first_us=n, rules={f"r{n}"}, shared={("content", "h")})
        for n in range(FEW_AGENTS + 1)
    ]
    for one in fleet[:FEW_AGENTS]:
        world.say(one)
    world.settle()
    assert {one.incident_id for one in world.newest.values()} == {"a0"}
    world.say(fleet[FEW_AGENTS])
    world.settle()
    assert all(one.incident_id == name for name, one in world.newest.items())
    assert {name: one.alert_count for name, one in world.incidents.items()} == {
        one.alert_id: 1 for one in fleet
    }


def test_a_replayed_alert_joins_no_live_one() -> None:
    world = World()
    world.say(member("a", agent="x", shared={("content", "p")}))
    world.say(member("b", agent="x", shared={("content", "p")}, replay=True))
    world.settle()
    assert world.newest["b"].incident_id == "b"


def test_whole_incidents_are_forgotten_when_they_are_over_or_too_many() -> None:
    held = Gathering(most=3)
    long = int(gathering.KEEP / timedelta(microseconds=1)) + 1
    held.take(member("a", agent="x"), 0)
    held.take(member("b", agent="x", first_us=1), 1)
    held.news()
    assert held.floor() == 0
    held.take(member("c", agent="y", first_us=long + 10), 2)
    held.news()
    assert (len(held), held.floor(), held.evicted) == (1, 2, 0)
    for number in range(3):
        held.take(member(f"d{number}", agent="z", first_us=long + 20 + number), 3 + number)
    held.news()
    assert (len(held), held.floor(), held.evicted) == (3, 3, 1)


def test_risk_of_an_incident_halves_as_its_alerts_age() -> None:
    world = World()
    world.say(member("a", agent="x", risk=8_000))
    world.say(member("b", agent="x", first_us=900_000_000, risk=1_000))
    world.settle()
    assert world.incidents["a"].risk == 5_000


class Desk:
    """Triage's judgement without Kafka: entries, and the newest alert of each."""

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        self.alerts: dict[str, Alert] = {}
        self._offset = 0

    def judge(self, *records: Any) -> list[IncidentMember]:
        names = {"SignalGroup": "signal_group", "IncidentLink": "incident_link",
                 "Context": "context"}  # fmt: skip
        arrivals = []
        for record in records:
            kind = names[type(record).__name__]
            arrivals.append(
                Arrival(partition=0, offset=self._offset, at_ms=1, kind=kind,
                        payload=encode(record))
            )  # fmt: skip
            self._offset += 1
        outcome = judge(arrivals, self.entries.get, Policy())
        assert not outcome.refusals
        self.entries |= outcome.entries
        self.alerts |= {alert.alert_id: alert for alert in outcome.alerts}
        return outcome.members


def _swarm(count: int) -> list[Any]:
    """The same mail came to all of them, and each sent something to the same place."""
    found = []
    for number in range(count):
        agent = f"agent-{number:03d}"
        sent = make.signal(
            "exfil", "high", number / 10, entity=agent, agent_id=agent, agent_name=agent,
            principal_id=f"p-{number}", session_id=f"s-{number}",
            observables=[Observable(type="domain", value="paste.example")],
        )  # fmt: skip
        found.append(
            make.group("exfil", samples=[sent], entity=agent, group_id=f"group-{agent}",
                       first_seen=sent.event_time, last_seen=sent.event_time)
        )  # fmt: skip
    return found


def test_a_swarm_of_a_hundred_agents_is_one_incident_in_every_alert() -> None:
    desk, held = Desk(), Gathering()
    offset = 0
    due = desk.judge(*_swarm(100))
    while due:
        for one in due:
            held.take(one, offset)
            offset += 1
        due = desk.judge(*held.news().links)
    assert len(desk.alerts) == 100
    [incident_id] = {alert.incident_id for alert in desk.alerts.values()}
    assert incident_id in desk.alerts
    reasons = {reason for alert in desk.alerts.values() for reason in alert.incident_reasons}
    assert reasons == {"target paste.example (exfil)"}


def test_an_alert_alone_is_an_incident_by_itself_and_nobody_has_to_say_so() -> None:
    desk, held = Desk(), Gathering()
    [one] = desk.judge(make.group("exfil"))
    held.take(one, 0)
    news = held.news()
    assert news.links == []
    assert [incident.alert_ids for incident in news.incidents] == [[one.alert_id]]
    assert desk.alerts[one.alert_id].incident_id == one.alert_id
