"""Native actions: forms that are accepted, and what becomes of what cannot be used."""

import gzip
import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from tachograph.pipeline.normalize import limits, native
from tachograph.pipeline.normalize.core import Normalizer
from tachograph.schemas import contracts

from .conftest import action, record

Rows = Callable[..., list[dict[str, Any]]]


def only(rows: list[dict[str, Any]]) -> dict[str, Any]:
    [row] = rows
    return row


@pytest.mark.parametrize(
    "form",
    [
        {"tool_name": "bash", "tool_args": {"x": 1}},
        {"tool.name": "bash", "tool.args": {"x": 1}},
        {"tool": {"name": "bash", "args": {"x": 1}}},
    ],
)
def test_flat_dotted_and_nested_names_are_one_field(rows: Rows, form: dict[str, Any]) -> None:
    row = only(rows(action(**form)))
    assert (row["tool_name"], row["tool_args"]) == ("bash", '{"x":1}')


def test_one_object_an_array_and_ndjson_are_all_records(rows: Rows) -> None:
    one, two = action(sequence=1), action(sequence=2)
    lines = msgspec.json.encode(one) + b"\n\n" + msgspec.json.encode(two) + b"\n"
    for value in ([one, two], lines):
        assert [row["sequence"] for row in rows(value)] == [1, 2]
    pretty = json.dumps(one, indent=1).encode()
    assert [row["sequence"] for row in rows(pretty)] == [1]


def test_unknown_fields_are_kept_as_attributes(rows: Rows) -> None:
    row = only(rows(action(attributes={"a": "1"}, newer={"deep": {"er": [1]}}, flag=True)))
    kept = {pair["key"]: pair["value"] for pair in row["attributes"]}
    assert kept == {"a": "1", "newer.deep.er": "[1]", "flag": "true"}


def test_unknown_fields_of_a_snapshot_are_kept_and_redacted(core: Normalizer) -> None:
    told = {
        "snapshot_id": "s",
        "tenant": "",
        "taken_at": "2026-11-22T18:00:00Z",
        "agent_id": "a",
        "other": {"seen": "2"},
        "plan": ["look", {"pay": 1}],
        "token": "AKIAIOSFODNN7ABCDEFG",
        "nothing": None,
    }
    found = core.normalize([record(told, headers={"tacho-record": b"state_snapshot"})])
    [snapshot] = found.snapshots
    token = snapshot.other.pop("token")
    assert token.startswith("‹secret:aws_access_key:")
    assert snapshot.other == {"seen": "2", "plan": '["look",{"pay":1}]'}


def test_a_snapshot_of_too_many_unknown_fields_is_refused(core: Normalizer) -> None:
    told = {"snapshot_id": "s", "tenant": "", "taken_at": "2026-11-22T18:00:00Z", "agent_id": "a"}
    told |= {f"own{n}": "x" for n in range(limits.ATTRIBUTES + 1)}
    found = core.normalize([record(told, headers={"tacho-record": b"state_snapshot"})])
    assert (found.snapshots, [letter.reason for letter in found.dead]) == ([], ["too_many"])


