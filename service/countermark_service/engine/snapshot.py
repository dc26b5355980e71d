"""The folder that a worker really runs: a bundle's bytes, written under their digest.

A bundle is read once; what runs is written from those bytes, so an edit of the
bundle's folder, or of the snapshot itself, never reaches a worker unseen.

A verifier whose environment is built needs nothing more than this and a scratch. So a
data folder whose disk is full does not keep it from running: both may lie elsewhere.
"""

import errno
import shutil
from pathlib import Path

from countermark_service.bundles import Bundle, tree_digest
from countermark_service.sandbox.scratch import Scratch

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


SNAPSHOTS, SCRATCHES = "snapshots", "scratch"
"""Folders of the data folder."""


def on_disk(bundle: Bundle, data: Path, scratch: Scratch, spare: Scratch) -> tuple[Path, Path]:
    """Return the snapshot of `bundle`, and a new folder for what its processes need for as long as they run.

    Args:
        bundle: What is to run.
        data: The data folder; snapshots lie in it.
        scratch: Where the new folder is made.
        spare: Where both are made if the disk of the others is full.

    Raises:
        OSError: They cannot be written. Of a full disk it is the data folder's that is named.
    """
    try:
        return materialise(bundle, data / SNAPSHOTS), scratch.new("verifier")
    except OSError as exc:
        if exc.errno not in _FULL:
            raise
        try:
            return _elsewhere(bundle, spare)
        except OSError:
            raise OSError(exc.errno, exc.strerror, str(data)) from exc


def _elsewhere(bundle: Bundle, spare: Scratch) -> tuple[Path, Path]:
    folder = spare.new("verifier")
    try:
        return materialise(bundle, folder / SNAPSHOTS), folder
    except OSError:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def materialise(bundle: Bundle, root: Path) -> Path:
    """Return a folder below `root` that holds exactly the files of `bundle`.

    An existing snapshot is read and compared before it is used; one that differs
    is replaced. Two processes may do this at once.
    """
    target = root / bundle.digest.removeprefix("sha256:")
    if _holds(target, bundle):
        return target
    with Scratch(root) as beside:
        fresh = beside.new("new")
        for path, content in bundle.files.items():
            file = fresh / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        fresh.chmod(0o755)
        try:
            fresh.rename(target)
        except OSError:
            if not _holds(target, bundle):
                target.replace(beside.new("spoiled"))
                fresh.rename(target)
    return target


def _holds(folder: Path, bundle: Bundle) -> bool:
    if not folder.is_dir():
        return False
    found = {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.is_symlink()
    }
    return tree_digest(found) == bundle.digest
