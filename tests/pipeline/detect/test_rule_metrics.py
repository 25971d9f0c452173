"""What is told of each rule, while places come and go."""

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from io import StringIO
from threading import Thread

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from tachograph.detectors.plan import Plan
from tachograph.pipeline.detect import rule_metrics
from tachograph.pipeline.detect.judges import ActionJudge
from tachograph.pipeline.detect.rule_metrics import AGE_EVERY_S, TELL_EVERY_S, RuleMetrics
from tachograph.pipeline.errors import ConfigError, RetryLater
from tachograph.pipeline.metrics import exposition
from tachograph.pipeline.rules.stats import run_stats, stats_of, told_apart
from tachograph.schemas import batch
from tests.detectors.made import frame, rules

TITLE = 'A "quoted" title'


def text_of(rule_id: str, field: str = "tool.name") -> str:
    return (
        f"title: '{TITLE}'\nid: {rule_id}\nlogsource: {{product: ai_agent}}\n"
        f"detection: {{s: {{{field}: shell}}, condition: s}}\n"
    )


class Stage:
    """Judges of a few places, and a clock."""

    def __init__(self, *texts: str, most_rules: int = 99) -> None:
        self._plan = Plan.of(rules("---\n".join(texts)))
        self.judges = {("agent.actions", number): ActionJudge(self._plan) for number in range(2)}
        self._now_s = 0.0
        self.metrics = RuleMetrics(lambda: self._now_s, most_rules=most_rules)

    def see(self, place: int, tool: str, at_s: int = 1) -> None:
        row = {"event_id": f"{at_s:032x}", "event_time": at_s, "tool_name": tool}
        judge = self.judges["agent.actions", place]
        judge.take(b"action_batch", batch.encode(frame([row])))
        self.metrics.said(one for found in judge.judge(at_s) for one in found.signals)

    def move(self, place: int) -> None:
        """The place is judged by another, who has seen nothing."""
        self.judges["agent.actions", place] = ActionJudge(self._plan)

    def tell(self, after_s: float = TELL_EVERY_S) -> None:
        self._now_s += after_s
        named = {rule.meta.rule_id: rule.meta.title for rule in self._plan.rules.rules}
        self.metrics.tell(self.judges, lambda: named)


def value(name: str, rule: str, title: str = TITLE) -> float | None:
    return REGISTRY.get_sample_value(f"tacho_rule_{name}", {"rule": rule, "title": title})


def test_what_all_places_saw_is_told_once() -> None:
    stage = Stage(text_of("sum"))
    stage.see(0, "shell", 5)
    stage.see(1, "shell", 3)
    stage.see(1, "browser", 4)
    stage.tell()
    stage.tell()
    assert value("evaluations_total", "sum") == 3
    assert value("matches_total", "sum") == 2
    assert value("signals_total", "sum") == 2
    assert value("last_match_seconds", "sum") == 5
    assert (value("seconds_total", "sum") or 0) > 0
    assert value("cannot_fire", "sum") == 0


def test_a_place_that_is_judged_anew_counts_anew() -> None:
    stage = Stage(text_of("anew"))
    stage.see(0, "shell", 1)
    stage.see(0, "shell", 2)
    stage.tell()
    stage.move(0)
    stage.see(0, "shell", 3)
    stage.tell()
    assert value("matches_total", "anew") == 3


def test_nothing_is_told_before_it_is_time() -> None:
    stage = Stage(text_of("early"))
    stage.see(0, "shell")
    stage.tell(TELL_EVERY_S / 2)
    assert value("matches_total", "early") is None


def test_a_rule_cannot_fire_while_no_action_has_its_field_or_none_has_had_for_long() -> None:
    stage = Stage(text_of("mute", "file.path"), text_of("heard"))
    stage.see(0, "shell", 1)
    stage.tell()
    assert (value("cannot_fire", "mute"), value("cannot_fire", "heard")) == (1, 0)
    row = {"event_id": "f" * 32, "event_time": 2, "file_path": "x"}
    judge = stage.judges["agent.actions", 1]
    judge.take(b"action_batch", batch.encode(frame([row])))
    judge.judge(2)
    stage.tell()
    assert value("cannot_fire", "mute") == 0
    for at_s in (3, 4):
        stage.tell(AGE_EVERY_S)
        stage.see(1, "shell", at_s)
    stage.tell()
    assert (value("cannot_fire", "mute"), value("cannot_fire", "heard")) == (1, 0)


