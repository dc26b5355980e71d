"""The YAML between two lines of dashes at the head of a README."""

import re
from dataclasses import dataclass

from countermark_service.releases.release import CardError

_FENCE = re.compile(
    r"\A(?P<bom>\ufeff?)(?P<open>---[ \t]*\r?\n)(?P<head>.*?)(?P<close>^---[ \t]*(?:\r?\n|\Z))",
    re.DOTALL | re.MULTILINE,
)


@dataclass(frozen=True, slots=True)
class FrontMatter:
    """A README, cut at its fences; joined again it is the same text."""

    before: str
    """Up to and with the first fence."""
    head: str
    """The YAML, line ends and comments as they are."""
    after: str
    """From the second fence on."""

    def joined(self, head: str) -> str:
        """Return the README with another head."""
        return self.before + head + self.after


def has_front_matter(text: str) -> bool:
    """Whether a text begins with a head between fences."""
    return _FENCE.match(text) is not None


def split_front_matter(text: str, *, file: str) -> FrontMatter:
    """Cut a README at its fences.

    Raises:
        CardError: It has none.
    """
    found = _FENCE.match(text)
    if found is None:
        raise CardError(file, "", "has no YAML between two lines of `---` at its head, as a dataset card has")
    return FrontMatter(found["bom"] + found["open"], found["head"], text[found.start("close") :])
