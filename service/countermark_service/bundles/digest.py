"""The digest that names a bundle's content.

A bundle is pinned by one SHA-256 over its declared files, so that a result can
be traced to the exact bytes that made it. The lock among these files carries the
hashes of every dependency, so the digest covers those too. This module hashes
bytes; it does not know where bundles come from or how they run.
"""

import hashlib
from collections.abc import Mapping

import rfc8785


def tree_digest(files: Mapping[str, bytes]) -> str:
    """Return the digest of `files`, as ``sha256:<64 hex digits>``.

    Hashed is the RFC 8785 JSON of ``[{"path", "sha256", "size"}, …]``, sorted by
    path as a POSIX string, so neither the operating system nor the order in the
    manifest changes the digest. Undeclared files (byte-code caches, editor
    droppings) are not in `files` and take no part.

    Args:
        files: Content by path relative to the bundle's folder.
    """
    rows: list[dict[str, str | int]] = [
        {"path": path, "sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
        for path, content in sorted(files.items())
    ]
    return "sha256:" + hashlib.sha256(rfc8785.dumps(rows)).hexdigest()
