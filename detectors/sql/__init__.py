"""Rules as ClickHouse SQL over stored actions: the same question, asked of what was kept."""
