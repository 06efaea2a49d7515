"""Imports accounts from a tar archive like those that `contents.add` writes.

Each account is made aside and put in place as a whole, so that a login or a delivery finds all of
it or nothing. The archive is not trusted: only names that belong in a mailbox are written, and
never through a link.
"""

import io
import itertools
import os
import shutil
import tarfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO, Any, BinaryIO, NoReturn

from chatmaild.accounts import lifecycle, settings
from chatmaild.accounts.contents import FOLDER_STATE, MAX_STATE, STATE
from chatmaild.accounts.layout import ENFORCE_ENCRYPTION, PASSWORD
from chatmaild.accounts.lifecycle import Creation
from chatmaild.accounts.mailboxes import MAX_HASH, Mailbox
from chatmaild.disk import atomic, maildir
from chatmaild.errors import StoreError, UsageError

_CHUNK = 1 << 16
_TOUCH = 60
"""Seconds after which a mailbox in the making is touched, so that no sweep takes it for abandoned.
"""

_LATEST = 1 << 33
"""Seconds since the epoch."""

_MAX_NAME = 255
"""Octets in a file name."""

_MAX_EXTENDED = 1 << 20
"""Octets in what a tar archive says of an entry beyond its header, which tarfile reads at once."""

_EXTENDED = frozenset((tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE,
                       tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK))


@dataclass(frozen=True)
class Moved:
    """One account that was imported."""

    mailbox: Mailbox
    messages: int
    without_password: bool
    """Whether the archive had no hash, so that `make_hash` made one."""


def receive(
    source: BinaryIO, find: Callable[[str], Mailbox], make_hash: Callable[[Mailbox], str],
    complain: Callable[[str], None], step: Callable[[], None],
) -> Iterator[Moved | StoreError]:
    """Make the accounts in the archive `source`, which may be compressed.

    `find` returns the mailbox for the first part of the names, or raises `UsageError`. `make_hash`
    returns the hash for an account that comes without one. Calls `complain` with a line about each
    entry that does not belong in a mailbox, and `step` after each message. Yields each account, or
    the reason why it cannot be made. Raises `ArchiveError` if `source` is none, or is cut
    short; the account under way is not made then.
    """
    try:
        with tarfile.open(fileobj=source, mode="r|*", tarinfo=_Member) as archive:
            for root, group in itertools.groupby(_members(archive), _root):
                try:
                    yield _Arrival(find(root), make_hash, complain, step).take(archive, group)
                except (_Refused, UsageError) as error:
                    for _ in group:
                        step()
                    yield StoreError(str(error))
    except (tarfile.TarError, EOFError) as error:
        raise ArchiveError(f"not a tar archive, or a damaged one: {error}") from None


class ArchiveError(StoreError):
    """An archive cannot be read to its end."""


class _Member(tarfile.TarInfo):
    """Notes the end of the archive, since tarfile takes a truncated one for complete.

    Refuses what a small archive could use to take any amount of memory or disk: long extensions of
    a header, and sparse files, which no program makes of mail.
    """

    @classmethod
    def frombuf(cls, buf: Any, encoding: str, errors: str) -> "_Member":
        member = super().frombuf(buf, encoding, errors)
        if member.type == tarfile.GNUTYPE_SPARSE:
            cls._refuse_sparse()
        if member.type in _EXTENDED and member.size > _MAX_EXTENDED:
            raise tarfile.ReadError(f"a header of more than {_MAX_EXTENDED} octets")
        return member

    @staticmethod
    def _refuse_sparse(*_: object) -> NoReturn:
        raise tarfile.ReadError("a sparse file")

    # How tarfile reads the three kinds of sparse files that pax headers announce.
    _proc_gnusparse_00 = _proc_gnusparse_01 = _proc_gnusparse_10 = _refuse_sparse

    @classmethod
    def fromtarfile(cls, tarfile_: Any) -> "_Member":
        try:
            return super().fromtarfile(tarfile_)
        except tarfile.EOFHeaderError:      # type: ignore[attr-defined]  # unknown to typeshed
            tarfile_.has_ended = True
            raise