def test_what_only_normalize_may_say_is_ignored_from_a_producer(rows: Rows) -> None:
    claims = {
        "event_id": "f" * 32,
        "tenant": "other",
        "assurance": "authenticated",
        "late": True,
        "authenticated_as": "root",
        "redactions": ["x"],
        "partition_key": "y",
        "observed_time": "2001-01-01T00:00:00Z",
        "raw_offset": 7,
    }
    row = only(rows(action(**claims)))
    assert row["event_id"] != "f" * 32
    assert (row["tenant"], row["assurance"], row["late"]) == ("acme", "asserted", False)
    assert row["partition_key"] == "a"
    assert row["raw_offset"] == 0
    assert "authenticated_as" not in row
    assert "redactions" not in row
    assert row["observed_time"].year == 2026


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"", "empty"),
        (b"{", "truncated"),
        (b'{"kind":"other","event_time":"2026-11-22T18:00:00Z","a":"\xff"}', "not_utf8"),
        (b'{"a":NaN}', "malformed"),
        (b"\x00\x01", "malformed"),
        (b"[" * 5000, "too_deep"),
        (b"[1]", "mistyped"),
        ({"event_time": "2026-11-22T18:00:00Z"}, "missing"),
        ({"kind": "other"}, "missing"),
        (action(kind="no such kind"), "mistyped"),
        (action(event_time="yesterday"), "mistyped"),
        (action(event_time="2026-11-22T18:00:00"), "mistyped"),
        (action(event_time="1970-01-01T00:00:00Z"), "impossible_time"),
        (action(event_time="2099-01-01T00:00:00Z"), "impossible_time"),
        (action(http_status="200"), "mistyped"),
        (action(http_status=2**70), "mistyped"),
        (action(tool_name=["x"]), "mistyped"),
        (action(tags=["a", 1]), "mistyped"),
        (action(tags="a"), "mistyped"),
        (action(attributes=["a"]), "mistyped"),
        (action(producer_id=5), "mistyped"),
        (action(outcome="maybe"), "mistyped"),
        (action(attributes={str(n): "x" for n in range(limits.ATTRIBUTES + 1)}), "too_many"),
        (action(content_text="x" * limits.ACTION_BYTES), "too_large"),
        (b'{"kind":"other","kind":"prompt","event_time":"2026-11-22T18:00:00Z"}', "duplicate_key"),
        (
            b'{"kind":"other","event_time":"2026-11-22T18:00:00Z","a":{"b":1,"b":"\\u003a"}}',
            "duplicate_key",
        ),
    ],
)
def test_bad_input_is_a_dead_letter_with_its_bytes(
    core: Normalizer, value: Any, reason: str
) -> None:
    bad = record(value, offset=9)
    found = core.normalize([bad])
    [letter] = found.dead
    assert (letter.reason, letter.topic, letter.offset) == (reason, "agent.raw", 9)
    assert found.frame.is_empty()
    if not bad.value.startswith(b"["):
        assert msgspec.json.decode(letter.original or b"null") if reason == "mistyped" else True
        assert letter.size_bytes > 0 or reason == "empty"


def test_json_nested_beyond_the_limit_is_refused_and_just_below_it_is_not(core: Normalizer) -> None:
    def nested(depth: int) -> dict[str, Any]:
        value: Any = 1
        for _ in range(depth):
            value = [value]
        return action(tool_args={"x": value})

    # The action and its arguments are two levels of their own.
    assert core.normalize([record(nested(limits.JSON_DEPTH - 2))]).dead == []
    [letter] = core.normalize([record(nested(limits.JSON_DEPTH + 1))]).dead
    assert letter.reason == "too_deep"


def test_one_bad_action_in_a_batch_costs_only_itself(core: Normalizer) -> None:
    batch = [action(sequence=1), action(http_status="x"), 5, action(sequence=2)]
    found = core.normalize([record(batch)])
    assert found.frame["sequence"].to_list() == [1, 2]
    assert [(letter.index, letter.reason) for letter in found.dead] == [
        (2, "mistyped"),
        (1, "mistyped"),
    ]
    assert msgspec.json.decode(found.dead[1].original or b"")["http_status"] == "x"


@pytest.mark.parametrize(
    "value",
    [
        b' {"event_time": "1970-01-01T00:00:00Z",  "kind":"prompt"}\n',
        b'{"kind": "prompt", "event_time": "2099-01-01T00:00:00Z"}',
        b'[ {"kind": "prompt", "http_status": "x", "event_time": "2026-11-22T18:00:00Z"} ]',
        b'[{"kind": "prompt"}]\n',
        gzip.compress(b'{"event_time": "2026-11-22T18:00:00Z", "kind": "no kind"}'),
    ],
    ids=["1970", "2099", "in a list", "without a time", "gzip"],
)
def test_the_dead_letter_of_a_lone_action_is_what_was_sent(core: Normalizer, value: bytes) -> None:
    [letter] = core.normalize([record(value)]).dead
    assert (letter.original, letter.index, letter.size_bytes) == (value, 0, len(value))
    [again] = core.normalize([record(letter.original or b"")]).dead
    assert (again.reason, again.original) == (letter.reason, value)


