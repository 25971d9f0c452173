"""Every limit of the door, in one place."""

import msgspec

from tachograph.pipeline.normalize import limits as normalize

MIB = 1_048_576


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds on what clients may make the door hold or do. Each has a test."""

    # One request.
    compressed_bytes: int = 4 * MIB
    body_bytes: int = 16 * MIB
    gzip_members: int = 64
    depth: int = normalize.JSON_DEPTH
    lines: int = 10_000
    line_bytes: int = normalize.ACTION_BYTES
    # What `normalize` takes as one record: the door accepts nothing that would only die there.
    record_bytes: int = normalize.RECORD_BYTES
    unpacked_bytes: int = normalize.UNPACKED_BYTES
    record_items: int = normalize.ITEMS
    # Native actions of one agent are joined up to here.
    joined_bytes: int = 262_144
    header_bytes: int = 32_768
    header_timeout_s: float = 10.0
    body_timeout_s: float = 30.0

    # All requests together.
    connections: int = 1_000
    buffered_bytes: int = 128 * MIB
    in_flight_bytes: int = 64 * MIB
    in_flight_records: int = 100_000
    delivery_timeout_s: float = 8.0

    # One client: a principal, or an address where nobody has to say who they are.
    requests_per_s: float = 2_000.0
    burst_requests: float = 4_000.0
    clients: int = 10_000

    # The alert feed.
    watchers: int = 100
    feed_items: int = 10_000
    feed_bytes: int = 32 * MIB
    prefill_items: int = 500
    catching_up: int = 8
    chunk_bytes: int = 65_536
    heartbeat_s: float = 15.0
    # How long a stream of the console goes on before it asks again who watches.
    console_stream_s: float = 300.0
    # How long an answer waits until the store shows what was said.
    stored_within_s: float = 4.0
    send_timeout_s: float = 30.0
    catch_up_send_timeout_s: float = 5.0

    # Directives, and those who listen for them.
    listeners: int = 500
    directives: int = 50_000
