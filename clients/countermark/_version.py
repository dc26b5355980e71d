"""The version of this distribution, kept as a constant because reading package metadata costs start time."""

__version__ = "0.1.0"
