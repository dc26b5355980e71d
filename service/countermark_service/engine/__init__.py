"""Environments, worker processes, the pool, and the wire between them."""
