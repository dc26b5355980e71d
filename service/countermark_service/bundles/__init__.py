"""Reading a bundle folder: manifest, digest, vectors. No network, no process, no registry."""

from countermark_service.bundles.bundle import Bundle, read_bundle
from countermark_service.bundles.digest import tree_digest
from countermark_service.bundles.manifest import Limits, Manifest, read_manifest
from countermark_service.bundles.vectors import Expectation, Vector, read_vectors

__all__ = [
    "Bundle",
    "Expectation",
    "Limits",
    "Manifest",
    "Vector",
    "read_bundle",
    "read_manifest",
    "read_vectors",
    "tree_digest",
]
