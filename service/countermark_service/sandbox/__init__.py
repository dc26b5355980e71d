"""Containment: what a worker or a candidate program may touch, and how it is run."""

from countermark_service.sandbox.containment import (
    Containment,
    ContainmentLevel,
    Interior,
    detect_containment,
)

__all__ = ["Containment", "ContainmentLevel", "Interior", "detect_containment"]
