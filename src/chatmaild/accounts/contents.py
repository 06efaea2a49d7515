"""Counts the messages of one mailbox, and writes them as a tar archive."""

import contextlib
import errno
import io
import os
import shutil
import stat
import tarfile
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, BinaryIO

from chatmaild.disk import maildir, maildirname
from chatmaild.disk.directories import GONE, opened
from chatmaild.errors import StoreError

IN_MEMORY = 1 << 20
"""Octets of a message above which its decompression goes to a temporary file."""

_CHUNK = 1 << 16


@dataclass(frozen=True, slots=True)
class Usage:
    """How much a mailbox holds."""

    messages: int
    octets: int
    """Before compression, as the quota counts."""
    names: frozenset[str] = frozenset()
    """What is in the mailbox itself: its files and folders."""


def usage(home: str) -> Usage:
    """Count the messages of the mailbox at `home`; zero if there is none. Raises `StoreError`."""
    messages = octets = 0
    inside: list[str] = []
    for directory, _, name in _walk(home, inside):
        size = maildirname.size(name)
        if size is None:
            try:
                size = os.stat(name, dir_fd=directory, follow_symlinks=False).st_size
            except FileNotFoundError:
                continue    # renamed or deleted while we look
        messages += 1
        octets += size
    return Usage(messages, octets, frozenset(inside))


def walk(home: str) -> Iterator[tuple[int, str, str]]:
    """Yield each message as an open directory, its path below `home`, and a name in it.

    The directory closes when the next message is asked for. Symbolic links in the mailbox are not
    followed. Raises `StoreError`.
    """
    yield from _walk(home, [])


def _walk(home: str, inside: list[str]) -> Iterator[tuple[int, str, str]]:
    """The same; adds the names in the mailbox itself to `inside` first."""
    try:
        with contextlib.suppress(*GONE), opened(home) as mailbox:
            inside += os.listdir(mailbox)
            yield from _walk_folder(mailbox, "", inside)
            for name in sorted(name for name in inside if name[0] == "."):
                with _unless_link(), opened(name, mailbox) as folder:
                    yield from _walk_folder(folder, f"{name}/")
    except OSError as error:
        raise StoreError(f"{home}: {error.strerror}") from None


_OF_MESSAGES = ("new", "cur")


def _walk_folder(folder: int, path: str,
                 names: Sequence[str] = _OF_MESSAGES) -> Iterator[tuple[int, str, str]]:
    """Yield the messages of an open folder that has these `names` in it, or perhaps not."""
    for kind in _OF_MESSAGES:
        if kind in names:
            with _unless_link(), opened(kind, folder) as directory:
                for batch in maildir.files(directory):
                    for name in batch:
                        yield directory, path + kind, name


@contextlib.contextmanager
def _unless_link() -> Iterator[None]:
    try:
        yield
    except GONE:
        pass
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise


STATE = ("password", "enforceE2EEincoming", "blocked", "settings", "metadata.json", "subscriptions",
         "dovecot-uidlist", "dovecot-keywords")
"""Files of a mailbox that another host needs to go on with the account, unnoticed by clients."""

FOLDER_STATE = ("maildirfolder", "dovecot-uidlist", "dovecot-keywords")
"""The same for each folder in it."""

MAX_STATE = 64 << 20
"""Octets in each of these files; a line of dovecot-uidlist has about a hundred."""


def export(
    home: str, root: str, out: BinaryIO, complain: Callable[[str], None],
    step: Callable[[], None] = lambda: None, extra: Mapping[str, bytes] | None = None,
) -> int:
    """Write the mailbox to `out` as a tar archive of a Maildir below `root`.

    Returns the number of messages. For the arguments see `add`. Raises `StoreError`, and OSError
    if writing to `out` fails.
    """
    with archive_to(out) as archive:
        return add(archive, home, root, complain, step, extra)


def archive_to(out: BinaryIO) -> tarfile.TarFile:
    """Open a tar archive (pax format, a stream) that writes to `out`."""
    return tarfile.open(fileobj=out, mode="w|", format=tarfile.PAX_FORMAT)


