"""Contract files, their examples, and the JSON Schemas that are exported from the structs."""

import json
from functools import cache
from typing import Any

import msgspec
import pytest
from jsonschema import Draft202012Validator

from tachograph.schemas import contracts, export
from tachograph.schemas.codec import InvalidRecord, canonical, decode, encode

TOPICS = {
    "agent.raw", "otlp_spans", "otlp_logs", "agent.dead_letters", "agent.actions", "agent.state",
    "agent.matches", "agent.signals", "agent.signal_groups", "agent.alerts", "agent.control",
    "agent.acks", "agent.dispositions", "agent.config", "agent.checkpoints", "agent.health",
    "agent.tree_heads",
}  # fmt: skip
RECORDS = {
    "action", "action_batch", "tick", "session_link", "match_batch", "context", "signal",
    "signal_group", "alert", "state_snapshot", "directive", "directive_ack", "capture_answer",
    "disposition", "activation", "content_chunk", "checkpoint", "health", "tree_head",
    "dead_letter",
}  # fmt: skip
OURS = sorted(export.ours())
VALID = [(record, name) for record in OURS for name in contracts.examples(record).valid]
INVALID = [(record, name) for record in OURS for name in contracts.examples(record).invalid]


def test_every_topic_of_the_design_has_a_contract() -> None:
    assert set(contracts.topics()) >= TOPICS


def test_every_record_of_the_design_has_a_contract() -> None:
    assert set(contracts.records()) >= RECORDS


@pytest.mark.parametrize("record", sorted(contracts.records()))
def test_every_record_has_valid_and_invalid_examples(record: str) -> None:
    found = contracts.examples(record)
    assert found.valid
    assert found.invalid


def test_only_raw_topics_hold_originals_and_they_are_kept_at_most_a_week() -> None:
    raw = {topic.topic for topic in contracts.topics().values() if topic.raw}
    assert raw == {"agent.raw", "otlp_spans", "otlp_logs", "agent.dead_letters"}
    for name in raw:
        topic = contracts.topics()[name]
        assert topic.timestamp_type == "LogAppendTime"
        assert topic.retention_hours is not None
        assert topic.retention_hours <= 7 * 24


def test_a_dead_letter_as_large_as_the_largest_raw_record_fits_its_topic() -> None:
    topics = contracts.topics()
    letters = topics["agent.dead_letters"].max_message_bytes
    largest = max(topic.max_message_bytes for topic in topics.values() if topic.raw and
                  topic.topic != "agent.dead_letters")  # fmt: skip
    assert largest * 4 / 3 < letters  # base64


def test_topics_that_triage_joins_by_key_have_as_many_partitions() -> None:
    topics = contracts.topics()
    joined = {name for name in topics if "signal_groups" in name or name.endswith("-changelog")}
    assert len({topics[name].partitions for name in joined | {"agent.alerts"}}) == 1


def test_a_compacted_topic_is_kept_for_ever_and_said_so_in_kafkas_words() -> None:
    config = contracts.topics()["agent.config"].config()
    assert config["cleanup.policy"] == "compact"
    assert config["retention.ms"] == "-1"
    assert contracts.topics()["agent.raw"].config()["retention.ms"] == str(24 * 3600 * 1000)


def test_a_record_on_several_topics_is_the_same_struct_and_version() -> None:
    for topic in contracts.topics().values():
        for contract in topic.records:
            first = contracts.records()[contract.record]
            assert (contract.struct, contract.version) == (first.struct, first.version)


def test_an_unknown_record_is_refused_by_name() -> None:
    with pytest.raises(LookupError, match="weather"):
        contracts.examples("weather")
    with pytest.raises(LookupError, match="weather"):
        contracts.topics()["agent.raw"].record("weather")


@pytest.mark.parametrize(("record", "name"), VALID)
def test_a_valid_example_decodes_and_round_trips(record: str, name: str) -> None:
    kind = contracts.records()[record].type
    value = decode(kind, contracts.examples(record).valid[name])
    assert decode(kind, encode(value)) == value
    assert decode(kind, canonical(value)) == value


@pytest.mark.parametrize(("record", "name"), INVALID)
def test_an_invalid_example_is_refused_with_a_reason(record: str, name: str) -> None:
    kind = contracts.records()[record].type
    with pytest.raises(InvalidRecord, match=r"\w"):
        decode(kind, contracts.examples(record).invalid[name])


@pytest.mark.parametrize(("record", "name"), VALID)
def test_a_field_of_a_newer_version_never_refuses_a_record(record: str, name: str) -> None:
    kind = contracts.records()[record].type
    payload = contracts.examples(record).valid[name]
    newer = json.loads(payload) | {"field_of_a_later_version": {"nested": [1, None]}}
    assert decode(kind, json.dumps(newer).encode()) == decode(kind, payload)


@pytest.mark.parametrize("record", OURS)
def test_every_field_says_what_it_means(record: str) -> None:
    for name, schema in _definition(json.loads(export.schema_of(record)))["properties"].items():
        assert schema.get("description") or "$ref" in schema or "anyOf" in schema, name


@pytest.mark.parametrize("record", OURS)
def test_the_committed_json_schema_is_in_step_with_the_struct(record: str) -> None:
    assert contracts.json_schema(record) == export.schema_of(record), (
        "run: python -m tachograph.schemas.export"
    )


@pytest.mark.parametrize(("record", "name"), VALID)
def test_a_valid_example_satisfies_the_exported_schema(record: str, name: str) -> None:
    _validator(record).validate(json.loads(contracts.examples(record).valid[name]))


def test_the_examples_tell_one_story_whose_ids_agree() -> None:
    groups = _story("signal_group", "secret_then_egress")
    signal = _story("signal", "sequence_secret_then_egress")
    alert = _story("alert", "secret_sent_outside")
    context = _story("context", "session_before_the_egress")
    assert groups["samples"] == [signal]
    assert context["group_id"] == groups["group_id"]
    assert signal["signal_id"] in alert["signal_ids"]
    assert set(signal["event_ids"]) <= set(alert["event_ids"])
    assert alert["state"]["last_actions"] == context["actions"]


@cache
def _validator(record: str) -> Draft202012Validator:
    """Of the exported schema, which is itself looked at once."""
    schema = json.loads(contracts.json_schema(record))
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def _story(record: str, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(contracts.examples(record).valid[name])
    return found


def _definition(schema: dict[str, Any]) -> dict[str, Any]:
    """The definition that the top of an exported schema points at."""
    name = schema["$ref"].rsplit("/", 1)[1]
    found: dict[str, Any] = schema["$defs"][name]
    return found


def test_a_broken_contract_file_names_itself() -> None:
    class File:
        name = "agent.odd.toml"

        def read_text(self, encoding: str) -> str:
            return f"# {encoding}\ntopic = 3"

    with pytest.raises(ValueError, match=r"agent\.odd\.toml"):
        contracts._topic(File())  # type: ignore[arg-type]


def test_contracts_are_immutable() -> None:
    with pytest.raises(AttributeError):
        contracts.topics()["agent.raw"].raw = False  # type: ignore[misc]
    assert msgspec.structs.asdict(contracts.topics()["agent.raw"])["raw"] is True
