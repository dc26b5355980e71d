"""Members and elements of a large JSON document, one at a time.

Logs of gigabytes are one JSON value, and those that a full disk cut off are common.
Python's own scanner reads one value from a place in a text, so a window over the
file is enough: it grows while a value does not fit and is cut behind every value
that was read. Only the members that a reader names are taken apart; others are
given whole.
"""

import codecs
import io
import json
import re
from collections.abc import Collection, Iterator
from typing import Any

from countermark_service.audit.readers.lines import LARGEST_LINE, InputFileError, read_up_to

_WINDOW = 1 << 20
"""Bytes that are read at a time."""
_LARGEST_VALUE = LARGEST_LINE // 2
"""Characters of one value; a character may take four bytes, and the window is copied when it grows."""
_SPACE = re.compile(r"[ \t\n\r]*")
_scan = json.JSONDecoder(strict=False).raw_decode


class JsonStream:
    """One document; iterate to get its parts."""

    def __init__(self, name: str, stream: io.BufferedReader, lists: Collection[str] = ()) -> None:
        """Read from `stream`.

        Args:
            name: Of the file, for messages.
            stream: UTF-8, unpacked.
            lists: Members of the document that are lists to be given one element at a time.
        """
        self._name, self._stream, self._lists = name, stream, lists
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self._text, self._at, self._passed = "", 0, 0
        self._ended = False
        self.member: str | None = None
        """Name of the member that is being read, or was read last."""

    def __iter__(self) -> Iterator[tuple[str | None, int, Any]]:
        """Yield (member, place, value): members of an object whole, elements of lists with their place from 1.

        A document that is a list has no members: None stands for it. A member that is not taken apart has
        place 0.

        Raises:
            InputFileError: The document is cut off, is none, or not the only one; says at which character. What
                was yielded stands.
        """
        opening = self._next_character()
        if opening == "[":
            self._at += 1
            for place, value in self._elements():
                yield None, place, value
        elif opening == "{":
            self._at += 1
            yield from self._members()
        else:
            raise self._broken("is no JSON object or list")
        if not self._is_at_end():
            raise self._broken("is followed by something else; write one document to a file")

    def _members(self) -> Iterator[tuple[str | None, int, Any]]:
        first = True
        while not self._closes("}", first=first):
            first = False
            key = self._value()
            if not isinstance(key, str) or self._next_character() != ":":
                raise self._broken("has no name where a member should begin")
            self._at += 1
            self.member = key
            if key in self._lists and self._next_character() == "[":
                self._at += 1
                for place, value in self._elements():
                    yield key, place, value
            else:
                yield key, 0, self._value()

    def _elements(self) -> Iterator[tuple[int, Any]]:
        place = 0
        while not self._closes("]", first=place == 0):
            place += 1
            yield place, self._value()

    def _closes(self, bracket: str, *, first: bool) -> bool:
        """Step over a closing bracket or, but for the first value, over a comma; say which it was."""
        found = self._next_character()
        if found == bracket:
            self._at += 1
            return True
        if not first:
            if found != ",":
                raise self._broken(f"has {found!r} where a comma or {bracket} should be")
            self._at += 1
        return False

    def _value(self) -> Any:
        self._next_character()
        while True:
            try:
                value, end = _scan(self._text, self._at)
            except RecursionError as exc:
                raise self._broken("is nested too deeply") from exc
            except ValueError as exc:
                if not self._more():
                    raise self._broken(f"is no JSON: {exc}".partition(": line")[0]) from exc
                continue
            # A number, or a word, may go on behind the end of the window.
            if end == len(self._text) and not isinstance(value, (str, list, dict)) and self._more():
                continue
            self._at = end
            return value

    def _next_character(self) -> str:
        if self._is_at_end():
            raise self._broken("ends in the middle")
        return self._text[self._at]

    def _is_at_end(self) -> bool:
        """Step over space, and say whether nothing follows it."""
        while True:
            match = _SPACE.match(self._text, self._at)
            self._at = match.end() if match else self._at
            if self._at < len(self._text):
                return False
            if not self._more():
                return True

    def _more(self) -> bool:
        """Widen the window; False at the end of the file."""
        if self._ended:
            return False
        if len(self._text) - self._at > _LARGEST_VALUE:
            raise self._broken(f"is no JSON, or holds one value of over {_LARGEST_VALUE} characters")
        self._passed += self._at
        unread = len(self._text) - self._at
        # As much again, so that long values cost no more.
        data = read_up_to(self._stream, max(_WINDOW, unread))
        try:
            more = self._decoder.decode(data, final=not data)
        except UnicodeDecodeError as exc:
            raise self._broken(f"is not UTF-8: {exc.reason}") from exc
        self._text = self._text[self._at :] + more
        self._at = 0
        self._ended = not data
        return bool(data)

    def _broken(self, problem: str) -> InputFileError:
        hint = "; perhaps it is cut off" if self._ended else ""
        return InputFileError(
            self._name, f"the JSON document {problem}, at character {self._passed + self._at}{hint}"
        )
