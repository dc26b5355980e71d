"""Cards that name the whole feedback interface of a release: rules apart from storage."""

from countermark_service.releases.card import (
    CARD_NAME,
    FACTORS,
    Outputs,
    ReleaseCard,
    Result,
    Route,
    card_schema,
)
from countermark_service.releases.release import (
    CardError,
    Release,
    ReleaseRefError,
    parse_release_ref,
    read_release,
    read_release_file,
    release_of,
)

__all__ = [
    "CARD_NAME",
    "FACTORS",
    "CardError",
    "Outputs",
    "Release",
    "ReleaseCard",
    "ReleaseRefError",
    "Result",
    "Route",
    "card_schema",
    "parse_release_ref",
    "read_release",
    "read_release_file",
    "release_of",
]
