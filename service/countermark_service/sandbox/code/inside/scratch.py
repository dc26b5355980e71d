# ruff: noqa: PTH101, PTH208
# Every fork would pay for the memory of pathlib.
"""A scratch folder of level `landlock`: how full it is, and how it is emptied.

At level `namespaces` the scratch is a file system that ends with its candidate. All is done by
the zygote, which is as unprivileged as the candidate.
"""

import os


def holds_too_much(folder: str, most_bytes: int, most_entries: int) -> bool:
    """Whether the files below `folder` take more than is allowed, or hide so that nobody can tell.

    For scratch folders that are no file system of their own. What changes during the
    walk is counted next time.
    """
    waiting, size, entries = [folder], 0, 0
    while waiting:
        try:
            with os.scandir(waiting.pop()) as listing:
                for entry in listing:
                    entries += 1
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                    else:
                        size += entry.stat(follow_symlinks=False).st_blocks * 512
                    if size > most_bytes or entries > most_entries:
                        return True
        except FileNotFoundError:
            continue
        except OSError:  # a folder that refuses its owner, or a path too long to walk
            return True
    return False


def empty(folder: str) -> bool:
    """Remove all that a candidate left in `folder` and on it; False if that failed.

    Only at level `landlock`, where the folder outlives a candidate. This process is as
    unprivileged as the candidate was, and nobody else is at work in the folder by now.
    """
    try:
        os.chmod(folder, 0o700)  # a candidate may have locked everybody out, itself included
        top = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        clear(top)
        for name in os.listxattr(top):
            os.removexattr(top, name)
        os.utime(top, (0, 0))
    except OSError:
        return False
    finally:
        os.close(top)
    return True


def clear(top: int, *, but: str = "") -> None:
    """Remove all that lies in the open folder `top`, except what is called `but`.

    No link is followed, and no path is walked: nested folders are moved up one by one, so
    depth costs nothing.

    Raises:
        OSError: Something resists.
    """
    token = os.urandom(8).hex()
    moved = 0
    while names := [name for name in os.listdir(top) if name != but]:
        for name in names:
            if _unlink(name, top):
                continue
            inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=top)
            try:
                for child in os.listdir(inner):
                    if not _unlink(child, inner):
                        moved += 1
                        os.rename(child, f"{token}-{moved}", src_dir_fd=inner, dst_dir_fd=top)
            finally:
                os.close(inner)
            os.rmdir(name, dir_fd=top)


def _unlink(name: str, folder: int) -> bool:
    """Remove a file or link; a folder is made accessible instead and False returned."""
    try:
        os.unlink(name, dir_fd=folder)
    except IsADirectoryError:
        os.chmod(name, 0o700, dir_fd=folder)
        return False
    return True
