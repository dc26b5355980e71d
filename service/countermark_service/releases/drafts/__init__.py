"""The beginning of a card from a file of a training run or of a data set, whichever it is.

What a file is is found by what is in it, not by its name. Each reader says which key
filled which field and, in sentences, what the file touches and does not decide: a
card must not look more complete than what it was made of.
"""

import json
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from countermark_service.kept import head_of
from countermark_service.releases.card import ReleaseCard
from countermark_service.releases.drafts.draft import Draft
from countermark_service.releases.drafts.hub_card import read_hub_card
from countermark_service.releases.drafts.openrlhf import arguments_of, is_openrlhf, read_openrlhf
from countermark_service.releases.drafts.trl import is_trl, printed_arguments, read_trl
from countermark_service.releases.drafts.verl import is_verl, overrides_of, read_verl
from countermark_service.releases.drafts.words import command_words
from countermark_service.releases.front_matter import has_front_matter
from countermark_service.releases.release import CardError, place
from countermark_service.releases.yaml_text import LARGEST_TEXT, hold_to_bounds, load_yaml

__all__ = ["Draft", "read_draft", "read_draft_file"]

_KNOWN = (
    "a verl configuration, its overrides or launch script, TRL's arguments (JSON, YAML, or printed), OpenRLHF's "
    "command line, script or YAML, or the README of a data set or model"
)


def read_draft_file(path: Path) -> Draft:
    """Return the draft in a file.

    Raises:
        CardError: It cannot be read, or is none of the known things.
        UnavailableError: A package that it needs is not installed.
    """
    try:
        content = head_of(path, LARGEST_TEXT + 1)
    except OSError as exc:
        raise CardError(str(path), "", f"cannot be read: {exc.strerror or exc}") from exc
    return read_draft(content, file=str(path))


def read_draft(content: bytes, *, file: str) -> Draft:
    """Return the draft in the bytes of a file; raises what `read_draft_file` raises."""
    if len(content) > LARGEST_TEXT:
        raise CardError(file, "", f"has over {LARGEST_TEXT} bytes, which no configuration has")
    if content[:2] == b"PK" or content[:1] == b"\x80":
        raise CardError(
            file, "", "is a pickle (such as training_args.bin), which runs code when it is read; print the arguments "
            "into a text file, or save them with to_json_string()"
        )  # fmt: skip
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        raise CardError(file, "", f"is no text: {exc.reason} at byte {exc.start}") from exc
    draft = _by_content(text, file)
    if draft is None:
        raise CardError(file, "", f"is none of what a card can be begun from: {_KNOWN}")
    _keep_what_a_card_holds(draft)
    _ask_for_names(draft)
    return draft


def _ask_for_names(draft: Draft) -> None:
    """Say of every place on a disk that it names nothing: nobody else can find what lay there."""
    named = {"base_model.id": draft.document.get("base_model", {}).get("id")}
    for number, source in enumerate(draft.document.get("data", {}).get("sources", ())):
        named[f"data.sources[{number}]"] = source.get("id")
    for field, name in named.items():
        if isinstance(name, str) and name.startswith(("/", "~", "./", "../")):
            draft.unclear.append(
                f"{draft.taken.get(field, field)} is {name!r}, a place on the machine that ran it: put the name "
                f"and revision under which others find it into {field}."
            )


def _keep_what_a_card_holds(draft: Draft) -> None:
    """Take out again what a card does not hold at its place: a number for a name, a probability of 7."""
    whole = {"schema_version": 1, "name": "draft", "version": "0", **draft.document}
    while True:
        try:
            ReleaseCard.model_validate(whole)
        except ValidationError as exc:
            first = exc.errors(include_url=False)[0]
            field = place(first["loc"])
            shown = repr(first["input"])[:100]
            draft.unclear.append(
                f"{draft.taken.pop(field, field)} is {shown}, which is no {field}: {first['msg']}."
            )
            _remove(draft.document, first["loc"])
            whole = {**whole, **draft.document}
        else:
            return


def _remove(document: dict[str, Any], loc: tuple[str | int, ...]) -> None:
    """Take the value at a path out of a document, with the entry of a list that it stands in."""
    parts = list(loc)
    entries = [number for number, part in enumerate(parts) if isinstance(part, int)]
    if entries:
        parts = parts[: entries[0] + 1]
    table: Any = document
    for part in parts[:-1]:
        table = table[part]
    del table[parts[-1]]


def _by_content(text: str, file: str) -> Draft | None:
    if has_front_matter(text):
        return read_hub_card(text, file=file)
    printed = printed_arguments(text)
    if printed is not None:
        return read_trl(printed)
    value = _structured(text, file)
    if is_verl(value):
        return read_verl(value)
    if is_trl(value):
        return read_trl(value)
    if is_openrlhf(value):
        return read_openrlhf(value)
    if isinstance(value, list) and (
        overrides := overrides_of([one for one in value if isinstance(one, str)])
    ):
        return read_verl(overrides)
    if isinstance(value, (dict, list)):
        return None
    words = command_words(text, file=file)
    overrides, arguments = overrides_of(words), arguments_of(words)
    if is_openrlhf(arguments):
        return read_openrlhf(arguments)
    if is_trl(arguments):
        return read_trl(arguments)
    return read_verl(overrides) if overrides else None


def _structured(text: str, file: str) -> Any:
    """Return the JSON or YAML value in a text; None where it is neither."""
    if text.lstrip()[:1] in ("{", "["):
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            pass  # YAML's flow style begins alike
        else:
            hold_to_bounds(value, file=file)
            return value
    try:
        return load_yaml(text, file=file)
    except CardError:
        # A script is not YAML, for the most part; where a file claims to be YAML, that is the fault to tell.
        if Path(file).suffix.lower() in (".yaml", ".yml", ".json"):
            raise
        return None
