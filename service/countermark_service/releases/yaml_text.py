"""YAML as people write it, read once, in one place, with bounds.

A file of YAML can be small and stand for gigabytes (aliases of aliases), hold a key
twice, or name Python objects. Read here, it is plain values or an error. The parser
belongs to the extra `audit`: what needs it says so where it is not installed.
"""

from typing import Any

from countermark_service.errors import UnavailableError
from countermark_service.releases.release import CardError

LARGEST_TEXT = 4 << 20
"""Bytes."""
_MOST_VALUES = 100_000
_DEEPEST = 100


def load_yaml(text: str, *, file: str) -> Any:
    """Return the values of a YAML document.

    Raises:
        CardError: It is none, or too large once its aliases are followed.
        UnavailableError: The parser is not installed.
    """
    if len(text) > LARGEST_TEXT:
        raise CardError(file, "", f"has over {LARGEST_TEXT} characters of YAML")
    try:
        from ruamel.yaml import YAML
        from ruamel.yaml.error import YAMLError
    except ImportError as exc:
        raise UnavailableError("reading YAML needs more packages: pip install 'countermark[audit]'.") from exc
    try:
        value = YAML(typ="safe", pure=True).load(text)
    except (YAMLError, ValueError, RecursionError) as exc:
        first = " ".join(str(exc).split())[:200]
        raise CardError(file, "", f"is not YAML that can be read: {first}") from exc
    hold_to_bounds(value, file=file)
    return value


def hold_to_bounds(value: Any, *, file: str) -> None:
    """Refuse a document that is deeper or larger than any configuration is.

    It is walked as its readers will walk it: aliases make it a graph that is larger than its text.

    Raises:
        CardError: It is.
    """
    count, level = 0, [value]
    for _ in range(_DEEPEST):
        below: list[Any] = []
        for one in level:
            below.extend(one.values() if isinstance(one, dict) else one if isinstance(one, list) else ())
            if count + len(below) > _MOST_VALUES:
                raise CardError(file, "", f"stands for over {_MOST_VALUES} values")
        if not below:
            return
        count += len(below)
        level = below
    raise CardError(file, "", f"is nested over {_DEEPEST} levels deep")
