"""Inspect: ``.eval`` logs (a ZIP whose entries are packed with zstd) and logs in JSON.

A sample is one entry, ``samples/<id>_epoch_<n>.json``, or in newer logs a folder of
them with the long sequences apart. Long texts are moved to `attachments` and leave a
reference behind, by hash or, in a folder, by place; they are put back here. The
header may be missing: a run that died has none, and ``_journal/start.json`` says the
same. Entries are read one at a time, and never beyond a limit, whatever they claim.

Source: inspect-ai 0.3.285, `log/_recorders/eval.py` and `log/_recorders/chunked/format.py`.
"""

import bisect
import json
import re
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

import msgspec

from countermark_service.audit.readers.containers import opened
from countermark_service.audit.readers.interface import (
    MISSING,
    Found,
    InputFile,
    NothingBeside,
    Read,
    Remark,
    object_of,
    shaped,
    text_of,
)
from countermark_service.audit.readers.json_stream import JsonStream
from countermark_service.audit.readers.lines import InputFileError, explained, unpacked

_SUMMARIES = "summaries.json"
"""Entry that tells of every sample of a log that was ended in order."""
_LARGEST_ENTRY = 256 << 20
"""Bytes of one entry, unpacked."""
_MOST_TIMES = 10_000
"""An entry that claims to unpack to more than this many times its size is no honest one."""
_REFERENCE = re.compile(r"attachment://(\w+)")
_GRADES = {"C": 1.0, "I": 0.0, "P": 0.5, "N": 0.0, "yes": 1.0, "true": 1.0, "no": 0.0, "false": 0.0}
"""How Inspect itself turns a grade into a number."""

_decode = msgspec.json.decode


class _Sample(msgspec.Struct):
    """What is looked at of a sample. Its events, the largest part by far, are stepped over and not built."""

    id: Any = msgspec.UNSET
    epoch: Any = msgspec.UNSET
    input: Any = msgspec.UNSET
    choices: Any = msgspec.UNSET
    target: Any = msgspec.UNSET
    messages: Any = msgspec.UNSET
    output: Any = msgspec.UNSET
    scores: Any = msgspec.UNSET
    error: Any = msgspec.UNSET
    limit: Any = msgspec.UNSET
    uuid: Any = msgspec.UNSET
    invalidation: Any = msgspec.UNSET
    attachments: Any = msgspec.UNSET


_Lookup = Callable[[str], str | None]
"""From the name of an attachment to its text."""


class InspectArchive(NothingBeside):
    """An ``.eval`` log."""

    name: ClassVar[str] = "inspect"

    @staticmethod
    def claims(file: InputFile) -> bool:
        """By the entries that every log has."""
        if file.kind != "zip":
            return False
        try:
            with zipfile.ZipFile(file.path) as archive:
                names = archive.namelist()
        except (zipfile.BadZipFile, OSError, NotImplementedError):
            return False  # it is no whole archive, and that is said where no format claims a file
        return "header.json" in names or "_journal/start.json" in names

    @staticmethod
    def read(file: InputFile) -> Iterator[Read]:
        """Yield one row per sample."""
        with _Entries(file) as entries:
            head = "header.json" if "header.json" in entries.names else "_journal/start.json"
            if head != "header.json":
                yield Remark(None, "run_ended_early", "the log has no header: the run ended before its end")
            header = entries.json(head)
            spec = object_of(header.get("eval"))
            samples = _samples(entries.names)
            yield from _absent(file, entries, object_of(header.get("results")), samples)
            for place, (prefix, names) in enumerate(samples.items(), start=1):
                try:
                    sample, lookup = _sample(entries, prefix, names)
                except InputFileError as exc:
                    yield file.unusable(place, "unreadable_entry", exc.problem)
                    continue
                yield from shaped(
                    file, place, InspectArchive.name, partial(_found, file, place, spec, sample, lookup)
                )


class InspectJson(NothingBeside):
    """A log in JSON."""

    name: ClassVar[str] = "inspect"

    @staticmethod
    def claims(file: InputFile) -> bool:
        """By the members that come first; a log that other tools wrote again may lack its version."""
        return file.kind in ("json", "jsonl") and {"status", "eval"} <= file.first.keys()

    @staticmethod
    def read(file: InputFile) -> Iterator[Read]:
        """Yield one row per sample."""
        spec: Mapping[str, Any] = {}
        with opened(file.path, file.name) as raw, explained(file.name):
            stream = JsonStream(file.name, unpacked(file.name, raw), lists={"samples"})
            for member, place, value in stream:
                if member == "eval" and isinstance(value, dict):
                    spec = value
                elif member == "samples" and place and isinstance(value, dict):
                    lookup = object_of(value.get("attachments")).get
                    yield from shaped(
                        file, place, InspectJson.name, partial(_found, file, place, spec, value, lookup)
                    )
                elif member == "samples" and place:
                    yield file.unusable(place, "not_of_format", f"sample {place} is no object")


