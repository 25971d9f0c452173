"""Measures how well sessions are judged, and writes docs/detection-quality.md anew.

    python -m infra.quality            # measure, write the page
    python -m infra.quality --train    # and the model of the package first

Needs the labelled traces in TACHO_SHARED (or ../shared beside the checkout).
"""

import argparse
import sys

import msgspec

from infra.quality import misuse, speed
from infra.quality.data import sets
from infra.quality.evaluate import chosen, final, left_out
from infra.quality.fit import Levels
from infra.quality.report import confusion, others, suites, timing
from infra.quality.traces import ROOT, TRACES
from tachograph.detectors.provenance.model import FILE, decoded

PAGE = ROOT / "docs" / "detection-quality.md"


def replaced(page: str, name: str, table: str) -> str:
    """The page with what stands between the marks of this name made anew."""
    begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->\n"
    before, rest = page.split(begin)
    _, after = rest.split(end)
    return f"{before}{begin}{table}{end}{after}"


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--train", action="store_true", help="write the package's model anew")
    options = parser.parse_args()
    if not TRACES.is_dir():
        print(f"No labelled traces in {TRACES}: set TACHO_SHARED", file=sys.stderr)
        return 1
    data = sets()
    found = left_out(data)
    if options.train:
        FILE.write_bytes(msgspec.json.encode(final(data, chosen(data, found))) + b"\n")
    model = decoded(FILE.read_bytes())
    levels = Levels(model.high, model.medium)
    page = PAGE.read_text(encoding="utf-8")
    tables = {"suites": suites, "confusion": confusion, "others": others, "timing": timing}
    made = {name: table(data, found, levels) for name, table in tables.items()}
    made |= {"misuse": misuse.measured(), "speed": speed.table()}
    for name, table in made.items():
        page = replaced(page, name, table)
        print(table)
    PAGE.write_text(page, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