def test_rules_beyond_a_number_are_told_of_together() -> None:
    before = value("matches_total", *rule_metrics.OTHER) or 0
    stage = Stage(text_of("one"), text_of("two"), text_of("three"), most_rules=1)
    stage.see(0, "shell")
    stage.tell()
    own = [value("matches_total", name) for name in ("one", "two", "three")]
    assert sorted(own, key=str) == [1.0, None, None]
    assert value("matches_total", *rule_metrics.OTHER) == before + 2


def test_what_is_told_is_read_again_from_the_text_of_metrics() -> None:
    stage = Stage(text_of("read"), text_of("silent", "file.path"))
    stage.see(0, "shell", 7)
    stage.tell()
    found = {one.rule_id: one for one in stats_of(exposition().decode())}
    assert found["read"].title == TITLE
    assert (found["read"].matches, found["read"].signals, found["read"].last_match) == (1, 1, 7)
    assert found["read"].micros > 0
    assert (found["silent"].matches, found["silent"].cannot_fire) == (0, True)


def test_a_door_is_asked_and_its_answer_shown_in_order() -> None:
    stage = Stage(text_of("often"), text_of("quiet", "file.path"))
    stage.see(0, "shell", 60)
    stage.tell()
    sink = StringIO()
    with answering(exposition()) as url:
        run_stats(url, None, by="matches", as_json=False, sink=sink)
    lines = [line for line in sink.getvalue().splitlines() if line.startswith((" often", " quiet"))]
    assert [line.split()[0] for line in lines] == ["often", "quiet"]
    assert "01-01 00:01" in lines[0]
    assert "cannot fire" in lines[1]


@given(st.sets(st.text("ab-", max_size=14), min_size=1, max_size=12))
def test_of_ids_so_much_is_shown_that_no_two_look_alike(ids: set[str]) -> None:
    shown = told_apart(ids)
    assert set(shown) == ids
    for one in ids:
        assert one.startswith(shown[one])
        assert len(shown[one]) >= min(8, len(one))
        # Who reads a beginning knows which it is: the whole of another may be a beginning of it.
        others = {other for other in ids if other != one and other.startswith(shown[one])}
        assert not others or shown[one] == one
    assert len(set(shown.values())) == len(ids)


def test_rules_whose_ids_begin_alike_are_told_apart_in_the_table() -> None:
    stage = Stage(text_of("same-beginning-one"), text_of("same-beginning-two"))
    stage.see(0, "shell", 60)
    stage.tell()
    sink = StringIO()
    with answering(exposition()) as url:
        run_stats(url, None, by="title", as_json=False, sink=sink)
    words = {line.split()[0] for line in sink.getvalue().splitlines() if line.strip()}
    assert {"same-beginning-o", "same-beginning-t"} <= words


def test_a_door_that_does_not_answer_or_refuses_is_an_error_that_names_it() -> None:
    with pytest.raises(RetryLater, match=r"no door at http://127\.0\.0\.1:9 "):
        run_stats("http://127.0.0.1:9", None, by="title", as_json=True, sink=StringIO())
    with answering(b"<html>", status=403) as url, pytest.raises(ConfigError) as refused:
        run_stats(url, "a token", by="title", as_json=True, sink=StringIO())
    assert str(refused.value) == (
        f"{url} refuses: 403; --url names the door, TACHO_DOOR_TOKEN holds a token with the role"
        " metrics"
    )


@contextmanager
def answering(body: bytes, *, status: int = 200) -> Iterator[str]:
    """A door that says this of its metrics; its address."""

    class Door(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/metrics" else 404)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Door) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()
