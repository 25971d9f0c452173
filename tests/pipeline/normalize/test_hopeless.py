"""When rubbish on a topic stops the stage, and when it is only said."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tachograph.pipeline.errors import Refused
from tachograph.pipeline.normalize.core import Normalizer
from tachograph.pipeline.normalize.hopeless import Hopeless

from .conftest import action, record, request

BATCHES = st.lists(
    st.tuples(
        st.booleans(),
        st.dictionaries(
            st.tuples(st.just("t"), st.sampled_from([None, "a", "b", "c"])), st.integers(1, 9)
        ),
    )
)


@settings(deadline=None)
@given(BATCHES)
def test_it_stops_when_enough_of_several_sources_was_refused_and_nothing_ever_used(
    batches: list[tuple[bool, dict[tuple[str, str | None], int]]],
) -> None:
    hopeless = Hopeless(records=10, sources=3)
    used, count, sources = False, 0, set()
    for usable, refused in batches:
        used |= usable
        count += sum(refused.values())
        sources |= {principal for _, principal in refused}
        if not used and count >= 10 and len(sources) >= 3:
            with pytest.raises(Refused, match=f"t: none of {count} records"):
                hopeless.see(["t"] if usable else [], refused)
            return
        hopeless.see(["t"] if usable else [], refused)
        assert bool(hopeless.troubles()) == (not used and count >= 10)


def test_one_source_never_stops_the_stage_however_much_it_sends() -> None:
    hopeless = Hopeless()
    for _ in range(100):
        hopeless.see([], {("agent.raw", None): 5_000, ("agent.raw", "gateway"): 5_000})
    assert hopeless.troubles() == [
        "agent.raw: none of 1000000 records since the start could be decoded"
    ]


def test_a_record_counts_as_refused_when_nothing_in_it_could_be_used(core: Normalizer) -> None:
    both_bad = b'{"kind":"x"}\n{"kind":"y"}'
    found = core.normalize([record(b"{"), record(both_bad), record([action(), 1])])
    assert found.usable == {"agent.raw"}
    assert found.refused == {("agent.raw", None): 2}
    empty = core.normalize([record(request(), topic="otlp_spans")])
    assert (empty.usable, empty.refused) == ({"otlp_spans"}, {})
