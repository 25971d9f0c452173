"""The head of the list is asked for once, however many look, and a fault is not asked for again and
again.
"""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from tachograph.pipeline.serve.asking import Asking
from tachograph.pipeline.serve.console.pulse import EVERY_S, Now, Pulse
from tachograph.pipeline.serve.errors import RequestError
from tachograph.pipeline.settings import ClickHouseSettings


class Asked(Asking):
    """Counts questions; the answers are of their tenant and number."""

    def __init__(self) -> None:
        super().__init__(ClickHouseSettings(url="http://127.0.0.1:9"))
        self.asked: list[str | None] = []
        self.fails = False

    async def ask(self, tenant: str | None, question: Callable[..., Any]) -> Any:
        self.asked.append(tenant)
        await asyncio.sleep(0)
        if self.fails:
            raise RequestError(503, "ClickHouse does not answer")
        return Now({str(tenant): len(self.asked)}, [])


def test_fifty_who_look_are_one_question_a_tenant_until_it_is_old() -> None:
    async def look() -> None:
        asking, now_s = Asked(), [0.0]
        pulse = Pulse(asking, lambda: now_s[0])
        for age_s, asked in ((0.0, 2), (EVERY_S / 2, 2), (EVERY_S, 4)):
            now_s[0] = age_s
            told = await asyncio.gather(*(pulse.of(one) for one in ["a", "b"] * 25))
            assert [set(one.counts) for one in told] == [{"a"}, {"b"}] * 25
            assert len(asking.asked) == asked

    asyncio.run(look())


def test_a_fault_is_told_to_all_and_asked_about_later() -> None:
    async def look() -> None:
        asking, now_s = Asked(), [0.0]
        pulse = Pulse(asking, lambda: now_s[0])
        asking.fails = True
        for _ in range(3):
            with pytest.raises(RequestError):
                await pulse.of(None)
        assert len(asking.asked) == 1
        asking.fails, now_s[0] = False, EVERY_S
        assert (await pulse.of(None)).counts == {"None": 2}

    asyncio.run(look())


def test_who_leaves_takes_the_answer_from_nobody() -> None:
    async def look() -> None:
        asking = Asked()
        pulse = Pulse(asking)
        leaving, staying = (asyncio.create_task(pulse.of("a")) for _ in range(2))
        await asyncio.sleep(0)
        leaving.cancel()
        assert (await staying).counts == {"a": 1}

    asyncio.run(look())
