"""The seal of an environment: the mark that it is whole, and what it was when it got it.

A folder is an environment only if it carries `complete.json`, written last. The
file also holds two digests of everything else in the folder:

- `stat_digest`, over path, size, time of change and link target of each file. It
  costs one walk (some 20 ms for 3,500 files) and notices what happens to folders
  in practice: files deleted, cut short, edited in place or added.
- `content_digest`, over path and content. It decides when the first one differs,
  because copying a folder into an image or restoring it from a backup changes
  times and no content; and it is there for whoever wants to be sure.

A seal is no signature: whoever may write into the folder can write a new seal.
"""

import hashlib
import os
import sysconfig
from dataclasses import dataclass
from pathlib import Path

import msgspec

from countermark_service.engine.interpreters import Interpreter, probe

SEAL_FILE = "complete.json"
LAYOUT = 1
"""Number of the way environments are laid out and sealed; a change of either is a new number."""


@dataclass(frozen=True)
class Seal:
    """What `complete.json` says."""

    layout: int
    platform: str
    label: str
    """Who asked for it first; for people who read the folder."""
    executable: str
    """The interpreter it stands on, outside the folder."""
    executable_stat: list[int]
    """Size in bytes and time of change in nanoseconds of `executable`, when sealed."""
    base_prefix: str
    python_version: str
    site_packages: list[str]
    """Relative to the folder."""
    distributions: dict[str, str]
    """Version by name of what is installed."""
    files: int
    stat_digest: str
    content_digest: str


def platform_name() -> str:
    """Return what tells machines apart that cannot share an environment: system, processor, C library."""
    return f"{sysconfig.get_platform()}-{sysconfig.get_config_var('MULTIARCH') or 'unknown'}"


def write_seal(
    folder: Path,
    *,
    interpreter: Interpreter,
    site_packages: tuple[str, ...],
    distributions: dict[str, str],
    label: str,
) -> Seal:
    """Seal `folder` as it is now, and wait until the seal is on the disk.

    Raises:
        OSError: A file cannot be read, or the seal cannot be written.
    """
    listing = _walk(folder)
    seal = Seal(
        layout=LAYOUT,
        platform=platform_name(),
        label=label,
        executable=str(interpreter.executable),
        executable_stat=_file_stat(interpreter.executable),
        base_prefix=str(interpreter.base_prefix),
        python_version=interpreter.version,
        site_packages=list(site_packages),
        distributions=dict(sorted(distributions.items())),
        files=len(listing),
        stat_digest=_stat_digest(listing),
        content_digest=_content_digest(folder, listing),
    )
    with (folder / SEAL_FILE).open("xb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(seal)))
        file.flush()
        os.fsync(file.fileno())
    sync_folder(folder)
    return seal


def read_seal(folder: Path) -> Seal | str:
    """Return the seal of `folder`, or what is wrong with it; content is not looked at."""
    try:
        seal = msgspec.json.decode((folder / SEAL_FILE).read_bytes(), type=Seal)
    except FileNotFoundError:
        return f"it has no {SEAL_FILE}"
    except (OSError, msgspec.MsgspecError) as exc:
        return f"its {SEAL_FILE} cannot be read ({exc})"
    if seal.layout != LAYOUT:
        return f"it has layout {seal.layout}, not {LAYOUT}"
    if seal.platform != platform_name():
        return f"it was built for {seal.platform}, not {platform_name()}"
    return seal


def tree_damage(folder: Path, seal: Seal, *, thorough: bool = False) -> str | None:
    """Return how `folder` differs from what was sealed, or None if it does not.

    Args:
        folder: The sealed folder.
        seal: Its seal.
        thorough: Whether to read every file even if names, sizes and times are as sealed.
    """
    try:
        listing = _walk(folder)
        if len(listing) != seal.files:
            return f"it has {len(listing)} files, {seal.files} were sealed"
        if not thorough and _stat_digest(listing) == seal.stat_digest:
            return None
        if _content_digest(folder, listing) != seal.content_digest:
            return "the content of its files is not what was sealed"
    except OSError as exc:
        return f"it cannot be read ({exc})"
    return None


def standing_interpreter(seal: Seal) -> Interpreter | str:
    """Return the interpreter that a sealed environment stands on now, or why there is none.

    A system update may have put another patch version in its place; the environment
    is good for each of one minor version, but verdicts must name the true one.
    """
    known = Interpreter(Path(seal.executable), seal.python_version, Path(seal.base_prefix))
    try:
        if _file_stat(known.executable) == seal.executable_stat:
            return known
    except OSError:
        return f"its interpreter {known.executable} is gone"
    now = probe(known.executable)
    if now is None or now.minor != known.minor or now.executable != known.executable:
        return f"{known.executable} is no Python {known.minor} any more"
    return now


def sync_folder(folder: Path) -> None:
    """Wait until the entries of `folder` are on the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


_Entry = tuple[str, str, int, int]
"""Path in the folder, target if it is a link, size in bytes, time of change in nanoseconds."""


def _walk(folder: Path) -> list[_Entry]:
    """Return every file and link below `folder` but the seal, sorted by path.

    Tuples and strings, as this is where `find` spends its time.
    """
    top = os.fspath(folder)
    cut = len(top) + 1
    entries = []
    stack = [top]
    while stack:
        with os.scandir(stack.pop()) as scan:
            for entry in scan:
                if entry.is_dir(follow_symlinks=False):
                    stack.append(entry.path)
                    continue
                link = os.readlink(entry.path) if entry.is_symlink() else ""  # noqa: PTH115 - wants a string
                stat = entry.stat(follow_symlinks=False)
                entries.append((entry.path[cut:], link, stat.st_size, stat.st_mtime_ns))
    return sorted(entry for entry in entries if entry[0] != SEAL_FILE)


def _stat_digest(listing: list[_Entry]) -> str:
    return _digest(repr(listing))


def _content_digest(folder: Path, listing: list[_Entry]) -> str:
    contents = []
    for relative, link, _, _ in listing:
        if link:
            contents.append((relative, "link", link))
        else:
            with (folder / relative).open("rb") as file:
                contents.append((relative, "file", hashlib.file_digest(file, "sha256").hexdigest()))
    return _digest(repr(contents))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()


def _file_stat(path: Path) -> list[int]:
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns]
