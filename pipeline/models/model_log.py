"""Models of behaviour on agent.config: said, and read back.

One speaks, another may stand beside it in the shadow; each holds from an observed time on, and no
model is a model too, so that one can be taken out of force.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from tachograph.detectors.behaviour.model import Model, decode
from tachograph.detectors.behaviour.models import NO_MODELS, Held, Models
from tachograph.pipeline.clock import Clock, system_us, to_us
from tachograph.pipeline.config_log import EVERY_TENANT, Said
from tachograph.pipeline.log import get

log = get("models")

SUBJECT: Final = "model"
LIVE: Final = "behaviour"
SHADOW: Final = "behaviour.shadow"
NAMES: Final = {False: LIVE, True: SHADOW}
# What is said where a model is taken out of force.
NONE: Final = "none"
# What was over before that is of windows that nobody judges again.
_KEPT_US: Final = 8 * 24 * 3600 * 1_000_000


def ours(said: Iterable[Said]) -> list[Said]:
    """Those that say which models of behaviour hold."""
    return [
        one
        for one in said
        if one.activation.subject == SUBJECT
        and one.activation.name in NAMES.values()
        and one.activation.tenant == EVERY_TENANT
    ]


def in_order(said: Iterable[Said], *, shadow: bool) -> list[Said]:
    """Those of one name, by the time from which they hold; of several the one said last."""
    named = [one for one in ours(said) if one.activation.name == NAMES[shadow]]
    return sorted(named, key=lambda one: (one.activation.effective_from, one.offset))


class ModelLog:
    """The models that a log says. A content that cannot be used counts as not said."""

    def __init__(self, content: Callable[[str], bytes | None], clock: Clock = system_us) -> None:
        self._content, self._clock = content, clock
        self._said: list[Said] = []
        self._read: dict[str, Model] = {}
        self.refused: dict[str, str] = {}
        # As detectors ask them; another object once something changes.
        self.models = NO_MODELS

    def note(self, said: Iterable[Said]) -> None:
        """Take in activations, in the order of the log. Reads models, which takes a second each."""
        found = ours(said)
        if not found:
            return
        self._said += found
        self.models = Models(self._line(shadow=False), self._line(shadow=True))

    def _line(self, *, shadow: bool) -> list[Held]:
        ordered = in_order(self._said, shadow=shadow)
        return [held for one in self._needed(ordered) for held in self._held(one)]

    def _needed(self, ordered: Sequence[Said]) -> Sequence[Said]:
        since_us = self._clock() - _KEPT_US
        over = [one for one in ordered if to_us(one.activation.effective_from) <= since_us]
        return ordered[max(0, len(over) - 1) :]

    def _held(self, said: Said) -> list[Held]:
        name, from_us = said.activation.content_hash, to_us(said.activation.effective_from)
        if name == NONE:
            return [Held(from_us, None)]
        try:
            return [Held(from_us, self._model(name))]
        except ValueError as error:
            if name not in self.refused:
                log.warning("model refused: what was in force stays", reason=str(error))
            self.refused[name] = f"model {name[:12]}: {error}"
            return []

    def _model(self, name: str) -> Model:
        if name not in self._read:
            content = self._content(name)
            if content is None:
                raise ValueError("its content is not in the log")
            self._read[name] = decode(content)
        return self._read[name]