def test_a_broken_line_of_ndjson_keeps_its_own_bytes(core: Normalizer) -> None:
    good = msgspec.json.encode(action(sequence=1))
    twice = good[:-1] + b',"kind":"other"}'
    found = core.normalize([record(b"\n".join([good, b'{"broken', twice, good]))])
    assert found.frame.height == 2
    assert {letter.original: letter.reason for letter in found.dead} == {
        b'{"broken': "truncated",
        twice: "duplicate_key",
    }


def test_a_colon_in_a_text_is_no_key_given_twice(rows: Rows) -> None:
    value = b'{"kind":"other","event_time":"2026-11-22T18:00:00Z","content_text":"a\\u003ab: c"}'
    assert only(rows(value))["content_text"] == "a:b: c"


def test_details_never_quote_the_payload(core: Normalizer) -> None:
    for value in (
        action(kind="hunter2-secret"),
        action(http_status="hunter2-secret"),
        b'{"hunter2-secret',
    ):
        [letter] = core.normalize([record(value)]).dead
        assert "hunter2" not in letter.detail


def test_long_texts_are_cut_and_named(rows: Rows) -> None:
    row = only(rows(action(content_text="é" * limits.TEXT_BYTES, tool_result="short")))
    assert len(row["content_text"].encode()) <= limits.TEXT_BYTES
    assert row["truncated"] == ["content_text"]
    assert row["content_bytes"] == 2 * limits.TEXT_BYTES


def test_lists_are_cut_at_their_limit(rows: Rows) -> None:
    row = only(rows(action(tags=["x"] * (limits.LIST_ITEMS + 5))))
    assert len(row["tags"]) == limits.LIST_ITEMS
    assert row["truncated"] == ["tags"]


def test_bombs_cost_no_more_than_the_bound(core: Normalizer) -> None:
    import gzip
    import zlib

    bomb = gzip.compress(b" " * (limits.UNPACKED_BYTES + 100))
    assert [d.reason for d in core.normalize([record(bomb)]).dead] == ["too_large"]
    good = gzip.compress(msgspec.json.encode(action()))
    assert core.normalize([record(good)]).frame.height == 1
    assert [d.reason for d in core.normalize([record(good[:-12])]).dead] == ["truncated"]
    assert zlib.crc32(good)


def test_a_record_above_the_limit_is_refused_whole(core: Normalizer) -> None:
    big = record(b"[" + b" " * limits.RECORD_BYTES + b"]")
    [letter] = core.normalize([big]).dead
    assert (letter.reason, letter.original) == ("too_large", big.value)


def test_the_examples_of_the_contract_hold(core: Normalizer) -> None:
    examples = contracts.examples("action")
    for name, value in examples.valid.items():
        assert core.normalize([record(value)]).dead == [], name
    for name, value in examples.invalid.items():
        assert core.normalize([record(value)]).frame.is_empty(), name


def test_arguments_tell_command_file_url_and_recipients(rows: Rows) -> None:
    def derived(tool: str, **args: Any) -> dict[str, Any]:
        return only(rows(action(tool_name=tool, tool_args=args)))

    assert derived("bash", command="ls -l")["process_command_line"] == "ls -l"
    assert derived("run", cmd=["rm", "-rf", "a b"])["process_command_line"] == "rm -rf 'a b'"
    assert derived("execute_python", code="print(1)")["process_command_line"] == "print(1)"
    assert "process_command_line" not in derived("promo", code="SAVE10")
    file = derived("delete_file", path="/etc/passwd")
    assert (file["file_path"], file["file_op"]) == ("/etc/passwd", "delete")
    assert derived("delete_repo", repo_name="acme/pay")["target_repo"] == "acme/pay"
    thing = derived("delete_object", bucket="invoices", key="2026/0.pdf")
    assert thing["target_resource"] == "invoices/2026/0.pdf"
    assert derived("list", bucket="invoices", key=7)["target_resource"] == "invoices"
    assert "target_resource" not in derived("press", key="Enter")
    url = derived("post", body="see https://evil.example:8443/x?y=1.")
    assert (url["target_url"], url["target_domain"], url["target_port"]) == (
        "https://evil.example:8443/x?y=1",
        "evil.example",
        8443,
    )
    mail = derived("send", to="a@x.example, b@x.example", cc=["c@x.example"])
    assert (mail["recipients"], mail["recipient_count"]) == (
        ["a@x.example", "b@x.example", "c@x.example"],
        3,
    )
    invited = derived("add_event", attendees=["d@x.example"], collaborator="eve")
    assert invited["recipients"] == ["d@x.example", "eve"]
    # An argument without a value names nobody.
    alone = derived("send", to="a@x.example", cc="null", bcc=["None", "null", ""])
    assert (alone["recipients"], alone["recipient_count"]) == (["a@x.example"], 1)
    kept = only(rows(action(tool_args={"command": "ls"}, process_command_line="mine")))
    assert kept["process_command_line"] == "mine"


