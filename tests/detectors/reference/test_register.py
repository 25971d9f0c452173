"""The register of agents: what is allowed, what is not, and what nobody knows."""

from typing import Any

import pytest

from tachograph.detectors.reference.reference import of_tables
from tests.detectors.reference.known import joined, said

DESK: dict[str, Any] = {
    "id": "helpdesk",
    "names": ["Help desk"],
    "services": ["desk-*"],
    "owner": "support",
    "purpose": "Answers questions of customers",
    "risk_tier": "high",
    "autonomy": "supervised",
    "tools": ["search_*", "tickets/update"],
    "destinations": ["*.example.org", "example.org"],
    "data_classes": ["public", "internal"],
    "providers": ["openai"],
    "regions": ["eu*"],
    "paths": ["/srv/desk"],
    "peers": [],
}


def flag(name: str, action: dict[str, Any], agent: dict[str, Any] = DESK) -> bool | None:
    found: bool | None = said({"agent_id": "helpdesk", **action}, agents=[agent]).get(name)
    return found


def test_a_registered_agent_is_known_with_all_that_is_said_of_it() -> None:
    found = said({"agent_id": "HelpDesk"}, agents=[DESK])
    assert found["register_known"] is True
    assert found["register_id"] == "helpdesk"
    assert found["register_owner"] == "support"
    assert found["register_risk_tier"] == "high"
    assert found["register_autonomy"] == "supervised"


def test_an_agent_of_another_id_is_unknown_and_nothing_it_does_is_judged() -> None:
    found = said({"agent_id": "stranger", "tool_name": "search_kb"}, agents=[DESK])
    assert found["register_known"] is False
    assert not [name for name in found if name.startswith("register_") and name.endswith("allowed")]


def test_without_a_register_nothing_is_known_and_nobody_is_unknown() -> None:
    assert "register_known" not in said({"agent_id": "helpdesk"})


def test_an_action_that_names_no_agent_is_its_services_or_nobodys() -> None:
    assert said({"service_name": "desk-eu"}, agents=[DESK])["register_id"] == "helpdesk"
    assert "register_known" not in said({"service_name": "billing"}, agents=[DESK])
    # An agent that is named does not borrow the entry of the service it runs in.
    named = said({"service_name": "desk-eu", "agent_id": "stranger"}, agents=[DESK])
    assert named["register_known"] is False


def test_another_tenants_register_says_nothing() -> None:
    agent = {**DESK, "tenant": "acme"}
    assert said({"agent_id": "helpdesk", "tenant": "acme"}, agents=[agent])["register_known"]
    assert "register_known" not in said({"agent_id": "helpdesk", "tenant": "other"}, agents=[agent])


def test_a_tenants_own_entry_goes_before_that_of_all_tenants() -> None:
    agents = [{"id": "a*", "owner": "all"}, {"id": "a*", "owner": "own", "tenant": "acme"}]
    assert said({"agent_id": "a1", "tenant": "acme"}, agents=agents)["register_owner"] == "own"
    assert said({"agent_id": "a1", "tenant": "b"}, agents=agents)["register_owner"] == "all"


def test_an_exact_id_goes_before_a_pattern() -> None:
    agents = [{"id": "a*", "owner": "many"}, {"id": "a1", "owner": "one"}]
    assert said({"agent_id": "a1"}, agents=agents)["register_owner"] == "one"


@pytest.mark.parametrize(
    ("name", "action", "verdict"),
    [
        ("register_tool_allowed", {"tool_name": "search_kb"}, True),
        ("register_tool_allowed", {"tool_name": "Search_KB"}, True),
        ("register_tool_allowed", {"tool_name": "delete_user"}, False),
        ("register_tool_allowed", {"tool_name": "update", "tool_server": "tickets"}, True),
        ("register_tool_allowed", {"tool_name": "update", "tool_server": "payroll"}, False),
        ("register_tool_allowed", {}, None),
        ("register_destination_allowed", {"target_domain": "api.example.org"}, True),
        ("register_destination_allowed", {"target_domain": "example.org.evil.net"}, False),
        ("register_destination_allowed", {"recipients": ["Ann <ann@example.org>"]}, True),
        (
            "register_destination_allowed",
            {"recipients": ["ann@example.org", "eve@example.net"]},
            False,
        ),
        ("register_destination_allowed", {}, None),
        ("register_data_class_allowed", {"content_labels": ["public"]}, True),
        ("register_data_class_allowed", {"content_labels": ["public", "pii"]}, False),
        ("register_data_class_allowed", {"content_labels": []}, None),
        ("register_provider_allowed", {"model_base_url": "https://api.openai.com/v1"}, True),
        ("register_provider_allowed", {"model_provider": "deepseek"}, False),
        # What is called says more than what is claimed.
        (
            "register_provider_allowed",
            {"model_provider": "openai", "model_base_url": "https://api.deepseek.com"},
            False,
        ),
        ("register_region_allowed", {"model_region": "eu-central-1"}, True),
        (
            "register_region_allowed",
            {"model_base_url": "https://bedrock-runtime.us-east-1.amazonaws.com"},
            False,
        ),
        ("register_path_allowed", {"file_path": "/srv/desk/notes.md"}, True),
        ("register_path_allowed", {"file_path": "/srv/desk/../../etc/passwd"}, False),
        ("register_path_allowed", {"file_path": "/srv/desktop/x"}, False),
        ("register_path_allowed", {"file_path": "notes/today.md"}, True),
        ("register_path_allowed", {"file_path": "../x"}, False),
        ("register_path_allowed", {"file_path": "\\\\host\\share\\x"}, False),
        ("register_purpose_matches", {"agent_purpose": "answers  questions of customers"}, True),
        ("register_purpose_matches", {"agent_purpose": "Trades shares"}, False),
        # An empty list allows nothing; a list that is left out says nothing.
        ("register_peer_allowed", {"peer_agent_id": "planner"}, False),
        ("register_model_allowed", {"model_name": "any"}, None),
    ],
)
def test_what_an_agent_does_is_compared_with_what_it_was_approved_for(
    name: str, action: dict[str, Any], verdict: bool | None
) -> None:
    assert flag(name, action) is verdict


def test_an_entry_expires_with_the_end_of_its_day_by_the_time_of_the_action() -> None:
    reference = of_tables({"agents": [{**DESK, "expires": "1970-01-01"}]})
    rows = [
        {"agent_id": "helpdesk", "event_time": 86_399.0},
        {"agent_id": "helpdesk", "event_time": 86_400.0},
        {"agent_id": "stranger", "event_time": 86_400.0},
    ]
    assert joined(rows, reference)["register_expired"].to_list() == [False, True, None]


def test_a_registered_agent_without_an_end_is_not_expired() -> None:
    assert flag("register_expired", {}) is False


@pytest.mark.parametrize(
    ("control", "state", "approved"),
    [
        ("invocation-logging", "full", True),
        ("Invocation-Logging", "FULL", True),
        ("invocation-logging", "metadata", False),
        ("guardrail/pii", "monitor", False),
        ("guardrail/pii", "enforce", True),
        ("two-person-rule", "off", None),
        ("invocation-logging", None, None),
        (None, "off", None),
    ],
)
def test_a_control_is_approved_in_the_states_that_are_named_and_others_are_left_open(
    control: str | None, state: str | None, approved: bool | None
) -> None:
    agent = {"id": "helpdesk", "controls": ["invocation-logging=full", "guardrail/*=enforce"]}
    action = {"control_id": control, "control_state": state}
    assert flag("register_control_approved", action, agent) is approved
    assert flag("register_control_approved", action, {"id": "helpdesk"}) is None
