"""Reference data: what is known of agents, tools, suppliers and people, as columns for rules."""
