"""How long what is kept, what is held, and deletions that leave the evidence verifiable."""
