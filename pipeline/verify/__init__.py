"""Whether the logs in ClickHouse are what was notarized."""
