"""The name of a verifier, and its pin.

A reference has the shape of an OCI one, ``[namespace/]name:version[@digest]``,
so that the same string still works when bundles travel through an OCI registry.
With the digest it is a pin. This module knows the grammar only; which bundles
exist is the registry's matter.
"""

import re
from dataclasses import dataclass

from countermark_service.errors import RefError

_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
NAME_PATTERN = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})?")
VERSION_PATTERN = re.compile(r"[0-9A-Za-z_][0-9A-Za-z._-]{0,127}")
DIGEST_PATTERN = re.compile(r"sha256:[0-9a-f]{64}")
_LONGEST_NAME = 128


@dataclass(frozen=True, slots=True, order=True)
class BundleRef:
    """A parsed reference. `version` and `digest` are None where the text has none."""

    name: str
    """Name with its optional namespace, such as ``judge/equivalence``."""
    version: str | None = None
    """Opaque version, such as ``0.9.0`` or ``0.9.0-r2``."""
    digest: str | None = None
    """``sha256:<64 hex digits>`` of the bundle's content."""

    @classmethod
    def parse(cls, text: str) -> "BundleRef":
        """Read a reference.

        Raises:
            RefError: The text is not of the grammar; the message says where.
        """
        head, at, digest = text.partition("@")
        if at and not DIGEST_PATTERN.fullmatch(digest):
            raise RefError(text, "what follows `@` must be `sha256:` and 64 lowercase hex digits")
        name, colon, version = head.partition(":")
        if len(name) > _LONGEST_NAME or not NAME_PATTERN.fullmatch(name):
            raise RefError(text, "the name must be lowercase letters, digits and single separators `. _ -`")
        if colon and not VERSION_PATTERN.fullmatch(version):
            raise RefError(text, "the version must be 1 to 128 characters of `0-9 A-Z a-z . _ -`")
        return cls(name, version if colon else None, digest if at else None)

    @property
    def pinned(self) -> bool:
        """True where the reference carries the digest."""
        return self.digest is not None

    def with_digest(self, digest: str) -> "BundleRef":
        """Return the pin of this reference."""
        return BundleRef(self.name, self.version, digest)

    def __str__(self) -> str:
        version = "" if self.version is None else f":{self.version}"
        digest = "" if self.digest is None else f"@{self.digest}"
        return f"{self.name}{version}{digest}"
