"""Frozen values that every other room speaks in: refs, digests, items, verdicts."""

from countermark_service.model.item import Item, item_digests, item_keys, last_assistant_text, reduced_key
from countermark_service.model.ref import DIGEST_PATTERN, BundleRef
from countermark_service.model.verdict import CACHEABLE, FAILURES, OnFailure, Outcome, Verdict

__all__ = [
    "CACHEABLE",
    "DIGEST_PATTERN",
    "FAILURES",
    "BundleRef",
    "Item",
    "OnFailure",
    "Outcome",
    "Verdict",
    "item_digests",
    "item_keys",
    "last_assistant_text",
    "reduced_key",
]
