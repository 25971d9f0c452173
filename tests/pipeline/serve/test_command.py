"""`tacho serve` as a process."""

import json
import os
import signal
import subprocess
import sys

import httpx

from tachograph.pipeline.settings import Settings
from tests.waiting import WAIT_S


def test_the_verb_opens_the_door_and_a_signal_closes_it_cleanly(settings: Settings) -> None:
    environ = {
        **os.environ,
        "KAFKA_BOOTSTRAP_SERVERS": settings.kafka.bootstrap,
        "TACHO_HOME": str(settings.home),
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "tachograph.pipeline.cli", "serve", "--port", "0"],
        env=environ, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stderr is not None
        said = (json.loads(line) for line in process.stderr)
        url = next(line["url"] for line in said if line["event"] == "door open")
        assert httpx.get(f"{url}/healthz", verify=False, timeout=WAIT_S).status_code == 200  # noqa: S501
        process.send_signal(signal.SIGTERM)
        assert process.wait(WAIT_S) == 0
        assert [line["event"] for line in said] == ["door closed", "stopped"]
    finally:
        process.kill()
        process.wait()
        assert process.stderr is not None
        process.stderr.close()
