"""Sessions as every detector that follows them keeps them: their steps in order, what waits for
them, and which of all those of a partition are remembered.
"""
