"""Conditions on single events, asked of whole batches: words first, then the exact conditions."""
