"""`tacho reproduce`: an alert judged again from what was kept of its evidence."""
