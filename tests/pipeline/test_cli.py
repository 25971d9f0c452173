"""`tacho` by itself, whatever its verbs do."""

import subprocess
import sys

# What takes a second to import, and a verb imports when it runs.
HEAVY = ("polars", "numpy", "sklearn", "confluent_kafka", "clickhouse_connect", "sigma", "faust")


def test_help_comes_without_what_only_verbs_need() -> None:
    said = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys, tachograph.pipeline.cli; print(*sys.modules.keys() & set(sys.argv))",
            *HEAVY,
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout.split() == []
