"""The error tree of the pipeline. Library errors are mapped to it at the edge.

TachoError
├── RetryLater      the same call may go through later: a broker away, a server busy
└── Refused         it never will: a bad record, a bad setting, a right that is missing
    └── ConfigError what the operator set cannot be used; the message says what to change
"""


class TachoError(Exception):
    """Base of every error of ours that a caller may want to catch."""


class RetryLater(TachoError):
    """The same call may go through later."""


class Refused(TachoError):
    """The same call never goes through."""


class ConfigError(Refused):
    """A setting cannot be used. The message names it and says what to change."""
