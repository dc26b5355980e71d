"""Countermark service."""
