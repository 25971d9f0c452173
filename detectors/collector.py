"""Python's cycle collector, kept from walking through signals while they are being made, and
through modules.

A flood makes many small objects, none of them in a cycle, and each few hundred of them start a walk
over all of them: that costs more than making them. Memory stays bounded: a batch is, and the
collector runs again after it.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def resting() -> Iterator[None]:
    """No walks inside; as before afterwards."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


@contextmanager
def loading() -> Iterator[None]:
    """As `resting`, for imports: what is there afterwards stays and is never walked again, at the
    end of the process least of all, where that takes as long as judging thousands of events.
    """
    with resting():
        yield
    gc.freeze()
