"""Who may speak for which agents: believed where it is proved, marked where it is contradicted."""

import re
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tachograph.detectors.language.ruleset import load as load_rules
from tachograph.detectors.partition import PartitionDetector
from tachograph.pipeline.door_headers import DoorFacts, sign, verify
from tachograph.pipeline.errors import ConfigError
from tachograph.pipeline.normalize import assurance
from tachograph.pipeline.normalize.assurance import Assured, Sender, Table
from tachograph.pipeline.normalize.core import Normalizer

from .conftest import KEY, NOON_US, action, record, request, span

FILE = """
[[topic]]
name = "agent.raw"
agents = ["travel-*", "shop"]

[[principal]]
name = "shop-gateway"
tenant = "acme"
agents = ["shop", "cart-*"]

[[principal]]
name = "ci-*"
agents = []
"""


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "assurance.toml"
    path.write_text(FILE, "utf-8")
    return path


@pytest.fixture
def core(table: Path) -> Normalizer:
    assured = assurance.load({assurance.ENVIRONMENT: str(table)})
    return Normalizer(KEY, "acme", assured=assured)


def said(core: Normalizer, *records: Any) -> list[tuple[str, bool | None]]:
    """Assurance and mismatch of each action."""
    found = core.normalize(list(records))
    assert found.dead == []
    rows = found.frame.to_dicts()
    return [(row["assurance"], row.get("identity_mismatch")) for row in rows]


def direct(agent: str, topic: str = "agent.raw", **fields: Any) -> Any:
    return record(action(agent_id=agent, **fields), topic)


def signed(principal: str | None, agent: str, tenant: str = "acme") -> Any:
    value = msgspec.json.encode(action(agent_id=agent))
    return record(value, headers=sign(KEY, value, principal, NOON_US, tenant))


def test_a_topics_acl_proves_the_agents_it_admits_and_no_others(core: Normalizer) -> None:
    assert said(core, direct("travel-7"), direct("shop"), direct("bank")) == [
        ("acl", None),
        ("acl", None),
        ("asserted", True),
    ]


def test_a_principal_speaks_for_its_agents_and_no_others(core: Normalizer) -> None:
    assert said(
        core,
        signed("shop-gateway", "cart-2"),
        signed("shop-gateway", "travel-7"),
        signed("shop-gateway", "travel-7", tenant="other"),
        signed("ci-linux", "shop"),
        signed("unlisted", "shop"),
    ) == [
        ("authenticated", None),
        ("asserted", True),
        ("authenticated", None),
        ("asserted", True),
        ("authenticated", None),
    ]


def test_the_acl_of_a_topic_proves_nothing_of_what_came_through_the_door(core: Normalizer) -> None:
    assert said(core, signed(None, "shop"), signed(None, "bank")) == [("asserted", None)] * 2


def test_a_topic_that_is_not_named_proves_nothing(core: Normalizer) -> None:
    one = request(span(gen_ai__operation__name="chat"), service="bank")
    assert said(core, record(one, "otlp_spans")) == [("inferred", None)]


def test_an_agent_that_only_its_service_tells_is_inferred_unless_it_is_proved(
    core: Normalizer,
) -> None:
    named = span("a1" * 8, "c1" * 16, gen_ai__operation__name="chat", gen_ai__agent__name="clerk")
    beside = span("a2" * 8, "c1" * 16, gen_ai__operation__name="chat")
    alone = span("a3" * 8, "c2" * 16, gen_ai__operation__name="chat")
    given = record(request(named, beside, alone, service="bank"), "otlp_spans")
    assert [one for one, _ in said(core, given)] == ["asserted", "asserted", "inferred"]
    assert said(core, direct("", service_name="shop")) == [("acl", None)]


def test_an_agent_within_a_service_is_one_that_must_be_named_too() -> None:
    topic = [{"name": "otlp_spans", "agents": ["shop", "cart"]}]
    core = Normalizer(KEY, "acme", assured=Assured(msgspec.convert({"topic": topic}, Table)))
    spans = [
        span(f"a{n}" * 8, gen_ai__operation__name="chat", gen_ai__agent__id=agent)
        for n, agent in enumerate(("cart", "bank"))
    ]
    assert said(core, record(request(*spans), "otlp_spans")) == [("acl", None), ("asserted", True)]


