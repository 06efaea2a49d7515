"""Reads and replaces whole files of the host."""

import os
from collections.abc import Iterable

from chatmaild.admin.wiring.editing import Files
from chatmaild.admin.wiring.steps import WiringError
from chatmaild.disk import atomic

TEMPORARY = ".chatmaild-wiring"
"""Behind the name of a file that is being written."""

MODE = 0o644
"""Mode of a new file. A file that was there keeps its mode and owner."""


def read(paths: list[str]) -> Files:
    """Read whole files; None for a missing one. Raises `WiringError` for other errors."""
    found: Files = {}
    for path in paths:
        try:
            with open(path, "rb") as file:
                found[path] = file.read()
        except FileNotFoundError:
            found[path] = None
        except OSError as error:
            raise WiringError(f"{path}: {error.strerror}") from None
    return found


def write(files: Files) -> None:
    """Replace each file as a whole, by rename; a link stays a link. Raises `WiringError`."""
    for path in sorted(files, key=lambda path: path.endswith("/master.cf")):
        content = files[path]
        target = os.path.realpath(path)
        try:
            if content is not None:
                _replace(target, content)
            elif os.path.exists(target):
                os.unlink(target)
                atomic.sync_directory(os.path.dirname(target))
        except OSError as error:
            raise WiringError(f"{path}: {error.strerror}") from error


def missing_directories(files: Files) -> list[str]:
    """Return the directories that `write` would make for `files`, the upper ones first."""
    found: dict[str, None] = {}
    for path, content in files.items():
        above = os.path.dirname(os.path.realpath(path))
        missing = []
        while content is not None and not os.path.exists(above):
            missing.append(above)
            above = os.path.dirname(above)
        found |= dict.fromkeys(reversed(missing))
    return list(found)


def remove_empty(directories: Iterable[str]) -> tuple[str, ...]:
    """Remove those that are empty, given as `missing_directories` does. Returns the others."""
    left = []
    for path in reversed(list(directories)):
        try:
            os.rmdir(path)
        except FileNotFoundError:
            continue
        except OSError:
            left.append(path)
    return tuple(reversed(left))


def clean(paths: Iterable[str]) -> None:
    """Remove what a killed `write` of these files left beside them. Raises OSError."""
    for path in paths:
        temporary = os.path.realpath(path) + TEMPORARY
        if os.path.lexists(temporary):
            os.unlink(temporary)


def _replace(path: str, content: bytes) -> None:
    try:
        info = os.stat(path)
        mode, owner = info.st_mode & 0o7777, (info.st_uid, info.st_gid)
        with open(path, "rb") as file:
            if file.read() == content:
                return
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
        mode, owner = MODE, (-1, -1)
    clean([path])
    temporary = path + TEMPORARY
    try:
        atomic.write_new_file(temporary, content, mode)
        os.chown(temporary, *owner)
        os.chmod(temporary, mode)
        os.rename(temporary, path)
    except OSError:
        clean([path])
        raise
    atomic.sync_directory(os.path.dirname(path))
