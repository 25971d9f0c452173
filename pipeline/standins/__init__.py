"""Stand-ins that speak the real protocols on loopback: a broker and a ClickHouse, for a first look and for tests."""
