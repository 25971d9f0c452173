"""More partitions of agent.actions: its next generation, with what is kept of the one before."""