def test_without_a_table_only_the_doors_word_counts(core: Normalizer) -> None:
    bare = Normalizer(KEY, "acme", assured=assurance.load({}))
    assert said(bare, direct("bank"), signed("ci-linux", "shop")) == [
        ("asserted", None),
        ("authenticated", None),
    ]


def test_what_a_producer_says_of_it_is_ignored(core: Normalizer) -> None:
    claimed = direct("bank", assurance="acl", identity_mismatch=False)
    assert said(core, claimed, direct("shop", identity_mismatch=True)) == [
        ("asserted", True),
        ("acl", None),
    ]


def test_the_shipped_rule_tells_of_a_mismatch(core: Normalizer) -> None:
    frame = core.normalize([direct("bank"), direct("shop")]).frame
    signals = PartitionDetector(load_rules([], builtin=True)).process(frame, [], 0).signals
    assert [(s.title, s.agent_id) for s in signals] == [
        ("An agent was spoken for by a sender that may not", "bank")
    ]


NAME = st.text("ab*?[.\n", max_size=6)


@settings(deadline=None)
@given(st.lists(NAME, max_size=3), NAME)
def test_a_star_stands_for_any_characters_and_nothing_else_does(
    patterns: list[str], name: str
) -> None:
    entry = {"name": "t", "agents": patterns}
    assured = Assured(msgspec.convert({"topic": [entry]}, Table))
    plain = [p.replace("[", "[[]").replace("?", "[?]") for p in patterns]
    expected = any(fnmatchcase(name, pattern) for pattern in plain)
    decision = assured.of(Sender("t", "acme", door=False, principal=None), (name,))
    assert decision == (("acl", None) if expected else ("asserted", True))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[[topic]]\nname = 1", "Expected `str`"),
        ("[[topics]]", "unknown field `topics`"),
        ('[[principal]]\nname = ""\nagents = ["a", ""]', "principal 1: an empty name"),
        ("[[topic]", "line 1"),
        ('[[topic]]\nname = "t"\nagents = ["\xff"]', "utf-8"),
    ],
)
def test_a_mistake_in_the_file_is_named(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "bad.toml"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigError, match=told) as caught:
        assurance.load({assurance.ENVIRONMENT: str(path)})
    assert str(path) in str(caught.value)


def test_the_table_of_the_doors_page_is_one(tmp_path: Path) -> None:
    page = (Path(__file__).parents[3] / "docs" / "door.md").read_text("utf-8")
    [shown] = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    path = tmp_path / "shown.toml"
    path.write_text(shown, "utf-8")
    core = Normalizer(KEY, "acme", assured=assurance.load({assurance.ENVIRONMENT: str(path)}))
    assert said(core, signed("shop-gateway", "cart-2"), signed("shop-gateway", "travel-7")) == [
        ("authenticated", None),
        ("asserted", True),
    ]


def test_a_file_that_is_not_there_is_named() -> None:
    with pytest.raises(ConfigError, match="cannot read /nowhere"):
        assurance.load({assurance.ENVIRONMENT: "/nowhere"})


@given(
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=200),
    st.lists(st.booleans(), min_size=2, max_size=6).filter(lambda good: not all(good)),
)
@settings(max_examples=30)
def test_a_dead_letter_of_one_item_still_says_who_sent_it(principal: str, good: list[bool]) -> None:
    core = Normalizer(KEY, "our own")
    items = [action(agent_id="a", **({} if ok else {"kind": "new"})) for ok in good]
    value = b"\n".join(map(msgspec.json.encode, items))
    headers = sign(KEY, value, principal, NOON_US, "acme")
    letters = core.normalize([record(value, headers=headers)]).dead
    assert [letter.index for letter in letters] == [at for at, ok in enumerate(good) if not ok]
    for letter in letters:
        assert letter.original is not None
        told = {name: text.encode() for name, text in letter.headers.items()}
        assert verify(KEY, letter.original, told) == DoorFacts(principal, NOON_US, "acme")


def test_a_dead_letter_of_what_no_door_signed_says_of_nobody_that_he_sent_it() -> None:
    core = Normalizer(KEY, "our own")
    value = msgspec.json.encode(action()) + b"\n" + msgspec.json.encode(action(kind="new"))
    claimed = {"tacho-principal": b"root", "tacho-observed": b"1", "tacho-door": b"00"}
    [letter] = core.normalize([record(value, headers=claimed)]).dead
    told = {name: text.encode() for name, text in letter.headers.items()}
    assert letter.original is not None
    assert verify(KEY, letter.original, told) is None
