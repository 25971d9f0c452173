"""Joining a batch gives every action what it would get alone."""

from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tachograph.detectors.reference import catalogue
from tachograph.detectors.reference.reference import of_tables, shipped
from tests.detectors.reference.known import joined

REFERENCE = of_tables(
    {
        "agents": [
            {"id": "a", "owner": "one", "tools": ["t*"], "destinations": ["x.org"],
             "data_classes": ["public"], "expires": "1970-01-02", "services": ["s"]},
            {"id": "b*", "tenant": "acme", "tools": [], "regions": ["eu"], "paths": ["/w"]},
        ],
        "tools": [
            {"name": "t1", "risk": "egress", "sensitivity": ["pii", "phi"], "entitlement": "pay"},
            {"name": "*", "server": "m", "trust": "untrusted", "definitions": ["h1"]},
        ],
        "sources": [{"name": "mail", "trust": "untrusted", "sensitivity": ["pii"]}],
        "providers": [{"name": "openai", "approved": True, "regions": ["eu"],
                       "data_classes": ["public"], "expires": "1970-01-02"}],
        "artifacts": [{"name": "left*", "type": "npm", "versions": ["1.*"]}],
        "credentials": [{"id": "k1", "agents": ["a"], "scopes": ["read"]}],
        "people": [{"id": "ann", "roles": ["admin"], "entitlements": ["pay"],
                    "left": "1970-01-02"}],
        "approvals": [{"id": "P1", "tools": ["t*"], "valid_until": "1970-01-01"}],
        "freezes": [{"id": "F1", "environments": ["prod"], "valid_from": "1970-01-02",
                     "valid_until": "1970-01-03"}],
        "budgets": [{"agent": "a", "usd_hour": 2, "tokens_day": 1000}],
        "canaries": [{"name": "deed", "values": ["canary-8d1f-77"]}],
        "indicators": [{"type": "domain", "value": "bad.net", "valid_from": "1970-01-01T12:00:00Z"},
                       {"type": "ip", "value": "10.0.0.0/8", "tenant": "acme"}],
    }
)  # fmt: skip


def one_of(*values: Any) -> st.SearchStrategy[Any]:
    return st.sampled_from([None, *values])


ACTION = st.fixed_dictionaries(
    {"event_time": st.integers(0, 3 * 86_400), "tenant": one_of("acme", "default")},
    optional={
        "kind": one_of("tool_call", "retrieval", "completion", "http"),
        "agent_id": one_of("a", "b1", "zz", ""),
        "service_name": one_of("s", "other"),
        "tool_name": one_of("t1", "send_mail", "read_inbox"),
        "tool_server": one_of("m", "n"),
        "tool_definition_hash": one_of("h1", "h2"),
        "tool_result": one_of("ok", "here: canary-8d1f-77"),
        "tool_args": one_of('{"a": "CANARY-8d1f-77"}', "{}"),
        "tool_risk": one_of("read", "egress"),
        "content_source": one_of("mail", "web"),
        "content_labels": one_of([], ["public"], ["public", "pii"], [None, "pii"]),
        "content_urls": one_of(["https://a.bad.net/x", "https://ok.net"], ["https://ok.net"]),
        "target_domain": one_of("x.org", "bad.net", "api.openai.com"),
        "target_ip": one_of("10.1.2.3", "11.1.2.3", "::1"),
        "recipients": one_of(["ann@x.org"], ["ann@x.org", "eve@bad.net"]),
        "model_base_url": one_of("https://eu.api.openai.com/v1"),
        "model_region": one_of("eu", "us"),
        "file_path": one_of("/w/x", "/w/../x"),
        "artifact_name": one_of("left-pad", "right-pad"),
        "artifact_type": one_of("npm", "pip"),
        "artifact_version": one_of("1.2", "2.0"),
        "credential_id": one_of("k1", "k2"),
        "credential_scopes": one_of(["read"], ["read", "write"]),
        "principal_id": one_of("ann", "bob"),
        "principal_entitlements": one_of(["pay"], []),
        "target_env": one_of("prod", "dev"),
        "usage_cost_usd": one_of(0.5, 0.0),
        "usage_input_tokens": one_of(10),
    },
)


@settings(max_examples=25, deadline=None)
@given(st.lists(ACTION, min_size=1, max_size=12))
def test_each_action_gets_the_same_alone_and_in_a_batch(actions: list[dict[str, Any]]) -> None:
    wanted = [*catalogue.COLUMNS, "tool_risk", "content_trust", "canary_id"]
    together = joined(actions, REFERENCE, wanted).select(wanted)
    alone = [joined([action], REFERENCE, wanted).select(wanted) for action in actions]
    assert together.equals(pl.concat(alone), null_equal=True)
    assert dict(together.schema).items() >= catalogue.COLUMNS.items()


@pytest.mark.parametrize("column", sorted(catalogue.COLUMNS))
def test_a_column_can_be_asked_for_alone(column: str) -> None:
    action = {"agent_id": "a", "tool_name": "t1", "target_domain": "bad.net", "kind": "tool_call"}
    every = joined([action], REFERENCE)[column]
    assert joined([action], REFERENCE, [column])[column].equals(every, null_equal=True)


def test_only_what_is_asked_for_is_joined() -> None:
    found = joined([{"agent_id": "a", "tool_name": "t1"}], REFERENCE, ["freeze_active"])
    unasked = {"canary_name", "indicator_value", "credential_known", "budget_usd_hour"}
    assert unasked.isdisjoint(found.columns)
    assert "freeze_active" in found.columns


def test_without_reference_data_columns_are_there_and_empty() -> None:
    found = joined([{"agent_id": "a", "tool_name": "t1", "target_domain": "bad.net"}], shipped())
    empty = set(catalogue.COLUMNS) - {"tool_sink"}
    assert all(found[name].null_count() == 1 for name in empty)


def test_no_actions_are_no_fault() -> None:
    assert joined([{"agent_id": "a"}], REFERENCE).head(0).height == 0
