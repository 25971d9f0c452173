"""What evidence costs: core-µs of the notary an alert, and `tacho verify` over many leaves.

python -m infra.bench.evidence [--leaves 1000000]
"""

import argparse
import tempfile
import time
from pathlib import Path

import msgspec
import pyarrow as pa

from tachograph.pipeline.clock import system_us, to_datetime
from tachograph.pipeline.migrate import Layout, apply
from tachograph.pipeline.notarize.files import append_lines
from tachograph.pipeline.notarize.growing import Growing
from tachograph.pipeline.notarize.heads import sign_head
from tachograph.pipeline.notarize.keys import Keys
from tachograph.pipeline.notarize.leaves import Leaves
from tachograph.pipeline.notarize.merkle import Edge
from tachograph.pipeline.notarize.records import LEAVES_TABLE, head_rows, leaf_rows
from tachograph.pipeline.settings import ClickHouseSettings
from tachograph.pipeline.standins.clickhouse import EmbeddedClickHouse
from tachograph.pipeline.store.clickhouse import Connection
from tachograph.pipeline.store.sink import insert
from tachograph.pipeline.verify.check import Sources, check
from tachograph.pipeline.verify.findings import text_of
from tachograph.schemas import codec, contracts
from tachograph.schemas.alert import Alert
from tachograph.schemas.records import TreeHead

PLACE = ("agent.alerts", 0)
CLUSTER = "bench"
HEAD_EVERY = 5_000
PIECE = 50_000


def _alert() -> Alert:
    example = contracts.examples("alert").valid["secret_sent_outside"]
    return codec.decode(Alert, example)


def _rows(connection: Connection, first: int, records: list[bytes]) -> None:
    count = len(records)
    table = pa.table(
        {
            "log_cluster": [CLUSTER] * count,
            "log_topic": [PLACE[0]] * count,
            "log_partition": [PLACE[1]] * count,
            "log_offset": range(first, first + count),
            "record": records,
        },
        schema=pa.schema(
            [
                ("log_cluster", pa.string()),
                ("log_topic", pa.string()),
                ("log_partition", pa.int64()),
                ("log_offset", pa.int64()),
                ("record", pa.binary()),
            ]
        ),
    )
    insert(connection, "alerts_log", table)


def notarized(connection: Connection, home: Path, leaves: int, alert: Alert) -> float:
    """Write rows, leaves and heads; core-µs of the notary's own work an alert."""
    key = Keys(home, {}).signing()
    tree = Growing(place=PLACE, leaves=Leaves(PLACE), edge=Edge(), next_offset=0, signed_us=0)
    heads: list[TreeHead] = []
    spent = 0.0
    for first in range(0, leaves, PIECE):
        numbers = range(first, min(leaves, first + PIECE))
        records = [codec.encode(msgspec.structs.replace(alert, revision=n)) for n in numbers]
        _rows(connection, first, records)
        for begin in range(0, len(records), HEAD_EVERY):
            began = time.process_time()
            for offset, record in enumerate(records[begin : begin + HEAD_EVERY], first + begin):
                tree.take(offset, record, 0)
            insert(connection, LEAVES_TABLE, leaf_rows(CLUSTER, tree.pending))
            at = to_datetime(system_us())
            head = sign_head(key, CLUSTER, PLACE, tree.edge, next_offset=tree.next_offset, at=at)
            append_lines(home / "heads", [codec.encode(head)])
            tree.pending.clear()
            spent += time.process_time() - began
            heads.append(head)
    insert(connection, "tree_heads_log", head_rows(heads))
    return spent / leaves * 1e6


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--leaves", type=int, default=1_000_000)
    leaves = parser.parse_args().leaves
    alert = msgspec.structs.replace(_alert(), state=None)
    size = len(codec.encode(alert))
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        with EmbeddedClickHouse(home / "clickhouse") as engine:
            writer = ClickHouseSettings(
                url=engine.url, user=engine.writer_user, password=engine.writer_password
            )
            with Connection(writer) as connection:
                apply(connection, Layout())
                cost = notarized(connection, home, leaves, alert)
            print(f"notarize: {cost:.0f} core-µs an alert of {size:,} bytes")
            sources = Sources(
                heads=home / "heads", deletions=home / "none", ring=Keys(home, {}).ring()
            )
            with Connection(ClickHouseSettings(url=engine.url), reads_only=True) as connection:
                began_s, began_cpu_s = time.monotonic(), time.process_time()
                report = check(connection, sources)
                wall_s = time.monotonic() - began_s
                cpu_s = time.process_time() - began_cpu_s
    print(text_of(report).splitlines()[-1])
    print(f"verify: {leaves:,} leaves in {wall_s:.0f} s, {cpu_s:.0f} s of them of this process")


if __name__ == "__main__":
    main()
