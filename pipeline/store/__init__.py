"""The `store` stage: from topics to ClickHouse, each record once in what analysts read."""
