"""A statement of one server, as those of a cluster that parts rows among shards."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tachograph.pipeline.errors import ConfigError
from tachograph.pipeline.store.columns import quoted
from tachograph.pipeline.store.shards import sharded

CREATE = """CREATE TABLE IF NOT EXISTS tacho.things_data ON CLUSTER 'main'
(
    `tenant` String,
    `id` String,
    `revision` UInt64
)
ENGINE = ReplicatedReplacingMergeTree(revision)
ORDER BY {by}
TTL stored_at + toIntervalDay(90)
COMMENT 'Things: each once.'"""


def test_a_table_becomes_one_of_a_shard_and_one_over_all_of_them() -> None:
    local, over = sharded(CREATE.format(by="(tenant, id)"), "main")
    assert local == CREATE.format(by="(tenant, id)").replace(
        "things_data", "things_data_local"
    ).replace(
        "MergeTree(revision)",
        "MergeTree('/clickhouse/tables/{uuid}/{shard}', '{replica}', revision)",
    )
    assert over == (
        "CREATE TABLE IF NOT EXISTS tacho.things_data ON CLUSTER 'main'"
        " AS tacho.things_data_local\n"
        "ENGINE = Distributed('main', 'tacho', 'things_data_local', cityHash64(tenant, id))\n"
        "COMMENT 'Things: each once.'"
    )


@pytest.mark.parametrize("by", ["(tenant, lower(id))", "tuple()", "(tenant, id DESC)"])
def test_a_table_that_is_not_sorted_by_columns_alone_is_refused(by: str) -> None:
    with pytest.raises(ConfigError, match="things_data"):
        sharded(CREATE.format(by=by), "main")


@pytest.mark.parametrize(
    "statement",
    [
        "DROP TABLE tacho.things_data ON CLUSTER 'main'",
        "CREATE MATERIALIZED VIEW tacho.x ON CLUSTER 'main' AS SELECT 1",
        "ALTER TABLE tacho.things_data ON CLUSTER 'main' DELETE WHERE 1",
        "ALTER TABLE tacho.things_data ON CLUSTER 'main' ADD COLUMN a String, DELETE WHERE 1",
        "ALTER TABLE tacho.things_data ADD COLUMN a String",
    ],
)
def test_a_statement_of_another_kind_is_refused_rather_than_guessed(statement: str) -> None:
    with pytest.raises(ConfigError, match="cannot be sharded"):
        sharded(statement, "main")


OF_COLUMNS = st.builds(
    "ADD COLUMN IF NOT EXISTS `{}` Map(String, DateTime64(6, 'UTC')) COMMENT {} CODEC({})".format,
    st.from_regex(r"[a-z_]{1,9}", fullmatch=True),
    st.text(alphabet="ab,()'`\\; \n", max_size=12).map(quoted),
    st.just("Delta(8), ZSTD(1)"),
) | st.text(alphabet="ab,()'`\\; \n", max_size=12).map(
    lambda said: f"COMMENT COLUMN `a` {quoted(said)}"
)
OF_STORAGE = st.sampled_from(
    ["MODIFY ORDER BY (a, b, c)", "ADD INDEX IF NOT EXISTS i (a, b) TYPE bloom_filter(0.01)"]
)


@given(st.lists(OF_COLUMNS | OF_STORAGE, min_size=1, max_size=5))
def test_the_table_over_shards_gets_the_columns_and_the_one_under_it_everything(
    commands: list[str],
) -> None:
    text = f"ALTER TABLE tacho.a ON CLUSTER 'main'\n    {', '.join(commands)}"
    shown = [one for one in commands if re.match(r"(ADD|COMMENT) COLUMN", one)]
    wanted = [("a_local", commands), *([("a", shown)] if shown else [])]
    assert sharded(text, "main") == [
        f"ALTER TABLE tacho.{table} ON CLUSTER 'main'\n    " + ",\n    ".join(some)
        for table, some in wanted
    ]
