"""Rules over several events of a group: what is remembered, and where a condition comes to hold."""