def _found(
    file: InputFile, place: int, spec: Mapping[str, Any], sample: dict[str, Any], lookup: _Lookup
) -> list[Read]:
    name = f"sample {sample.get('id')!r}, epoch {sample.get('epoch', 1)}"
    if sample.get("error"):
        message = (
            (sample["error"] or {}).get("message") if isinstance(sample["error"], dict) else sample["error"]
        )
        problem = f"{name}: it failed when it was evaluated: {' '.join(str(message).split())[:200]}"
        return [file.unusable(place, "sample_error", problem)]
    response = _response(sample)
    target = sample.get("target", MISSING)
    reference = target[0] if isinstance(target, list) and len(target) == 1 else target
    scores = sample.get("scores") or {}
    metrics: dict[str, Any] = {}
    extracted = None
    for scorer, score in scores.items():
        score = score if isinstance(score, dict) else {"value": score}
        metrics.update(_values(str(scorer), score.get("value")))
        extracted = extracted or score.get("answer")
    extras = {
        "metrics": metrics,
        "extracted": extracted,
        "choices": sample.get("choices"),
        "invalidation": sample.get("invalidation"),
        "limit": sample.get("limit"),
        "uuid": sample.get("uuid"),
    }
    epoch = sample.get("epoch")
    found = Found(
        line=place,
        task=str(spec.get("task") or ""),
        model=str(spec.get("model") or ""),
        sample=str(sample.get("id")),
        generation=epoch - 1 if type(epoch) is int and epoch > 0 else None,
        prompt=_attached(sample.get("input"), lookup),
        response=_attached(response, lookup) if response is not None else MISSING,
        reference=_attached(reference, lookup),
        metrics=metrics,
        extras={name: _attached(value, lookup) for name, value in extras.items() if value is not None},
        record=sample,
    )
    return [found]


def _response(sample: Mapping[str, Any]) -> Any:
    """Return the text of the model's output; where that is empty, the last answer of the messages."""
    output = object_of(sample.get("output"))
    choices = output.get("choices") or []
    if choices and isinstance(choices[0], dict):
        found = text_of((choices[0].get("message") or {}).get("content"))
        if found:
            return found
    return output.get("completion") or sample.get("messages") or None


def _values(scorer: str, value: Any) -> dict[str, Any]:
    """Return a scorer's values by name: one, or one for each key where it has several."""
    if isinstance(value, dict):
        return {f"{scorer}.{key}": _grade(one) for key, one in value.items()}
    return {scorer: _grade(value)}


def _grade(value: Any) -> Any:
    return _GRADES.get(value, value) if isinstance(value, str) else value


def _attached(value: Any, lookup: _Lookup) -> Any:
    """Put attachments back, wherever in a value they were taken from."""
    if isinstance(value, str):
        if "attachment://" not in value:
            return value
        return _REFERENCE.sub(lambda match: _kept(lookup(match[1]), match[0]), value)
    if isinstance(value, list):
        return [_attached(one, lookup) for one in value]
    if isinstance(value, dict):
        return {key: _attached(one, lookup) for key, one in value.items()}
    return value


def _kept(text: str | None, reference: str) -> str:
    return reference if text is None else text


# --- the archive -----------------------------------------------------------------------------------------


def _samples(names: Sequence[str]) -> dict[str, list[str]]:
    """Return the entries of each sample by its prefix, which is the name of the one-entry shape less ``.json``."""
    found: dict[str, list[str]] = {}
    for name in names:
        if not name.startswith("samples/") or not name.endswith(".json"):
            continue
        match = re.match(r"(samples/.*_epoch_\d+)(?:\.json|/.*)\Z", name, re.DOTALL)
        if match:
            found.setdefault(match[1], []).append(name)
    return found


def _absent(
    file: InputFile, entries: "_Entries", results: Mapping[str, Any], samples: Mapping[str, Sequence[str]]
) -> Iterator[Read]:
    """Say which samples the log tells of and does not hold; without a list of them, how many."""
    told = entries.value(_SUMMARIES) if _SUMMARIES in entries.names else None
    if isinstance(told, list):
        for one in map(object_of, told):
            name, epoch = one.get("id"), one.get("epoch", 1)
            if f"samples/{name}_epoch_{epoch}" not in samples:
                problem = (
                    f"sample {name!r}, epoch {epoch} stands in {_SUMMARIES}, and the log has no entry of it"
                )
                yield file.unusable(None, "missing_sample", problem)
        return
    count = results.get("completed_samples")
    if type(count) is int and count > len(samples):
        problem = f"the header tells of {count} samples, and the log holds {len(samples)}"
        yield file.unusable(None, "missing_sample", problem)


def _sample(entries: "_Entries", prefix: str, names: Sequence[str]) -> tuple[dict[str, Any], _Lookup]:
    """Return a sample and what finds its attachments, of either shape.

    Raises:
        InputFileError: Its entries cannot be read.
    """
    whole = f"{prefix}.json"
    if whole in names:
        sample = entries.sample(whole)
        return sample, object_of(sample.get("attachments")).get
    sample = entries.sample(f"{prefix}/sample.json")
    parts = _Parts(entries, prefix, names)
    if not _response(sample):
        sample["messages"] = parts.last_of("messages")
    return sample, parts.attachment


