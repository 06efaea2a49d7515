"""Replaces the files of a web site, one by one, each as a whole, and only our own.

A file of its own lists what we wrote. So a page that somebody changed, or had there before, is
neither overwritten nor removed.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

from chatmaild.disk import atomic
from chatmaild.errors import StoreError

MANIFEST = ".chatmaild-web"
"""The SHA-256 of each file that we wrote."""

MODE = 0o644

Known = dict[str, list[str]]


def differences(directory: Path, files: Mapping[str, bytes]) -> list[str]:
    """Return one phrase for each file that is missing or not current. Raises `StoreError`."""
    known, found = _known(directory), []
    for path, content in sorted(files.items()):
        there = _content(directory / path)
        if there is None:
            found.append(f"{path}: missing")
        elif there != content:
            found.append(f"{path}: out of date" if _digest(there) in known.get(path, ())
                         else f"{path}: not written by chatmaild")
    return found + [f"{path}: no longer needed" for path in sorted(known.keys() - files.keys())
                    if _content(directory / path) is not None]


def write(directory: Path, files: Mapping[str, bytes]) -> list[str]:
    """Write `files` and remove what we wrote formerly. Returns the paths that changed.

    Everything is on the disk before the first file is replaced. Raises `StoreError`; then nothing
    has changed, except for files that were replaced before a rename failed.
    """
    try:
        with atomic.locked(str(directory)):
            return _write(directory, files)
    except OSError as error:
        raise StoreError(f"{error.filename or directory}: {error.strerror}") from None


def _write(directory: Path, files: Mapping[str, bytes]) -> list[str]:
    known = _known(directory)
    there = {path: _content(directory / path) for path in files.keys() | known.keys()}
    changed = [path for path, content in sorted(files.items()) if there[path] != content]
    for path in changed:
        old = there[path]
        if old is not None and _digest(old) not in known.get(path, ()):
            raise StoreError(f"{directory / path}: not as chatmaild wrote it, or not by it; move "
                             "it away. Changes belong into a template, see chatmaild-web(8)")
    gone = [path for path in sorted(known.keys() - files.keys())
            if (old := there[path]) is not None and _digest(old) in known[path]]
    new = {path: [_digest(content)] for path, content in files.items()}
    both = {path: list(dict.fromkeys([*new.get(path, ()), *known.get(path, ())]))
            for path in new.keys() | known.keys()}
    temporaries = _staged(directory, {path: files[path] for path in changed})
    try:
        # If we are killed in the middle, the next run knows either content as ours.
        _note(directory, both)
        for path, temporary in temporaries.items():
            os.rename(temporary, directory / path)
    finally:
        for temporary in temporaries.values():
            with contextlib.suppress(OSError):
                os.unlink(temporary)
    for path in gone:
        os.unlink(directory / path)
        with contextlib.suppress(OSError):      # others have files there
            (directory / path).parent.rmdir()
    _note(directory, new)
    return changed + gone


def _staged(directory: Path, files: Mapping[str, bytes]) -> dict[str, str]:
    """Write each content to a new file beside its path; returns path -> that file."""
    made: dict[str, str] = {}
    try:
        for path, content in files.items():
            target = directory / path
            _make_parents(directory, path)
            made[path] = str(target.with_name(f".{target.name}.{os.getpid()}.tmp"))
            atomic.write_new_file(made[path], content, MODE)
    except BaseException:
        for temporary in made.values():
            with contextlib.suppress(OSError):
                os.unlink(temporary)
        raise
    return made


def _make_parents(directory: Path, path: str) -> None:
    """Make the directories for `path`, open to the web server whatever our umask is."""
    for parent in reversed(Path(path).parents[:-1]):
        with contextlib.suppress(FileExistsError):
            (directory / parent).mkdir()
            (directory / parent).chmod(0o755)


def _known(directory: Path) -> Known:
    """Return what we wrote. Raises `StoreError`."""
    raw = _content(directory / MANIFEST)
    if raw is None:
        return {}
    try:
        known = json.loads(raw)
        if all(isinstance(digests, list) and not Path(path).is_absolute()
               and ".." not in Path(path).parts for path, digests in known.items()):
            return dict(known)
    except (ValueError, AttributeError):
        pass
    raise StoreError(f"{directory / MANIFEST}: not as chatmaild wrote it; remove it, and the pages "
                     "of chatmaild too")


def _note(directory: Path, known: Known) -> None:
    text = json.dumps(known, indent=1, sort_keys=True) + "\n"
    if _content(directory / MANIFEST) != text.encode():
        atomic.write_file(str(directory / MANIFEST), text.encode(), MODE)


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror}") from None


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
