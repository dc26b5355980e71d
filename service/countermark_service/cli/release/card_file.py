"""Where a card is, how it is written back, and which bundles it names."""

import hashlib
import json
import os
import re
import secrets
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from countermark_service.releases import CARD_NAME, CardError, Outputs, Release, read_release_file

_CHUNK = 1 << 20
_INDENT = re.compile(r"\n([ \t]+)\"")


def find_card(path: Path) -> tuple[Path, Release]:
    """Return the card at a path, and its file.

    Raises:
        CardError: It cannot be read.
    """
    file = path / CARD_NAME if path.is_dir() else path
    return file, read_release_file(file)


def write_file(file: Path, content: bytes, *, force: bool = True) -> None:
    """Write a file whole or not at all.

    Raises:
        CardError: It cannot be written, or is there and must not be replaced.
    """
    part = file.with_name(f".{file.name}.{secrets.token_hex(4)}.part")
    try:
        if force and file.exists() and not file.is_file():
            file.write_bytes(content)  # a device or a pipe, which no file may take the place of
            return
        part.write_bytes(content)
        if force:
            part.replace(file)
        else:
            os.link(part, file)
    except FileExistsError as exc:
        raise CardError(str(file), "", "is there already; --force replaces it, --out names another") from exc
    except OSError as exc:
        raise CardError(str(file), "", f"cannot be written: {exc.strerror or exc}") from exc
    finally:
        with suppress(OSError):  # not there, or its folder is none
            part.unlink()


def card_bytes(document: Mapping[str, Any], before: bytes = b"") -> bytes:
    """Return a card's document as a file, with the indentation that it had before."""
    found = _INDENT.search(before.decode("utf-8", "replace"))
    return (json.dumps(document, indent=found[1] if found else 2, ensure_ascii=False) + "\n").encode()


def outputs_at_hand(card_file: Path, outputs: Outputs) -> Path | str:
    """Return the file of a result's outputs, or why it is not at hand."""
    if re.match(r"[a-z][a-z0-9+.-]*://", outputs.file):
        return f"{outputs.file} is an address; fetch the file and name it by its path"
    folder = card_file.resolve().parent
    file = (folder / outputs.file).resolve()
    if not file.is_relative_to(folder):
        return f"{outputs.file} leads out of the card's folder"
    return file if file.is_file() else f"{outputs.file} is not beside the card"


def file_digest(file: Path) -> str:
    """Return the SHA-256 of a file, as ``sha256:<64 hex digits>``.

    Raises:
        CardError: It cannot be read.
    """
    try:
        with file.open("rb") as opened:
            return "sha256:" + hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError as exc:
        raise CardError(str(file), "", f"cannot be read: {exc.strerror or exc}") from exc
