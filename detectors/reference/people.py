"""What is known of people and services, and of the credentials they and agents were issued."""

from collections.abc import Callable

import polars as pl

from tachograph.detectors.reference.entries import Content
from tachograph.detectors.reference.joins import TIME, ByTime, ByValue, Join, Values, items
from tachograph.detectors.reference.names import Index, allowed, every
from tachograph.detectors.reference.tools import ENTITLEMENT

_FLAG = pl.Boolean()
_TEXTS = pl.List(pl.String)
# Who is meant → the column that names them.
_WHO = {"principal": "principal_id", "actor": "change_actor", "approver": "approval_actor"}


def _people(content: Content) -> Callable[..., Values] | None:
    if not content.people:
        return None
    index = Index((person.tenant, person.id, person) for person in content.people)

    def known(tenant: str | None, name: str | None) -> Values:
        person = index.find(tenant, name)
        if person is None:
            unknown = False if name and index.speaks_of(tenant) else None
            return unknown, *(None,) * 4
        return True, person.roles, person.entitlements, person.left, person.trained_until

    return known


def _any_people(content: Content) -> bool:
    return bool(content.people)


def _person(who: str, column: str) -> tuple[Join, Join]:
    rights, left, trained = (f"~{who}_{fact}" for fact in ("rights", "left", "trained"))
    time = pl.col("event_time")
    facts = ByValue(
        {f"{who}_known": _FLAG, f"{who}_roles": _TEXTS, rights: _TEXTS, left: TIME,
         trained: TIME},
        ("tenant", column),
        _people,
        when=(column,),
    )  # fmt: skip
    timed = ByTime(
        {f"{who}_left": _FLAG, f"{who}_trained": _FLAG},
        (f"{who}_known", left, trained, "event_time"),
        (
            pl.when(f"{who}_known")
            .then((time >= pl.col(left)).fill_null(value=False))
            .alias(f"{who}_left"),
            (time < pl.col(trained)).alias(f"{who}_trained"),
        ),
        _any_people,
    )
    return facts, timed


def _entitled(content: Content) -> Callable[..., Values] | None:
    """Whether the principal has the right that the tool asks for, by the register or, where it
    says nothing of the principal, by what the producer says.
    """
    if not any(tool.entitlement for tool in content.tools):
        return None

    def entitled(needed: str | None, registered: str | None, claimed: str | None) -> Values:
        rights = claimed if registered is None else registered
        return (None if needed is None or rights is None else needed in items(rights),)

    return entitled


def _credentials(content: Content) -> Callable[..., Values] | None:
    """A credential is found by its id or by its fingerprint; it was issued to agents."""
    if not content.credentials:
        return None
    index = Index((one.tenant, one.id, one) for one in content.credentials)

    def known(
        tenant: str | None,
        name: str | None,
        fingerprint: str | None,
        scopes: str | None,
        *agent: str | None,
    ) -> Values:
        if not (name or fingerprint):
            return (None,) * 4
        found = index.find(tenant, name) or index.find(tenant, fingerprint)
        if found is None:
            unknown = False if index.speaks_of(tenant) else None
            return unknown, None, None, None
        ask = allowed(found.agents)
        answers = [answer for one in agent if (answer := ask(one)) is not None]
        issued = any(answers) if answers else None
        return True, issued, every(map(allowed(found.scopes), items(scopes))), found.expires

    return known


_CREDENTIAL_EXPIRES = "~credential_expires"

JOINS: tuple[Join, ...] = (
    *(join for who, column in _WHO.items() for join in _person(who, column)),
    ByValue(
        {"principal_entitled": _FLAG},
        (ENTITLEMENT, "~principal_rights", "principal_entitlements"),
        _entitled,
        when=(ENTITLEMENT,),
    ),
    ByValue(
        {"credential_known": _FLAG, "credential_issued": _FLAG, "credential_scopes_allowed": _FLAG,
         _CREDENTIAL_EXPIRES: TIME},
        ("tenant", "credential_id", "credential_fingerprint", "credential_scopes", "register_id",
         "agent_id", "agent_name"),
        _credentials,
        when=("credential_id", "credential_fingerprint"),
    ),
    ByTime(
        {"credential_expired": _FLAG},
        (_CREDENTIAL_EXPIRES, "event_time"),
        ((pl.col("event_time") >= pl.col(_CREDENTIAL_EXPIRES)).alias("credential_expired"),),
        lambda content: bool(content.credentials),
    ),
)  # fmt: skip
