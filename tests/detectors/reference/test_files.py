"""Reference files: what they may hold, and that all that is wrong is said at once."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from tachograph.detectors.reference import files
from tachograph.detectors.reference.reference import Reference, ReferenceErrors, load, shipped


def written(root: Path, **texts: str) -> Path:
    for name, text in texts.items():
        path = root / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def problems(root: Path) -> list[str]:
    with pytest.raises(ReferenceErrors) as caught:
        load([root])
    return [str(p).removeprefix(f"{root}/") for p in caught.value.problems]


def test_a_folder_of_yaml_csv_and_lists_is_one_reference(tmp_path: Path) -> None:
    root = written(
        tmp_path,
        agents_dot_yaml="agents:\n  - {id: a, tools: [x], expires: 2027-03-31}\n",
        tools_dot_csv="name,risk,sensitivity,approval_required\nwire,egress,pii; financial,true\n"
        "peek,read,-,\n",
        lists__admins_dot_txt="# who may\nann\n\nbob\n",
    )
    content = load([root]).content
    assert content.agents[0].expires == datetime(2027, 4, 1, tzinfo=UTC)
    assert content.tools[0].sensitivity == ["pii", "financial"]
    assert content.tools[0].approval_required is True
    assert content.tools[1].sensitivity == []
    assert content.tools[1].approval_required is None
    assert content.lists == {"admins": ["ann", "bob"]}


def test_every_problem_is_found_with_its_place(tmp_path: Path) -> None:
    root = written(
        tmp_path,
        a_dot_yaml="agents:\n  - {id: a, tols: [x]}\n  - id: b\n    risk_tier: extreme\n"
        "  - {owner: nobody}\ngents: []\n",
        b_dot_yaml="agents: [\n",
        c_dot_yaml="agents:\n  - {id: a}\n  - {id: A}\n  - {id: c, expires: someday}\n",
        freezes_dot_csv="id,valid_from,valid_until\nF1,2026-12-24\n",
        indicators_dot_csv="type,value\nip,300.1.2.3\nplanet,mars\n",
        d_dot_json='{"type": "report"}',
        e_dot_csv="x\n1\n",
    )
    found = problems(root)
    for part in [
        "a.yaml:2: agents: Object contains unknown field `tols`",
        "a.yaml:3: agents: Invalid enum value 'extreme'",
        "a.yaml:5: agents: Object missing required field `id`",
        "a.yaml:6: no table of a reference: gents",
        "b.yaml:2: no valid YAML",
        "c.yaml:3: agents: a is already at",
        "c.yaml:4: agents: 'someday' is no date or time",
        "freezes.csv:2: freezes: a row has 3 cells",
        "indicators.csv:2: indicators: '300.1.2.3' does not appear to be",
        "indicators.csv:3: indicators: Invalid enum value 'planet'",
        "d.json:0: no STIX bundle",
        "e.csv:0: no table of a reference: e",
    ]:
        assert any(text.startswith(part) for text in found), (part, found)
    assert len(found) == 12


def test_a_path_that_is_not_there_is_a_problem(tmp_path: Path) -> None:
    assert "no such file or folder" in problems(tmp_path / "nowhere")[0]


@pytest.mark.parametrize(
    "text",
    ["!!python/object/apply:os.system [id]", "a: &a [x]\nagents: [*a, *a", "agents: 3", "- 1"],
)
def test_yaml_that_is_no_table_is_refused(tmp_path: Path, text: str) -> None:
    assert problems(written(tmp_path, x_dot_yaml=text))


def test_a_file_or_table_beyond_its_limit_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = written(tmp_path, lists__x_dot_txt="a\n" * 10)
    monkeypatch.setattr(files, "MAX_LIST_VALUES", 5)
    assert "more than 5 values" in problems(root)[0]
    monkeypatch.setattr(files, "MAX_FILE_BYTES", 5)
    assert "larger than 5 bytes" in problems(root)[0]


def test_a_canary_too_short_to_be_looked_for_is_refused(tmp_path: Path) -> None:
    root = written(tmp_path, c_dot_yaml="canaries: [{name: x, values: [abc]}]\n")
    assert "at least 8 characters" in problems(root)[0]


def test_the_version_is_of_the_content_alone(tmp_path: Path) -> None:
    one = written(tmp_path / "one", a_dot_yaml="agents: [{id: a, owner: x}]\n")
    two = written(tmp_path / "two", agents_dot_csv="owner,id\nx,a\n")
    other = written(tmp_path / "other", a_dot_yaml="agents: [{id: a, owner: y}]\n")
    assert load([one]).version == load([two]).version
    assert load([one]).version != load([other]).version


def test_a_reference_travels_as_one_text(tmp_path: Path) -> None:
    root = written(
        tmp_path,
        a_dot_yaml="agents: [{id: a, tools: [], expires: 2027-01-01}]\nlists: {x: ['1']}\n",
    )
    one = load([root])
    again = Reference.decode(one.encode())
    assert again.content == one.content
    assert again.version == one.version


@pytest.mark.parametrize("blob", [b"", b"{}", b'{"format":99,"content":{}}', b"\xff"])
def test_what_is_no_reference_is_refused(blob: bytes) -> None:
    with pytest.raises(ValueError, match="reference data"):
        Reference.decode(blob)


def test_an_operators_provider_borrows_the_shipped_endpoints(tmp_path: Path) -> None:
    root = written(tmp_path, p_dot_yaml="providers: [{name: OpenAI, approved: true}]\n")
    providers = load([root]).content.providers
    assert providers[0].approved is True
    assert "api.openai.com" in providers[0].endpoints
    assert len(providers) == len(shipped().content.providers)


def test_what_is_shipped_approves_nobody() -> None:
    assert {provider.approved for provider in shipped().content.providers} == {None}


def test_a_canary_that_looks_like_a_secret_is_kept_as_redaction_shows_it(tmp_path: Path) -> None:
    root = written(tmp_path, c_dot_yaml="canaries: [{name: key, values: [AKIACANARY77, plainone]}]")
    made = load([root], as_seen=lambda text: "‹token›" if text.startswith("AKIA") else text)
    values = made.content.canaries[0].values
    assert "‹token›" in values
    assert "plainone" in values
    assert "AKIACANARY77" not in values
