"""Runs in an environment of its own, where pyatr is: judges texts, prints what that cost.

python peer_atr.py RULES TEXTS
"""

import json
import sys
import time
from pathlib import Path

from pyatr.engine import ATREngine
from pyatr.types import AgentEvent


def main() -> None:
    """Print CPU seconds and how many texts matched any rule."""
    rules, texts = sys.argv[1:]
    engine = ATREngine()
    engine.load_rules_from_directory(rules)
    events = [
        AgentEvent(content=text, event_type="llm_input")
        for text in json.loads(Path(texts).read_text(encoding="utf-8"))
    ]
    begin_s = time.process_time()
    found = sum(bool(engine.evaluate(event)) for event in events)
    sys.stdout.write(json.dumps({"cpu_s": time.process_time() - begin_s, "found": found}))


if __name__ == "__main__":
    main()
