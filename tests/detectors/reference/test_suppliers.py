"""Providers and the bill of materials: who is approved, and for what."""

from typing import Any

import pytest

from tests.detectors.reference.known import said

OPENAI = {"name": "openai", "approved": True, "regions": ["eu"], "data_classes": ["public"]}


def flags(prefix: str, action: dict[str, Any], **tables: Any) -> dict[str, Any]:
    return {name: value for name, value in said(action, **tables).items() if prefix in name}


@pytest.mark.parametrize(
    ("url", "name", "region"),
    [
        ("https://api.openai.com/v1/chat", "openai", None),
        ("https://eu.api.openai.com", "openai", "eu"),
        ("https://bedrock-runtime.us-east-1.amazonaws.com/model/x", "aws.bedrock", "us-east-1"),
        ("https://europe-west4-aiplatform.googleapis.com/v1", "gcp.vertex_ai", "europe-west4"),
        ("https://acme.openai.azure.com/openai", "azure.ai.openai", None),
    ],
)
def test_the_host_says_who_answers_and_where(url: str, name: str, region: str | None) -> None:
    found = said({"model_base_url": url})
    assert found["provider_name"] == name
    assert found.get("provider_region") == region


def test_a_provider_goes_by_one_name_whatever_it_is_called() -> None:
    assert said({"model_provider": "az.ai.openai"})["provider_name"] == "azure.ai.openai"
    assert said({"model_provider": "Bedrock"})["provider_name"] == "aws.bedrock"
    assert said({"model_provider": "In-House"})["provider_name"] == "in-house"


def test_nobody_is_disapproved_until_somebody_is_approved() -> None:
    assert "provider_approved" not in said({"model_provider": "deepseek"})
    providers = [OPENAI]
    assert said({"model_provider": "openai"}, providers=providers)["provider_approved"] is True
    for other in ("deepseek", "in-house"):
        assert said({"model_provider": other}, providers=providers)["provider_approved"] is False


def test_another_tenants_approvals_disapprove_nobody_here() -> None:
    action = {"model_provider": "deepseek", "tenant": "acme"}
    assert "provider_approved" not in said(action, providers=[{**OPENAI, "tenant": "other"}])


def test_a_known_provider_at_an_unknown_host_is_noticed() -> None:
    action = {"model_provider": "openai", "model_base_url": "https://openai.example.net"}
    assert said(action)["provider_endpoint_known"] is False
    action = {"model_provider": "openai", "model_base_url": "https://api.openai.com"}
    assert said(action)["provider_endpoint_known"] is True


def test_a_call_is_held_against_the_providers_terms() -> None:
    action = {"model_provider": "openai", "model_region": "us", "content_labels": ["public", "pii"]}
    found = flags("_allowed", action, providers=[OPENAI])
    assert found["provider_region_allowed"] is False
    assert found["provider_data_allowed"] is False
    assert "provider_model_allowed" not in found


BILL = [
    {"name": "left-pad", "type": "npm", "versions": ["1.3.*"], "licenses": ["mit"]},
    {"name": "acme/*", "type": "huggingface", "publishers": ["acme"]},
]


@pytest.mark.parametrize(
    ("action", "known", "approved"),
    [
        ({"artifact_name": "left-pad", "artifact_type": "node", "artifact_version": "1.3.7"},
         True, True),
        ({"artifact_name": "left-pad", "artifact_type": "npm", "artifact_version": "2"},
         True, False),
        ({"artifact_name": "right-pad", "artifact_type": "npm"}, False, False),
        ({"artifact_name": "acme/x", "artifact_type": "model", "artifact_publisher": "eve"},
         True, False),
        # A bill that lists no Python packages says nothing of them.
        ({"artifact_name": "requests", "artifact_type": "pip"}, None, None),
    ],
)  # fmt: skip
def test_an_artifact_is_what_the_bill_says_of_its_name_and_kind(
    action: dict[str, Any], known: bool | None, approved: bool | None
) -> None:
    found = said(action, artifacts=BILL)
    assert found.get("artifact_known") is known
    assert found.get("artifact_approved") is approved


def test_a_kind_of_artifact_has_one_name() -> None:
    assert said({"artifact_type": "Yarn", "artifact_name": "x"})["artifact_ecosystem"] == "npm"
    assert said({"dataset_id": "x"}, artifacts=[])["artifact_ecosystem"] == "dataset"