class _Parts:
    """The sequences of a sample that is a folder; each part is named by the place of its first element."""

    def __init__(self, entries: "_Entries", prefix: str, names: Sequence[str]) -> None:
        self._entries, self._prefix, self._names = entries, prefix, names
        self._read: tuple[int, list[Any]] = (-1, [])

    def _starts(self, sequence: str) -> list[int]:
        before = f"{self._prefix}/{sequence}/"
        stems = [name[len(before) : -len(".json")] for name in self._names if name.startswith(before)]
        return sorted(int(stem) for stem in stems if stem.isdecimal())

    def last_of(self, sequence: str) -> Any:
        """Return the last part of a sequence."""
        starts = self._starts(sequence)
        return self._entries.value(f"{self._prefix}/{sequence}/{starts[-1]}.json") if starts else None

    def attachment(self, name: str) -> str | None:
        """Return a text by its place; None where there is none."""
        starts = self._starts("attachments")
        if not name.isdecimal() or not starts or int(name) < starts[0]:
            return None
        start = starts[bisect.bisect_right(starts, int(name)) - 1]
        if self._read[0] != start:
            found = self._entries.value(f"{self._prefix}/attachments/{start}.json")
            self._read = (start, found if isinstance(found, list) else [])
        texts = self._read[1]
        place = int(name) - start
        return texts[place] if place < len(texts) and isinstance(texts[place], str) else None


_DAMAGE = (zipfile.BadZipFile, OSError, EOFError, NotImplementedError, zlib.error)
"""What zipfile raises for an entry that is not as its archive says."""


def _zstd_error(name: str) -> type[Exception]:
    """Make zipfile read zstd, which it knows itself from Python 3.14 on; return what it then raises for damage.

    Raises:
        InputFileError: What that takes is not installed.
    """
    try:
        if sys.version_info >= (3, 14):
            from compression.zstd import ZstdError
        else:
            import zipfile_zstd  # type: ignore[import-untyped]  # noqa: F401 - importing it is all
            from zstandard import ZstdError
    except ImportError as exc:
        raise InputFileError(name, "is a packed log: pip install 'countermark[audit]'") from exc
    return ZstdError


class _Entries:
    """The entries of a ZIP archive, each read within bounds."""

    def __init__(self, file: InputFile) -> None:
        self._damage = (*_DAMAGE, _zstd_error(file.name))
        self._file = file
        try:
            self._archive = zipfile.ZipFile(file.path)
        except (zipfile.BadZipFile, OSError, NotImplementedError) as exc:
            raise InputFileError(file.name, f"is no whole ZIP archive: {exc}") from exc
        self.names = self._archive.namelist()

    def __enter__(self) -> "_Entries":
        return self

    def __exit__(self, *exc: object) -> None:
        self._archive.close()

    def sample(self, name: str) -> dict[str, Any]:
        """Return what is looked at of a sample; all of it where the caller names columns. Raises as `json`."""
        data = self._bytes(name)
        if not self._file.columns:
            try:
                return {
                    key: value
                    for key, value in msgspec.structs.asdict(_decode(data, type=_Sample)).items()
                    if value is not msgspec.UNSET
                }
            except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
                pass  # NaN, say, which Python's own reader takes; it also says what is wrong
        return self._object(name, self._json(name, data))

    def json(self, name: str) -> dict[str, Any]:
        """Return an entry that is an object; raises `InputFileError`."""
        return self._object(name, self.value(name))

    def value(self, name: str) -> Any:
        """Return an entry as JSON.

        Raises:
            InputFileError: It is not there, damaged, too large or no JSON.
        """
        return self._json(name, self._bytes(name))

    def _object(self, name: str, found: Any) -> dict[str, Any]:
        if not isinstance(found, dict):
            raise InputFileError(self._file.name, f"the entry {name} holds no JSON object")
        return found

    def _json(self, name: str, data: bytes) -> Any:
        try:
            return json.loads(data)
        except (ValueError, RecursionError) as exc:
            raise InputFileError(self._file.name, f"the entry {name} is no JSON: {exc}") from exc

    def _bytes(self, name: str) -> bytes:
        problem = f"the entry {name} "
        try:
            info = self._archive.getinfo(name)
            honest = info.file_size <= _MOST_TIMES * max(info.compress_size, 64)
            if info.file_size > _LARGEST_ENTRY or not honest:
                problem += f"unpacks to {info.file_size} bytes (from {info.compress_size})"
                raise InputFileError(self._file.name, f"{problem}; the limit is {_LARGEST_ENTRY}")
            with self._archive.open(info) as stream:
                data = stream.read(_LARGEST_ENTRY + 1)
        except KeyError as exc:
            raise InputFileError(self._file.name, problem + "is missing") from exc
        except self._damage as exc:
            raise InputFileError(self._file.name, f"{problem}is damaged: {exc}") from exc
        except RuntimeError as exc:  # zipfile's way to say that an entry is encrypted
            raise InputFileError(self._file.name, f"{problem}cannot be read: {exc}") from exc
        if len(data) > _LARGEST_ENTRY:
            raise InputFileError(self._file.name, f"{problem}unpacks to over {_LARGEST_ENTRY} bytes")
        return data
