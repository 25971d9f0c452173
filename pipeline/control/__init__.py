"""Directives to agents and gateways: signed, answered, and what comes of them."""
