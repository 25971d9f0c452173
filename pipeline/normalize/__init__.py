"""From what producers write to actions: decoded, typed, identified, redacted. Pure but for
stage.py and command.py.
"""
