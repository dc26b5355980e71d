"""Countermark client."""
