"""Stand-ins that speak the real protocols on loopback: a broker and a ClickHouse."""
