"""Alerts in many consoles: how long from Kafka's acknowledgement to the line in each of them."""

import asyncio
import contextlib
import functools
import re
import threading
import time
from collections.abc import Callable
from typing import Final

import msgspec
from confluent_kafka import KafkaError, Message, Producer

from infra.bench.gauge import cpu_s
from infra.bench.rig import Rig, Stage
from infra.bench.table import Figure
from infra.kafka.broker import free_ports
from tachograph.pipeline.kafka.reader import SILENT
from tachograph.pipeline.settings import KafkaSettings
from tachograph.schemas import codec, contracts
from tachograph.schemas.alert import Alert
from tachograph.schemas.contracts import RECORD_HEADER

WATCHERS: Final = 50
PER_S: Final = 20.0
READY_S: Final = 60.0
GIVE_UP_S: Final = 60.0
STEP_S: Final = 0.005
_LINE: Final = re.compile(rb'data-alert="([0-9a-f-]+)"')


class Acknowledged:
    """Puts alerts into the topic, each with its own id, and notes when Kafka had each of them."""

    def __init__(self, settings: KafkaSettings) -> None:
        example = contracts.examples("alert").valid["secret_sent_outside"]
        self._alert = codec.decode(Alert, example)
        self._producer = Producer({**settings.client_config(), "linger.ms": 0, "logger": SILENT})
        self.at_s: dict[bytes, float] = {}

    def send(self, alert_id: str) -> None:
        """One alert; returns when Kafka has it."""
        value = codec.encode(msgspec.structs.replace(self._alert, alert_id=alert_id))
        headers: list[tuple[str, str | bytes | None]] = [(RECORD_HEADER, b"alert")]
        self._producer.produce(
            "agent.alerts", value, alert_id, headers=headers, on_delivery=self._had
        )
        self._producer.flush(READY_S)

    def _had(self, error: KafkaError | None, message: Message) -> None:
        if error is None:
            self.at_s[message.key() or b""] = time.monotonic()


class Consoles:
    """So many browsers with the list open, on a thread of their own."""

    def __init__(self, port: int, count: int) -> None:
        self.seen: list[dict[bytes, float]] = [{} for _ in range(count)]
        self._port = port
        self._watching: asyncio.Future[list[None]]
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._all()), daemon=True)
        self._thread.start()
        self._ready.wait()

    async def _all(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._watching = asyncio.gather(*map(self._watch, self.seen))
        self._ready.set()
        with contextlib.suppress(asyncio.CancelledError):
            await self._watching

    async def _watch(self, seen: dict[bytes, float]) -> None:
        while True:
            try:
                await self._lines(seen)
            except OSError:
                await asyncio.sleep(0.2)  # the door is not there yet

    async def _lines(self, seen: dict[bytes, float]) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port, limit=1 << 20)
        try:
            writer.write(b"GET /console/live HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")
            while line := await reader.readline():
                if found := _LINE.search(line):
                    seen.setdefault(found[1], time.monotonic())
        finally:
            writer.close()

    def all_saw(self, alert_id: str) -> bool:
        """Whether it is in every console."""
        return all(alert_id.encode() in seen for seen in self.seen)

    def close(self) -> None:
        """Close the browsers."""
        self._loop.call_soon_threadsafe(self._watching.cancel)
        self._thread.join()


def figure(rig: Rig, alerts: int) -> Figure:
    """Alerts at a steady rate, each seen in every console. Raises TimeoutError, StageEndedError."""
    port = free_ports(1)[0]
    environment = {**rig.environment(), "TACHO_DOOR_PORT": str(port)}
    sender = Acknowledged(rig.settings.kafka)
    with Stage("serve", environment, rig.folder / "watchers.log") as door:
        consoles = Consoles(port, WATCHERS)
        try:
            _warm_up(door, sender, consoles)
            begin_s, begin_cpu_s = time.monotonic(), cpu_s(door.pid)
            names = [f"{number:032x}" for number in range(alerts)]
            for number, name in enumerate(names):
                sender.send(name)
                time.sleep(max(0.0, begin_s + (number + 1) / PER_S - time.monotonic()))
            _wait(door, lambda: consoles.all_saw(names[-1]), GIVE_UP_S)
            took_s = time.monotonic() - begin_s
            spent_s = cpu_s(door.pid) - begin_cpu_s
        finally:
            consoles.close()
    wanted = [name.encode() for name in names]
    late = sorted(seen[one] - sender.at_s[one] for seen in consoles.seen for one in wanted)
    p50, p99 = (late[int(len(late) * part)] * 1000 for part in (0.5, 0.99))
    return Figure(
        name="watchers",
        per_s=len(late) / took_s,
        core_us=spent_s / len(late) * 1e6,
        bytes_each=0,
        note=f"lines in {WATCHERS} consoles; acknowledged to shown: p50 {p50:,.0f} ms,"
        f" p99 {p99:,.0f} ms, worst {late[-1] * 1000:,.0f} ms",
    )


def _warm_up(door: Stage, sender: Acknowledged, consoles: Consoles) -> None:
    """Until an alert came to all: a watcher is shown what comes after it."""
    end_s, number = time.monotonic() + READY_S, 0
    while time.monotonic() < end_s:
        name = f"{number:x}-{number:x}"
        sender.send(name)
        number += 1
        try:
            _wait(door, functools.partial(consoles.all_saw, name), 1.0)
        except TimeoutError:
            continue
        return
    raise TimeoutError(f"the door showed nothing within {READY_S:.0f} s")


def _wait(door: Stage, done: Callable[[], bool], timeout_s: float) -> None:
    end_s = time.monotonic() + timeout_s
    while not done():
        door.check()
        if time.monotonic() > end_s:
            raise TimeoutError("not every console showed the last alert")
        time.sleep(STEP_S)
