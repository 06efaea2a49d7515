"""Files of a running server: changed whole, compared with what they were, and put back."""

import contextlib
import difflib
import os
import shutil
import stat
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path


def replace(path: Path | str, content: str | bytes) -> None:
    """Give the file this content whole, by rename: whoever reads meanwhile gets old or new.

    Mode and owner stay; a new file belongs to root and is for all to read. A link stays a link.
    """
    path = Path(path).resolve()
    data = content.encode() if isinstance(content, str) else content
    number, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    new = Path(name)
    try:
        with open(number, "wb") as file:
            file.write(data)
        if path.exists():
            before = path.stat()
            os.chown(new, before.st_uid, before.st_gid)
            shutil.copymode(path, new)
        else:
            new.chmod(0o644)
        new.rename(path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def kept(*paths: Path | str) -> Iterator[None]:
    """These files, which are there, are as before when the block ends."""
    before = {Path(path): Path(path).read_bytes() for path in paths}
    try:
        yield
    finally:
        for path, content in before.items():
            replace(path, content)


@dataclass(frozen=True)
class Entry:
    """What a directory entry is: type and mode, owner, and the content or target, if it has."""

    mode: int
    owner: tuple[int, int]
    content: bytes = b""


def look(paths: Iterable[Path]) -> dict[Path, Entry]:
    """What is at and below `paths`."""
    return {path: entry for top in paths for path in _everything(top)
            if (entry := _entry(path))}


def differences(before: dict[Path, Entry], after: dict[Path, Entry]) -> Iterator[tuple[Path, str]]:
    for path in sorted(before.keys() | after.keys()):
        old, new = before.get(path), after.get(path)
        if old is None or new is None:
            yield path, "is gone" if new is None else "was not there before"
        elif old.mode != new.mode:
            yield path, f"mode {new.mode:o}, before {old.mode:o}"
        elif old.owner != new.owner:
            yield path, "another owner"
        elif old.content != new.content:
            yield path, _changed_lines(old.content, new.content)


def _changed_lines(old: bytes, new: bytes) -> str:
    """The first lines that came or went, shortened."""
    texts = [content.decode(errors="replace").splitlines() for content in (old, new)]
    changed = [line[:80] for line in difflib.ndiff(*texts) if line[0] in "+-"]
    return "another content: " + " ".join(changed[:4])


def restore(entries: dict[Path, Entry], below: Iterable[Path]) -> None:
    """Make what is at and below `below` as `entries` says; nothing reads it meanwhile."""
    for path in sorted(look(below).keys() - entries.keys(), reverse=True):
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    for path, entry in sorted(entries.items()):
        now = _entry(path)
        if now == entry or stat.S_ISSOCK(entry.mode):
            continue
        if now and stat.S_IFMT(now.mode) != stat.S_IFMT(entry.mode):
            shutil.rmtree(path) if stat.S_ISDIR(now.mode) else path.unlink()
        if stat.S_ISLNK(entry.mode):
            path.unlink(missing_ok=True)
            path.symlink_to(entry.content.decode())
            continue
        if stat.S_ISDIR(entry.mode):
            path.mkdir(exist_ok=True)
        else:
            path.write_bytes(entry.content)
        os.chown(path, *entry.owner)
        path.chmod(stat.S_IMODE(entry.mode))


def last_change(paths: Iterable[Path]) -> int:
    """When anything at or below `paths` was last changed, added or removed, in ns since 1970."""
    found = 0
    for top in paths:
        for path in _everything(top):
            with contextlib.suppress(FileNotFoundError):
                found = max(found, path.lstat().st_ctime_ns)
    return found


def _everything(top: Path) -> Iterator[Path]:
    yield top
    if top.is_dir() and not top.is_symlink():
        for directory, names, others in os.walk(top):
            yield from (Path(directory, name) for name in names + others)


def _entry(path: Path) -> Entry | None:
    """None for what is not there (any more)."""
    try:
        status = path.lstat()
        if stat.S_ISLNK(status.st_mode):
            content = os.readlink(path).encode()
        else:
            content = path.read_bytes() if stat.S_ISREG(status.st_mode) else b""
    except (FileNotFoundError, NotADirectoryError):
        return None
    return Entry(status.st_mode, (status.st_uid, status.st_gid), content)
