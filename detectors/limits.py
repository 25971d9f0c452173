"""What the engine may hold at most, and for how long. Each has a test; evictions are counted and
told.
"""

import msgspec

MICROS = 1_000_000


class Limits(msgspec.Struct, frozen=True):
    """Bounds of one partition's detector."""

    # An action older than its observed time less this is late (SEMANTICS 3).
    allowed_lateness_s: int = 60
    # Groups that one rule remembers.
    groups_per_rule: int = 100_000
    # Events that one rule remembers of one group, the newest.
    events_per_group: int = 10_000
    # Events that one rule remembers in all, the newest.
    events_per_rule: int = 500_000
    # Signals of one rule that can still be revised or retracted.
    signals_per_rule: int = 50_000
    # Signals remembered because their session or agent may still become known.
    unlinked_signals: int = 10_000
    # Matches sent elsewhere, remembered because their group may still change for the same reason.
    unlinked_matches: int = 20_000
    # Sessions whose words and calls are followed, and the characters that they hold in all.
    live_sessions: int = 50_000
    session_chars: int = 64_000_000
    # The same of one session; what is oldest goes first.
    chars_per_session: int = 200_000
    steps_per_session: int = 1_000
    # Agents, and persons at sessions, whose behaviour is known.
    behaviour_agents: int = 100_000
    # Their windows of one length that may still change.
    behaviour_windows: int = 1_000_000

    @property
    def allowed_lateness_us(self) -> int:
        return self.allowed_lateness_s * MICROS
