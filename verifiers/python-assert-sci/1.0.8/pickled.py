"""The one shape of encoded tests that LiveCodeBench publishes, read without unpickling.

Its private tests are base64 of zlib of a pickle that holds a single text, which is
JSON. A pickle is a program, and a reference may come from anywhere, so it is not run:
its instructions are listed, and only those that make up one text are accepted.
"""

import base64
import binascii
import pickletools
import zlib

LARGEST = 256 * 1024 * 1024
"""Bytes of the unpacked pickle."""
_PASSED_OVER = frozenset({"PROTO", "FRAME", "MEMOIZE", "PUT", "BINPUT", "LONG_BINPUT", "STOP"})
_TEXTS = frozenset({"UNICODE", "BINUNICODE", "BINUNICODE8", "SHORT_BINUNICODE"})


class EncodedTextError(ValueError):
    """Not base64 of zlib of a pickle that holds one text."""


def encoded_text(encoded: str) -> str:
    """Return the text in `encoded`.

    Raises:
        EncodedTextError: It is something else, and what.
    """
    try:
        packed = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError) as error:
        raise EncodedTextError(f"neither JSON nor base64 ({error})") from error
    unpack = zlib.decompressobj()
    try:
        data = unpack.decompress(packed, LARGEST)
    except zlib.error as error:
        raise EncodedTextError(f"base64 of something that is not zlib ({error})") from error
    if not unpack.eof:
        raise EncodedTextError(f"cut short, or more than {LARGEST} bytes unpacked")
    return _pickled_text(data)


def _pickled_text(data: bytes) -> str:
    found: list[str] = []
    try:
        for opcode, argument, _ in pickletools.genops(data):
            if opcode.name in _TEXTS and isinstance(argument, str):
                found.append(argument)
            elif opcode.name not in _PASSED_OVER:
                raise EncodedTextError(
                    f"a pickle with the instruction {opcode.name}, which one text does not need"
                )
    except EncodedTextError:
        raise
    except Exception as error:  # a damaged pickle makes the lister raise whatever it meets
        raise EncodedTextError(f"packed data that is no pickle ({type(error).__name__})") from error
    if len(found) != 1:
        raise EncodedTextError(f"a pickle of {len(found)} texts, not of one")
    return found[0]
