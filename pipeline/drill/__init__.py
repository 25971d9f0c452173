"""`tacho drill`: a harmless attack sent through the door, and whether it is an alert in time."""
