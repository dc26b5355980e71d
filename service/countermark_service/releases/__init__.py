"""Cards that name the whole feedback interface of a release: rules apart from storage."""

from countermark_service.releases.book import (
    DamagedReleaseError,
    Registered,
    ReleaseBook,
    ReleaseConflictError,
    ReleaseMismatchError,
    ReleaseVersionRequiredError,
    UnknownReleaseError,
)
from countermark_service.releases.card import (
    CARD_NAME,
    FACTORS,
    Outputs,
    ReleaseCard,
    Result,
    Route,
    card_schema,
)
from countermark_service.releases.completeness import Completeness, FactorGrade, grade_card
from countermark_service.releases.release import (
    CardError,
    Release,
    ReleaseRefError,
    parse_release_ref,
    read_release,
    read_release_file,
    release_of,
    require_pins,
)
from countermark_service.releases.use import ContradictionError, ReleaseUse, UnknownTaskError

__all__ = [
    "CARD_NAME",
    "FACTORS",
    "CardError",
    "Completeness",
    "ContradictionError",
    "DamagedReleaseError",
    "FactorGrade",
    "Outputs",
    "Registered",
    "Release",
    "ReleaseBook",
    "ReleaseCard",
    "ReleaseConflictError",
    "ReleaseMismatchError",
    "ReleaseRefError",
    "ReleaseUse",
    "ReleaseVersionRequiredError",
    "Result",
    "Route",
    "UnknownReleaseError",
    "UnknownTaskError",
    "card_schema",
    "grade_card",
    "parse_release_ref",
    "read_release",
    "read_release_file",
    "release_of",
    "require_pins",
]
