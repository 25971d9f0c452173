"""`tacho alert`, `tacho session`, `tacho agent`: an investigation as one page."""
