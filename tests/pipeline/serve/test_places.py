"""Places for streams: a bound on all, and some of them always for others."""

import pytest

from tachograph.pipeline.serve.errors import RequestError
from tachograph.pipeline.serve.places import Places


def refused(places: Places, client: str) -> int:
    """How a client is answered that gets no place."""
    with pytest.raises(RequestError) as told:
        places.take(client)
    assert told.value.retry_after_s
    return told.value.status


def test_one_client_never_takes_all_places() -> None:
    places = Places(10, "listeners")
    for _ in range(8):
        places.take("greedy")
    assert refused(places, "greedy") == 429
    for client in ("a", "b"):
        places.take(client)
    assert refused(places, "c") == 503


def test_a_place_that_is_given_back_can_be_taken_again() -> None:
    places = Places(1, "watchers")
    for client in ("a", "b", "a"):
        places.take(client)
        assert refused(places, "c") == 503
        places.give(client)
