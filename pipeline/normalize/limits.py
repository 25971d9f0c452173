"""Every limit of `normalize`, in one place. Beyond one, the item is a dead letter or is cut and
says so.
"""

from typing import Final

# A raw record as it lies in Kafka, and what it may unpack to.
RECORD_BYTES: Final = 1_000_000
UNPACKED_BYTES: Final = 8_000_000
# One action or span, as canonical JSON of what the producer sent.
ACTION_BYTES: Final = 256_000
# One text; longer ones are cut at a character and named in `truncated`.
TEXT_BYTES: Final = 64_000
JSON_DEPTH: Final = 64
ATTRIBUTES: Final = 256
ATTRIBUTE_NAME_BYTES: Final = 256
LIST_ITEMS: Final = 1_000
# Actions one raw record may hold.
ITEMS: Final = 20_000
CONTENT_URLS: Final = 100

# Lateness and the bounds around observed time (SEMANTICS: time), in microseconds.
SECOND_US: Final = 1_000_000
DAY_US: Final = 86_400 * SECOND_US
ALLOWED_LATENESS_US: Final = 60 * SECOND_US
FAR_PAST_US: Final = 7 * DAY_US
FAR_FUTURE_US: Final = 600 * SECOND_US
OLDEST_US: Final = 946_684_800 * SECOND_US  # 2000-01-01
IMPOSSIBLE_US: Final = 5 * 366 * DAY_US
# A record of the door reaches the log within this; beyond it the log's own clock counts.
DOOR_HOLD_US: Final = 5 * SECOND_US

# Session links known already, so that a trace is not announced with every batch.
KNOWN_LINKS: Final = 200_000
# Parents walked to find the agent or conversation of a span.
ANCESTORS: Final = 64
CACHED_TEXTS: Final = 10_000
