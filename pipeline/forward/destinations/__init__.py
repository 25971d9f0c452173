"""The destinations: one module each, found by import (see `forward.destination`)."""
