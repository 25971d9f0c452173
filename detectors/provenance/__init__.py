"""Whose wish was it: follows words and values through a session, from what the user asked and what
tools brought in to the calls that an agent makes.
"""
