"""Whether a session is put to what it is not for: users who talk an agent out of its rules, what
was refused and then got another way, data that leaves for where nobody meant it to go.
"""
