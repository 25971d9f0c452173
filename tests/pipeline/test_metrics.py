"""Processes together: lag adds up, the slowest says how far, and the dead are silent."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

PROGRAM = """
import sys, time
from tachograph.pipeline import metrics
lag, reached, stalled = map(float, sys.argv[1:])
metrics.LAG.labels("detect", "agent.actions").set(lag)
metrics.WATERMARK.labels("detect").set(reached)
metrics.STALLED_PARTITIONS.labels("detect").set(stalled)
metrics.DUPLICATES.labels("detect").inc(5)
print("said", flush=True)
time.sleep(600)
"""
SHOW = "from tachograph.pipeline import metrics; print(metrics.exposition().decode())"


class Processes:
    """Processes that share a folder of metrics."""

    def __init__(self, folder: Path) -> None:
        self._env = os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(folder)}
        self.running: list[subprocess.Popen[str]] = []

    def start(self, lag: float, reached: float, stalled: float) -> None:
        """One that says this of itself and goes on living."""
        values = [str(value) for value in (lag, reached, stalled)]
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *values],
            env=self._env, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.running.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "said\n"

    def kill_first(self) -> None:
        """End the oldest as a power cut would."""
        process = self.running.pop(0)
        process.send_signal(signal.SIGKILL)
        process.communicate()

    def shown(self) -> dict[str, float]:
        """What a look at the metrics shows of detect."""
        text = subprocess.check_output([sys.executable, "-c", SHOW], env=self._env, text=True)
        samples = [s for family in text_string_to_metric_families(text) for s in family.samples]
        return {s.name: s.value for s in samples if s.labels.get("stage") == "detect"}


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    made = Processes(tmp_path)
    yield made
    while made.running:
        made.kill_first()


def test_a_file_that_a_process_is_just_making_disturbs_nobody(
    processes: Processes, tmp_path: Path
) -> None:
    processes.start(lag=2, reached=1, stalled=0)
    (tmp_path / "counter_999999.db").touch()
    assert processes.shown()["tacho_lag_records"] == 2


def test_lag_adds_up_the_slowest_says_how_far_and_the_dead_are_silent(processes: Processes) -> None:
    processes.start(lag=100, reached=50, stalled=2)
    processes.start(lag=30, reached=70, stalled=1)
    shown = processes.shown()
    assert shown["tacho_lag_records"] == 130
    assert shown["tacho_watermark_seconds"] == 50
    assert shown["tacho_stalled_raw_partitions"] == 2
    processes.kill_first()
    shown = processes.shown()
    assert shown["tacho_lag_records"] == 30
    assert shown["tacho_watermark_seconds"] == 70
    assert shown["tacho_stalled_raw_partitions"] == 1
    assert shown["tacho_duplicates_total"] == 10
