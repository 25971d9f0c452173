"""The alerts of one partition of agent.incident_members, and what has to be said of them: which
incident each belongs to, and what the incidents are.

Pure, and a function of the newest member of each alert. What was said is not remembered across a
start: a member carries the incident that its alert names, so that what differs from it is said, and
said again as long as it differs; who hears it twice learns nothing new.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta

import msgspec

from tachograph.pipeline.triage.joining import Joined, joined
from tachograph.pipeline.triage.policy import rank
from tachograph.schemas.records import Incident, IncidentLink, IncidentMember

# No alert comes to an incident that has been quiet for an hour; triage keeps its own this long too.
KEEP = timedelta(hours=12)
MAX_MEMBERS = 20_000
MAX_NAMES = 200
MAX_JOINS = 30
MAX_REASONS = 5

# Alerts of replayed actions are no part of what happens now.
Fleet = tuple[str, bool]


class Held(msgspec.Struct, frozen=True):
    """The newest member of an alert, and where in the log it is."""

    member: IncidentMember
    offset: int


class News(msgspec.Struct):
    """What has to be said."""

    links: list[IncidentLink] = []
    incidents: list[Incident] = []


class Gathering:
    """Members of the tenants of one partition."""

    def __init__(self, *, most: int = MAX_MEMBERS) -> None:
        self._held: dict[str, Held] = {}
        self._most = most
        self._changed: set[Fleet] = set()
        self._offset = -1
        self._said: dict[str, tuple[str, list[str]]] = {}
        self._told: dict[str, bytes] = {}
        self.evicted = 0

    def __len__(self) -> int:
        return len(self._held)

    def take(self, member: IncidentMember, offset: int) -> None:
        """Learn of an alert's newest state."""
        self._offset = max(self._offset, offset)
        held = self._held.get(member.alert_id)
        if held and held.member.revision > member.revision:
            return
        self._held[member.alert_id] = Held(member, offset)
        if held is None or _plain(held.member) != _plain(member):
            self._changed.add((member.tenant, member.replay))
        if self._said.get(member.alert_id) == (member.incident_id, member.incident_reasons):
            del self._said[member.alert_id]

    def floor(self) -> int | None:
        """The oldest record that a new start has to read again; None: none."""
        return min((held.offset for held in self._held.values()), default=None)

    def news(self) -> News:
        """What has to be said since the last time."""
        told = News()
        for fleet in sorted(self._changed):
            members = [h.member for h in self._held.values() if _fleet(h.member) == fleet]
            found = joined(one for one in members if one.status == "open")
            # What the policy closed, or was taken back, joins nobody.
            found += [_alone(one) for one in members if one.status != "open"]
            self._say(self._kept(found), told)
        self._changed.clear()
        return told

    def _kept(self, found: list[Joined]) -> list[Joined]:
        """Without the incidents that are over, and the longest quiet ones where there are too many:
        whole incidents go, so that those that stay are what they were.
        """
        ordered = sorted(found, key=_last_seen)
        newest, spare = _last_seen(ordered[-1]), len(self._held) - self._most
        kept = []
        for one in ordered:
            over = _last_seen(one) + KEEP < newest
            if not over and spare <= 0:
                kept.append(one)
                continue
            spare -= len(one.members)
            self.evicted += 0 if over else len(one.members)
            self._forget(one)
        return kept

    def _forget(self, gone: Joined) -> None:
        self._told.pop(gone.incident_id, None)
        for member in gone.members:
            del self._held[member.alert_id]
            self._said.pop(member.alert_id, None)

    def _say(self, found: list[Joined], told: News) -> None:
        ids = {one.incident_id for one in found}
        for one in found:
            gone = one.members[0].status == "retracted"
            what = _ended(one.members[0], self._offset) if gone else _incident(one, self._offset)
            self._tell(what, told)
            for member in one.members:
                told.links += self._link(member, one)
                if member.incident_id not in ids and member.incident_id in self._held:
                    old = self._held[member.incident_id].member
                    self._tell(_ended(old, self._offset, one.incident_id), told)

    def _link(self, member: IncidentMember, found: Joined) -> Iterator[IncidentLink]:
        """What the alert has to be told, unless it knows it, or was told and has not answered."""
        reasons = found.reasons[member.alert_id][:MAX_REASONS]
        due = (found.incident_id, reasons)
        knows = (member.incident_id, member.incident_reasons)
        if due == knows or self._said.get(member.alert_id) == due:
            return
        if len(found.members) == 1 and member.incident_id not in self._held:
            return  # its incident was forgotten: the alert stays what it was
        self._said[member.alert_id] = due
        yield IncidentLink(
            alert_id=member.alert_id,
            revision=self._offset,
            tenant=member.tenant,
            entity=member.entity,
            bucket_start=member.bucket_start,
            incident_id=found.incident_id,
            reasons=reasons,
        )

    def _tell(self, incident: Incident, told: News) -> None:
        """Say what an incident is, where it is not what it was."""
        content = msgspec.json.encode(msgspec.structs.replace(incident, revision=0))
        if self._told.get(incident.incident_id) != content:
            self._told[incident.incident_id] = content
            told.incidents.append(incident)


def _alone(member: IncidentMember) -> Joined:
    return Joined([member], [], {member.alert_id: []})


def _plain(member: IncidentMember) -> IncidentMember:
    """Without what changes nothing for the others."""
    return msgspec.structs.replace(member, revision=0)


def _fleet(member: IncidentMember) -> Fleet:
    return member.tenant, member.replay


def _last_seen(found: Joined) -> datetime:
    return max(one.last_seen for one in found.members)


def _incident(found: Joined, revision: int) -> Incident:
    members = found.members
    gravest = max(members, key=lambda one: rank(one.severity))
    last = _last_seen(found)
    agents = sorted({one.agent_id for one in members})
    return Incident(
        incident_id=found.incident_id,
        revision=revision,
        tenant=gravest.tenant,
        status="open",
        title=gravest.title,
        severity=gravest.severity,
        risk=sum(_decayed(one, last) for one in members),
        first_seen=members[0].first_seen,
        last_seen=last,
        updated_at=max(one.updated_at for one in members),
        alert_count=len(members),
        alert_ids=[one.alert_id for one in members],
        agent_count=len(agents),
        agents=agents[:MAX_NAMES],
        principals=sorted({one.principal_id for one in members if one.principal_id})[:MAX_NAMES],
        rule_ids=sorted({rule for one in members for rule in one.rule_ids})[:MAX_NAMES],
        joins=found.joins[:MAX_JOINS],
        replay=gravest.replay,
    )


def _decayed(member: IncidentMember, now: datetime) -> int:
    """Whole thousandths, so that a sum does not depend on its order."""
    age_s = max(0.0, (now - member.last_seen).total_seconds())
    return int(member.risk * 2.0 ** (-age_s / member.half_life_s))


def _ended(head: IncidentMember, revision: int, into: str | None = None) -> Incident:
    """What stands where an incident was."""
    return Incident(
        incident_id=head.alert_id,
        revision=revision,
        tenant=head.tenant,
        status="merged" if into else "retracted",
        merged_into=into,
        first_seen=head.first_seen,
        last_seen=head.last_seen,
        updated_at=head.updated_at,
        replay=head.replay,
    )
