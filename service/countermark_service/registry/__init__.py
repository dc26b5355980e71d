"""Which verifier versions exist here, and that they still are what was published."""

from countermark_service.registry.children import ChildError, check_children
from countermark_service.registry.published import PublishedList, append_published, read_published
from countermark_service.registry.registry import Registry, bundle_roots

__all__ = [
    "ChildError",
    "PublishedList",
    "Registry",
    "append_published",
    "bundle_roots",
    "check_children",
    "read_published",
]
