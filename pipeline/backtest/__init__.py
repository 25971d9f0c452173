"""`tacho backtest`: changed rules over stored actions, and what would have been said otherwise."""
