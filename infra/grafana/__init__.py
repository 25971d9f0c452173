"""Dashboards for Grafana's ClickHouse data source."""
