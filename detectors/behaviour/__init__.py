"""Machine-speed behaviour: an agent out of line with itself, a person faster than any hand."""
