"""The ledger: what was acknowledged stays known, within its bounds, through kills and damage."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from tachograph.pipeline.forward import ledger as module
from tachograph.pipeline.forward.ledger import Held, Ledger


def test_what_was_acknowledged_is_known_after_a_restart(tmp_path: Path) -> None:
    first = Ledger(tmp_path / "a.sqlite", "cluster")
    first.acknowledge([("a", 1), ("b", 2)])
    first.acknowledge([("a", 5)])
    first.close()
    again = Ledger(tmp_path / "a.sqlite", "cluster")
    assert again.known(["a", "b", "c"]) == {"a": 5, "b": 2}
    assert len(again) == 2
    again.close()


def test_another_cluster_is_another_log(tmp_path: Path) -> None:
    first = Ledger(tmp_path / "a.sqlite", "one")
    first.acknowledge([("a", 1)])
    first.close()
    other = Ledger(tmp_path / "a.sqlite", "two")
    assert other.known(["a"]) == {}
    other.close()


def test_the_oldest_are_forgotten_at_the_bound(tmp_path: Path) -> None:
    book = Ledger(tmp_path / "a.sqlite", "cluster", capacity=100)
    for n in range(0, 3_000, 100):
        book.acknowledge([(f"{m}", m) for m in range(n, n + 100)])
        book.acknowledge([("kept", n)])
    assert len(book) <= 100 + module._SLACK
    assert book.known(["kept", "0", "2999"]) == {"kept": 2900, "2999": 2999}
    book.close()


def test_asking_for_very_many_is_answered(tmp_path: Path) -> None:
    book = Ledger(tmp_path / "a.sqlite", "cluster")
    book.acknowledge([(f"{n}", n) for n in range(2_000)])
    assert len(book.known([f"{n}" for n in range(5_000)])) == 2_000
    book.close()


def test_a_damaged_file_is_put_aside_and_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    path.write_bytes(b"no database at all " * 100)
    book = Ledger(path, "cluster")
    book.acknowledge([("a", 1)])
    assert book.known(["a"]) == {"a": 1}
    assert (tmp_path / "a.damaged").exists()
    book.close()


def test_what_was_held_back_is_kept_once_and_within_a_bound(tmp_path: Path) -> None:
    book = Ledger(tmp_path / "a.sqlite", "cluster")
    book.hold([Held("a", 1, "high", "r"), Held("b", 2, "low", "r")])
    book.hold([Held("a", 2, "high", "r")])
    assert book.held_before(2) == [Held("a", 1, "high", "r")]
    book.hold(Held(f"{n}", 1, "low", "r") for n in range(module.MAX_HELD + 50))
    assert len(book.held_before(9)) == module.MAX_HELD
    book.forget_held(book.held_before(9))
    assert book.held_before(9) == []
    book.close()


def test_a_killed_process_has_lost_nothing_that_it_wrote(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    code = (
        "import sys; from pathlib import Path\n"
        "from tachograph.pipeline.forward.ledger import Ledger\n"
        f"book = Ledger(Path({str(path)!r}), 'cluster')\n"
        "n = 0\n"
        "while True:\n"
        "    book.acknowledge([(str(n), n)])\n"
        "    print(n, flush=True); n += 1\n"
    )
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert child.stdout is not None
    for line in child.stdout:
        if int(line) >= 50:
            break
    os.kill(child.pid, signal.SIGKILL)
    rest = child.stdout.read().split()
    child.wait()
    child.stdout.close()
    last = int(rest[-1]) if rest else 50
    book = Ledger(path, "cluster")
    assert len(book.known([str(n) for n in range(last + 1)])) == last + 1
    book.close()
