"""Every format, found by import, keeps one record one record and says what it cut."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tachograph.pipeline.forward.formats import Format, formats
from tachograph.pipeline.forward.formats._values import cut, visible
from tachograph.schemas.records import Health
from tests.pipeline.forward import alerts

FORMATS = formats()
every_format = pytest.mark.parametrize("form", FORMATS.values(), ids=FORMATS)
every_example = pytest.mark.parametrize("name", alerts.examples())
every_hostile = pytest.mark.parametrize("name", alerts.HOSTILE)


def assert_one_record(form: Format, record: bytes) -> None:
    """No transport that ends a record at a line, a NUL or a size may see two."""
    assert 0 < len(record) <= form.MAX_BYTES
    text = record.decode("utf-8")
    assert len(text.splitlines()) == 1
    assert not re.search(r"[\x00\r\n]", text)


def test_the_formats_are_found() -> None:
    promised = "cef ecs hec leef ndjson ocsf otlp sentinel slack syslog"
    assert set(promised.split()) <= set(FORMATS)


@every_format
def test_a_pack_holds_every_record_as_it_is(form: Format) -> None:
    records = [(f"{n:032x}:{n}", form.render(alerts.alert(n))) for n in (1, 2, 3)]
    packed = form.pack(records)
    places = [packed.index(body) for _, body in records]
    assert places == sorted(places)
    assert len(packed) >= sum(len(body) for _, body in records)


@every_format
@every_example
def test_an_example_becomes_one_record_with_id_and_revision(form: Format, name: str) -> None:
    example = alerts.examples()[name]
    record = form.render(example)
    assert_one_record(form, record)
    assert example.alert_id in record.decode()
    assert re.search(rf"\b{example.revision}\b", record.decode())


@pytest.mark.parametrize("form", [form for name, form in FORMATS.items() if name != "template"])
def test_an_alert_names_the_incident_that_it_is_part_of(form: Format) -> None:
    incident = "1cde" * 8
    assert incident in form.render(alerts.alert(incident_id=incident)).decode()


@every_format
@every_hostile
def test_hostile_text_everywhere_stays_one_record(form: Format, name: str) -> None:
    alert = alerts.hostile(alerts.HOSTILE[name])
    record = form.render(alert, update=True)
    assert_one_record(form, record)
    assert alert.alert_id in record.decode()


@every_format
def test_a_great_many_of_everything_stays_within_the_bound(form: Format) -> None:
    assert_one_record(form, form.render(alerts.huge()))


@every_format
@given(text=st.text(st.characters(), max_size=60))
def test_any_text_stays_one_record(form: Format, text: str) -> None:
    assert_one_record(form, form.render(alerts.hostile(text)))


@every_format
@pytest.mark.parametrize("name", alerts.health_examples())
def test_health_becomes_one_record(form: Format, name: str) -> None:
    assert_one_record(form, form.render_health(alerts.health_examples()[name]))


@every_format
@every_hostile
def test_hostile_health_stays_one_record(form: Format, name: str) -> None:
    text = alerts.HOSTILE[name]
    health = Health(
        component=text,
        tenant=text,
        status="degraded",
        at=alerts.START,
        lag=7,
        sources={f"{text}{n}": n for n in range(200 if len(text) < 1000 else 2)},
        drops={text: 1},
        detail=text,
    )
    assert_one_record(form, form.render_health(health))


@every_format
def test_the_same_alert_gives_the_same_bytes(form: Format) -> None:
    example = alerts.examples()["secret_sent_outside"]
    assert form.render(example) == form.render(example)
    assert form.render(example) != form.render(example, update=True)


@given(text=st.text(st.characters()), limit=st.integers(0, 64))
def test_cut_text_is_equal_or_says_how_much_is_gone(text: str, limit: int) -> None:
    got = cut(text, limit)
    clean = text.encode("utf-8", "replace").decode()
    if got != clean:
        kept, _, gone = got.rpartition("…[+")
        assert clean.startswith(kept)
        assert int(gone.removesuffix("]")) == len(clean) - len(kept)
    assert len(got.encode()) <= max(limit, len(f"…[+{len(text)}]".encode()))


def test_visible_signs_stand_for_what_would_end_a_record() -> None:
    assert visible("a\x00b\nc\u2028d") == "a␀b␊c␤d"
    assert visible("a\nb\x00", keep="\n") == "a\nb␀"