def _members(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    yield from archive
    if not getattr(archive, "has_ended", False):
        raise ArchiveError("the archive is cut short; the last account in it was not made")


def _root(member: tarfile.TarInfo) -> str:
    return member.name.removeprefix("./").partition("/")[0]


class _Refused(Exception):
    """This account cannot be made here; others can."""


class _Arrival:
    """One account on its way from an archive into a mailbox."""

    def __init__(self, mailbox: Mailbox, make_hash: Callable[[Mailbox], str],
                 complain: Callable[[str], None], step: Callable[[], None]):
        self._mailbox = mailbox
        self._make_hash = make_hash
        self._complain = complain
        self._step = step
        self._messages = 0
        self._hash: tuple[str, float] | None = None
        self._made: set[str] = set()

    def take(self, archive: tarfile.TarFile, members: Iterator[tarfile.TarInfo]) -> Moved:
        """Raises `_Refused`, `StoreError`."""
        self._assert_free()
        with lifecycle.in_the_making(self._mailbox.home) as new:
            touched = time.monotonic()
            for member in members:
                try:
                    self._member(archive, member, new)
                except FileExistsError:
                    self._complain(f"{member.name}: is there twice; the first counts")
                if time.monotonic() - touched > _TOUCH:
                    os.utime(new)
                    touched = time.monotonic()
            came = self._hash
            hashed, login = came or (self._make_hash(self._mailbox), time.time())
            atomic.write_new_file(f"{new}/{PASSWORD}", hashed.encode("ascii") + b"\n", mtime=login)
            if not came:    # only mail, without the account's own files: treat it as a new account
                lifecycle.mark(new, ENFORCE_ENCRYPTION)
            os.sync()       # all of it must be on the disk before it gets its name
            done = lifecycle.put_in_place(self._mailbox.home, new)
        if done is Creation.ENDING:
            raise _Refused(f"{self._mailbox.address}: the sessions of its former owner are being "
                           "ended; try again in two minutes")
        if done is not Creation.DONE:
            self._assert_free()
            raise _Refused(f"{self._mailbox.address}: somebody has just created it")
        return Moved(self._mailbox, self._messages, without_password=not came)

    def _assert_free(self) -> None:
        address = self._mailbox.address
        if self._mailbox.is_blocked():
            raise _Refused(f"{address} is blocked: chatmaild accounts unblock {address}")
        if self._mailbox.exists():
            raise _Refused(f"{address}: there is such an account already; delete it first, or give "
                           "the new one another ADDRESS")

    def _member(self, archive: tarfile.TarFile, member: tarfile.TarInfo, new: str) -> None:
        _, *parts = member.name.removeprefix("./").rstrip("/").split("/")
        folder = parts.pop(0) if parts and _is_folder(parts[0]) else ""
        state = FOLDER_STATE if folder else STATE
        content: IO[bytes] | None = archive.extractfile(member) if member.isreg() else None
        if member.isdir() and (not parts or parts[0] in maildir.SUBDIRECTORIES and not parts[1:]):
            self._make_folder(new, folder)
        elif content and parts == [PASSWORD] and not folder:
            self._hash = _hash(content.read(MAX_HASH + 1), self._mailbox), _time(member)
        elif content and len(parts) == 1 and parts[0] in state and member.size <= MAX_STATE:
            self._make_folder(new, folder)
            if parts[0] == settings.SETTINGS:
                content = io.BytesIO(settings.render(_settings(content, self._mailbox)))
            _write(f"{new}/{folder}/{parts[0]}", content, _time(member))
        elif content and len(parts) == 2 and parts[0] in ("new", "cur") and _is_name(parts[1]):
            self._make_folder(new, folder)
            _write(f"{new}/{folder}/{parts[0]}/{parts[1]}", content, _time(member))
            self._messages += 1
            self._step()
        else:
            self._complain(f"{member.name}: does not belong in a mailbox; left out")

    def _make_folder(self, new: str, folder: str) -> None:
        if folder not in self._made:
            self._made.add(folder)
            for kind in maildir.SUBDIRECTORIES:
                os.makedirs(f"{new}/{folder}/{kind}", 0o700)


def _is_folder(name: str) -> bool:
    return name[:1] == "." and name.strip(".") != "" and _fits(name)


def _is_name(name: str) -> bool:
    return name[:1] not in ("", ".") and _fits(name)


def _fits(name: str) -> bool:
    return len(os.fsencode(name)) <= _MAX_NAME


def _hash(content: bytes, mailbox: Mailbox) -> str:
    text = content.split(b"\n", 1)[0].strip().decode("ascii", "replace")
    if not text.isprintable() or not text.isascii() or text[:1] not in ("{", "$") or (
            len(content) > MAX_HASH):
        raise _Refused(f"{mailbox.address}: its file {PASSWORD} holds no hash that Dovecot knows")
    return text


def _settings(content: IO[bytes], mailbox: Mailbox) -> settings.Settings:
    try:
        return settings.parse(content.read(settings.MAX_SIZE + 1))
    except ValueError as error:
        raise _Refused(f"{mailbox.address}: its file {settings.SETTINGS}: {error}") from None


def _time(member: tarfile.TarInfo) -> float:
    """When it was changed; now if it says what no file system can keep."""
    return member.mtime if 0 <= member.mtime < _LATEST else time.time()


def _write(path: str, content: IO[bytes], mtime: float) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with open(fd, "wb") as file:
        shutil.copyfileobj(content, file, _CHUNK)
        file.flush()
        os.utime(fd, (mtime, mtime))
