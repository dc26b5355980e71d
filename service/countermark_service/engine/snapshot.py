"""The folder that a worker really runs: a bundle's bytes, written under their digest.

A bundle is read once; what runs is written from those bytes, so an edit of the
bundle's folder, or of the snapshot itself, never reaches a worker unseen.

A verifier whose environment is built needs nothing more than this and a scratch. So a
data folder whose disk is full does not keep it from running: both may lie elsewhere.
"""

import errno
import shutil
import tempfile
from pathlib import Path

from countermark_service.bundles import Bundle, tree_digest

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


def on_disk(bundle: Bundle, data: Path) -> tuple[Path, Path]:
    """Return the snapshot of `bundle`, and a new folder for what its processes need for as long as they run.

    Both lie in the data folder; where its disk is full, both lie in the new folder, among the system's
    temporary files.

    Raises:
        OSError: They cannot be written. Of a full disk it is the data folder's that is named.
    """
    try:
        code = materialise(bundle, data / "snapshots")
        root = data / "scratch"
        root.mkdir(parents=True, exist_ok=True)
        return code, Path(tempfile.mkdtemp(prefix="scratch-", dir=root))
    except OSError as exc:
        if exc.errno not in _FULL:
            raise
        try:
            return _elsewhere(bundle)
        except OSError:
            raise OSError(exc.errno, exc.strerror, str(data)) from exc


def _elsewhere(bundle: Bundle) -> tuple[Path, Path]:
    folder = Path(tempfile.mkdtemp(prefix="countermark-"))
    try:
        return materialise(bundle, folder / "snapshots"), folder
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
    root.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=".new-", dir=root))
    try:
        for path, content in bundle.files.items():
            file = fresh / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        fresh.chmod(0o755)
        _replace(fresh, target, bundle)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return target


def _replace(fresh: Path, target: Path, bundle: Bundle) -> None:
    try:
        fresh.rename(target)
    except OSError:
        if _holds(target, bundle):
            return
        spoiled = Path(tempfile.mkdtemp(prefix=".old-", dir=target.parent))
        target.replace(spoiled)
        fresh.rename(target)
        shutil.rmtree(spoiled, ignore_errors=True)


def _holds(folder: Path, bundle: Bundle) -> bool:
    if not folder.is_dir():
        return False
    found = {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.is_symlink()
    }
    return tree_digest(found) == bundle.digest
