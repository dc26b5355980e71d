"""Which verifier versions exist here, and that they still are what was published."""

from countermark_service.registry.advisories import (
    ADVISORIES_NAME,
    Advisory,
    AdvisoryBook,
    AdvisoryError,
    YankedError,
    append_advisory,
    append_withdrawal,
    make_advisory,
    read_advisories,
)
from countermark_service.registry.children import ChildError, bundles_below, check_children
from countermark_service.registry.published import PublishedList, append_published, read_published
from countermark_service.registry.registry import Registry, bundle_roots

__all__ = [
    "ADVISORIES_NAME",
    "Advisory",
    "AdvisoryBook",
    "AdvisoryError",
    "ChildError",
    "PublishedList",
    "Registry",
    "YankedError",
    "append_advisory",
    "append_published",
    "append_withdrawal",
    "bundle_roots",
    "bundles_below",
    "check_children",
    "make_advisory",
    "read_advisories",
    "read_published",
]
