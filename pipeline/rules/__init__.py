"""`tacho rules`: write rules, check, test, show and explain them."""