@pytest.mark.parametrize(
    ("args", "path"),
    [
        ({"url": "https://e.example/k", "save_dir": "/root/.ssh"}, "/root/.ssh"),
        ({"file_name": "keys", "outputDir": "/root/.ssh/"}, "/root/.ssh/keys"),
        ({"source_path": "/a", "destination_path": "/b", "dest_dir": "/c"}, "/b"),
    ],
)
def test_where_a_tool_writes_is_the_file_that_it_wrote(
    rows: Rows, args: dict[str, str], path: str
) -> None:
    row = only(rows(action(tool_name="fetch", tool_args=args)))
    assert (row["file_path"], row["file_op"]) == (path, "write")


def test_a_path_that_a_tool_reads_stays_what_it_reads(rows: Rows) -> None:
    args = {"save_dir": "/out", "path": "/home/me/.env", "save_path": "/out/x"}
    row = only(rows(action(tool_name="read_and_pack", tool_args=args)))
    assert (row["file_path"], row["file_op"]) == ("/home/me/.env", "read")
    own = only(rows(action(tool_name="t", tool_args={"save_dir": "/out"}, file_path="/mine")))
    assert (own["file_path"], own.get("file_op")) == ("/mine", None)
    assert "file_path" not in only(rows(action(tool_name="t", tool_args={"save_dir": ["/out"]})))
    assert "file_path" not in only(rows(action(tool_name="fly", tool_args={"destination": "Oslo"})))
    # The target of a search is where it looks.
    looked = only(rows(action(tool_name="grep", tool_args={"target_directory": "/root/.ssh"})))
    assert looked.get("file_op") != "write"


def test_escapes_cannot_hide_words_in_arguments(rows: Rows) -> None:
    row = only(
        rows(action(tool_name="sh", tool_args='{"command": "\\u0063url http:\\/\\/e.example"}'))
    )
    assert row["tool_args"] == '{"command":"curl http://e.example"}'
    assert row["process_command_line"] == "curl http://e.example"


def test_equal_arguments_have_equal_hashes_however_they_are_written(rows: Rows) -> None:
    hashes = {
        only(rows(action(tool_args=args)))["tool_args_hash"]
        for args in ({"a": 1, "b": 2}, {"b": 2, "a": 1}, '{ "b":2, "a":1 }')
    }
    assert len(hashes) == 1


def test_an_empty_session_is_none(rows: Rows) -> None:
    row = only(rows(action(session_id="", trace_id="t")))
    assert row["session_id"] == "t"


def test_urls_of_the_content_are_listed(rows: Rows) -> None:
    row = only(
        rows(
            action(tool_result="at http://a.example/1, (https://b.example) and http://a.example/1")
        )
    )
    assert row["content_urls"] == ["http://a.example/1", "https://b.example"]


def test_of_a_log_file_of_aws_each_record_is_an_item_and_a_bad_one_costs_only_itself() -> None:
    good = {"kind": "prompt", "event_time": "2026-11-22T18:00:00Z", "agent_id": "a"}
    value = msgspec.json.encode({"Records": [good, {"kind": "prompt"}, good]})
    decoded, _ = native.actions(value)
    assert [item.index for item in decoded.items] == [0, 2]
    [fault] = decoded.faults
    assert fault.index == 1
    assert msgspec.json.decode(fault.original).keys() == {"kind", "source_kind"}
