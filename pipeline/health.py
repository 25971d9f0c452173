"""Beats: every stage says how it is, a few times a minute, on `agent.health`.

A stage calls `beat` as often as it likes, best once a batch; the reporter sends at most one record
every ten seconds and never fails or holds up its stage. Who judges the beats is `forward`.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Literal

from tachograph.pipeline.clock import SECOND_US, Clock, system_us, to_datetime
from tachograph.pipeline.errors import TachoError
from tachograph.pipeline.kafka.writer import Writer
from tachograph.pipeline.log import get
from tachograph.pipeline.settings import Settings
from tachograph.schemas import codec
from tachograph.schemas.contracts import RECORD_HEADER, VERSION_HEADER
from tachograph.schemas.records import Health

HEALTH_TOPIC = "agent.health"
BEAT_EVERY_S = 10
MAX_SOURCES = 1_000
MAX_SOURCE_CHARS = 200
OTHER_SOURCES = "(other)"
# Among the drops of a door: posts that it sent away because the pipeline is behind.
TURNED_AWAY = "turned_away"
# What a stage says of a source that is above its limit of dead letters; decided by that stage.
FLOOD = "flood:"
HEADERS = {RECORD_HEADER: b"health", VERSION_HEADER: b"1"}
# A beat that cannot be delivered soon is worth nothing; none may pile up.
_OVERRIDES = {"delivery.timeout.ms": 20_000, "queue.buffering.max.messages": 1_000}
_CLOSE_S = 2.0

log = get("health")


def record_key(health: Health) -> bytes:
    """Kafka key of a health record."""
    return f"{health.tenant}/{health.component}".encode("utf-8", "replace")


class HealthReporter:
    """Sends the beats of one component. Used by one thread; opens its producer at the first beat.

    `drops` are counts since start, `sources` counts since the last call: the reporter adds those up
    until it sends. What is not given keeps its last value.
    """

    def __init__(
        self,
        settings: Settings,
        component: str,
        *,
        writer: Callable[[], Writer] | None = None,
        clock: Clock = system_us,
    ) -> None:
        self._open = writer or (lambda: Writer(settings, overrides=_OVERRIDES))
        self._writer: Writer | None = None
        self._tenant, self._component, self._clock = settings.tenant, component, clock
        self._sent_us = -BEAT_EVERY_S * SECOND_US
        self._sent_status = "ok"
        self._watermark: datetime | None = None
        self._lag: int | None = None
        self._sources: dict[str, int] = {}
        self._drops: dict[str, int] = {}

    def beat(
        self,
        *,
        watermark: datetime | None = None,
        lag: int | None = None,
        sources: Mapping[str, int] | None = None,
        drops: Mapping[str, int] | None = None,
        status: Literal["ok", "degraded"] = "ok",
        detail: str | None = None,
    ) -> bool:
        """Say how the component is; true when a record was sent. Never raises, hardly ever waits.

        `watermark` is the event or observed time reached, `lag` the records not read yet. A change
        of `status` goes out at once.
        """
        self._watermark = watermark or self._watermark
        self._lag = self._lag if lag is None else lag
        self._drops.update(drops or {})
        self._count(sources or {})
        now_us = self._clock()
        due = now_us - self._sent_us >= BEAT_EVERY_S * SECOND_US
        if not due and status == self._sent_status:
            return False
        self._sent_us, self._sent_status = now_us, status
        return self._send(
            Health(
                component=self._component,
                tenant=self._tenant,
                status=status,
                at=to_datetime(now_us),
                watermark=self._watermark,
                lag=self._lag,
                sources=self._sources,
                drops=dict(self._drops),
                detail=detail,
            )
        )

    def close(self) -> None:
        """Let the last beat out and end."""
        writer, self._writer = self._writer, None
        if writer is None:
            return
        try:
            writer.flush(_CLOSE_S)
        except TachoError as error:
            log.debug("last beat lost", of=self._component, error=str(error))

    def _count(self, sources: Mapping[str, int]) -> None:
        for given, count in sources.items():
            source = given[:MAX_SOURCE_CHARS]
            known = source in self._sources or len(self._sources) < MAX_SOURCES
            name = source if known else OTHER_SOURCES
            self._sources[name] = self._sources.get(name, 0) + count

    def _send(self, health: Health) -> bool:
        try:
            self._writer = self._writer or self._open()
            self._writer.send(
                HEALTH_TOPIC, codec.encode(health), key=record_key(health), headers=HEADERS
            )
        except TachoError as error:
            log.warning("beat lost", of=self._component, error=str(error))
            return False
        self._sources = {}
        return True