def add(
    archive: tarfile.TarFile, home: str, root: str, complain: Callable[[str], None],
    step: Callable[[], None], extra: Mapping[str, bytes] | None,
) -> int:
    """Add the messages of the mailbox at `home` to an archive, and return their number.

    Calls `complain` with a line about each message that cannot be read, and adds the others. Calls
    `step` after each message. Decompresses messages that Dovecot compressed, so that any mail
    program can read them. Raises `StoreError`, and OSError if writing the archive fails.

    `extra` maps file names to contents. With it the archive has these files and those in `STATE`
    too, and so is the whole account. Without it there are no secrets in the archive.
    """
    count = 0
    known: set[str] = set()
    _add_folder(archive, root, known)
    if extra is not None:
        _add_state(archive, home, root, complain, extra)
    for directory, path, name in walk(home):
        folder = path.rpartition("/")[0]
        if folder:
            _add_folder(archive, f"{root}/{folder}", known)
        try:
            count += _add_message(archive, directory, name, f"{root}/{path}/{name}")
        except _Unreadable as error:
            complain(f"{home}/{path}/{name}: {error}; left out")
        step()
    return count


def _add_state(
    archive: tarfile.TarFile, home: str, root: str, complain: Callable[[str], None],
    extra: Mapping[str, bytes],
) -> None:
    with opened(home) as mailbox:
        for name in STATE:
            if name not in extra:
                _add_file(archive, mailbox, name, root, complain)
        for folder in sorted(maildir.folders(mailbox)):
            with _unless_link(), opened(folder, mailbox) as inner:
                for name in FOLDER_STATE:
                    _add_file(archive, inner, name, f"{root}/{folder}", complain)
    for name, content in extra.items():
        info = tarfile.TarInfo(f"{root}/{name}")
        info.mode, info.mtime, info.size = 0o600, int(time.time()), len(content)
        archive.addfile(info, io.BytesIO(content))


def _add_file(archive: tarfile.TarFile, directory: int, name: str, path: str,
              complain: Callable[[str], None]) -> None:
    try:
        _add_message(archive, directory, name, f"{path}/{name}")
    except _Unreadable as error:
        complain(f"{path}/{name}: {error}; left out")


class _Unreadable(Exception):
    """A message cannot be read; the text says why."""


def _add_folder(archive: tarfile.TarFile, path: str, known: set[str]) -> None:
    """Add a folder and its three directories, which a Maildir needs even if they are empty."""
    if path not in known:
        known.add(path)
        for directory in (path, *(f"{path}/{kind}" for kind in maildir.SUBDIRECTORIES)):
            info = tarfile.TarInfo(directory)
            info.type, info.mode, info.mtime = tarfile.DIRTYPE, 0o700, int(time.time())
            archive.addfile(info)


def _add_message(archive: tarfile.TarFile, directory: int, name: str, path: str) -> bool:
    try:
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC,
                     dir_fd=directory)
    except FileNotFoundError:
        return False    # renamed or deleted while we look
    except OSError as error:
        raise _Unreadable(error.strerror) from None
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise _Unreadable("no file")
    with open(fd, "rb") as stored, tempfile.SpooledTemporaryFile(IN_MEMORY) as plain:
        info = tarfile.TarInfo(path)
        info.mode, info.mtime = 0o600, int(os.fstat(fd).st_mtime)
        _decompress(stored, plain)
        info.size = plain.tell()
        plain.seek(0)
        archive.addfile(info, plain)
    return True


def _decompress(stored: BinaryIO, plain: IO[bytes]) -> None:
    """Copy a message; decompress it if it is gzip."""
    start = stored.read(2)
    stored.seek(0)
    if start != b"\x1f\x8b":
        shutil.copyfileobj(stored, plain, _CHUNK)
        return
    unzip = zlib.decompressobj(wbits=31)
    try:
        while chunk := stored.read(_CHUNK):
            plain.write(unzip.decompress(chunk))
        plain.write(unzip.flush())
    except zlib.error:
        raise _Unreadable("damaged gzip data") from None
    if not unzip.eof:
        raise _Unreadable("gzip data cut short")
