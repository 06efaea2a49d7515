"""Invitations: with `signup = invite`, the password of a new account must begin with a token.

Each token has a file, mailboxes_dir/DOMAIN/.invites/HASH, named by its SHA-256, so that nobody can
sign up with what they find on a disk or in a backup. `Mailbox.create` moves the file into the new
mailbox: the account is made and the token spent in one step, or neither.
"""

import contextlib
import hashlib
import json
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from chatmaild.accounts import madeup
from chatmaild.accounts.layout import DAY, explain
from chatmaild.accounts.mailboxes import Mailboxes
from chatmaild.config.config import DomainConfig
from chatmaild.disk import atomic
from chatmaild.errors import UsageError

TOKEN_LENGTH = 20
"""Characters, of 5 random bits each: 100 bits."""

SECRET_LENGTH = 12
"""Characters of the password after the token: 60 bits that are stored nowhere but in its hash."""

MAX_TOKENS = 10_000
"""Tokens in one batch."""

UNFINISHED_FOR = 3600
"""Seconds after which an incomplete file of an invitation counts as abandoned."""

_DIRECTORY = ".invites"


class Uninvited(Exception):
    """The password does not begin with an unused invitation."""


@dataclass(frozen=True, slots=True)
class Invitation:
    """A login that creates the account the first time, and is that of the account from then on."""

    address: str
    password: str


@dataclass(frozen=True, slots=True)
class Batch:
    """The unused invitations made by one command. Times are seconds since the epoch."""

    id: str
    domain: str
    created: int
    expires: int
    left: int


class _Record(NamedTuple):
    """The content of an invitation's file."""

    batch: str
    created: int
    expires: int


class Invites:
    """The invitations to the chat domains of this host."""

    def __init__(self, mailboxes: Mailboxes):
        self._mailboxes = mailboxes

    def _directory(self, domain: str) -> str:
        return f"{self._mailboxes.root}/{domain}/{_DIRECTORY}"

    def create(self, domain: DomainConfig, uses: int, days: int, now: float
               ) -> tuple[str, list[Invitation]]:
        """Make `uses` invitations. Returns the id of their batch, and the invitations.

        They expire `days` days after the end of today (UTC): with `days` = 1 at the end of
        tomorrow. `now` is in seconds since the epoch. Raises `UsageError`, `StoreError`.
        """
        if not 1 <= uses <= MAX_TOKENS:
            raise UsageError(f"an invitation can have from 1 to {MAX_TOKENS} uses")
        batch = madeup.text(8)
        today = int(now) // DAY * DAY
        tokens = [madeup.text(TOKEN_LENGTH) for _ in range(uses)]
        self.keep(domain.name, batch, tokens, today, today + (days + 1) * DAY)
        return batch, [self._invitation(domain, token) for token in tokens]

    def keep(self, domain: str, batch: str, tokens: Sequence[str], created: int, expires: int
             ) -> None:
        """Store new invitations, durably, by the hashes of their tokens. Raises `StoreError`."""
        record = json.dumps({"batch": batch, "created": created, "expires": expires}).encode()
        directory = self._directory(domain)
        begun: list[str] = []
        try:
            with contextlib.suppress(FileExistsError):
                os.mkdir(directory, 0o700)
            for token in tokens:
                begun.append(f"{directory}/{_name(token.encode())}")
                atomic.write_new_file(begun[-1], record)
            atomic.sync_directory(directory)
        except OSError as error:
            for path in begun:      # nobody has seen these tokens
                with contextlib.suppress(OSError):
                    os.unlink(path)
            raise explain(directory, error) from None

    def _invitation(self, domain: DomainConfig, token: str) -> Invitation:
        length = min(max(9, domain.username_min_length), domain.username_max_length)
        while True:
            mailbox = self._mailboxes.find(f"{madeup.text(length)}@{domain.name}")
            if mailbox and not mailbox.exists() and not mailbox.is_blocked():
                break
        secret = max(SECRET_LENGTH, domain.password_min_length - TOKEN_LENGTH)
        return Invitation(mailbox.address, token + madeup.text(secret))

    def claim(self, domain: str, password: bytes, now: float) -> str | None:
        """Return the `claim` for `Mailbox.create` with this password; None without an invitation.

        `now` is in seconds since the epoch. Raises `StoreError` if the disk cannot be read.
        """
        if len(password) <= TOKEN_LENGTH:
            return None
        path = f"{self._directory(domain)}/{_name(password[:TOKEN_LENGTH])}"
        try:
            record = _read(path)
        except OSError as error:
            raise explain(self._directory(domain), error) from None
        return path if record and now < record.expires else None

    def batches(self, domain: str) -> list[Batch]:
        """Return the batches with unused invitations, oldest first. Raises `StoreError`."""
        left: dict[tuple[int, str, int], int] = {}
        for _, record in self._records(domain):
            key = (record.created, record.batch, record.expires)
            left[key] = left.get(key, 0) + 1
        return [Batch(batch, domain, created, expires, count)
                for (created, batch, expires), count in sorted(left.items())]

    def revoke(self, domain: str, batch: str) -> int:
        """Revoke the unused invitations of a batch; returns how many. Raises `StoreError`."""
        due = [path for path, record in self._records(domain) if record.batch == batch]
        return len(_remove(due))

    def sweep(self, domain: str, now: float, dry_run: bool = False) -> list[str]:
        """Remove expired invitations, and incomplete files of a killed `create`.

        Returns their paths; with `dry_run` it removes nothing. Raises `StoreError`.
        """
        due = [path for path, record in self._files(domain)
               if (record.expires <= now if record else _is_abandoned(path, now))]
        return due if dry_run else _remove(due)

    def _records(self, domain: str) -> Iterator[tuple[str, _Record]]:
        return ((path, record) for path, record in self._files(domain) if record)

    def _files(self, domain: str) -> Iterator[tuple[str, _Record | None]]:
        directory = self._directory(domain)
        try:
            names = os.listdir(directory)
        except FileNotFoundError:
            return
        except OSError as error:
            raise explain(directory, error) from None
        for name in names:
            path = f"{directory}/{name}"
            try:
                record = _read(path)
            except OSError as error:
                raise explain(path, error) from None
            yield path, record


def _is_abandoned(path: str, now: float) -> bool:
    """Whether `path`, which is not an invitation, is a file that was begun long ago."""
    try:
        info = os.lstat(path)
    except FileNotFoundError:
        return False
    return stat.S_ISREG(info.st_mode) and info.st_mtime < now - UNFINISHED_FOR


def _remove(paths: list[str]) -> list[str]:
    """Remove these files. Returns those that were still there, not spent meanwhile."""
    removed = []
    for path in paths:
        try:
            os.unlink(path)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise explain(path, error) from None
        removed.append(path)
    return removed


def _read(path: str) -> _Record | None:
    """Read the record in `path`; None if it is spent, incomplete, or not an invitation."""
    try:
        with open(path, "rb") as file:
            record = json.loads(file.read(4096))
        return _Record(str(record["batch"]), int(record["created"]), int(record["expires"]))
    except (FileNotFoundError, IsADirectoryError, ValueError, TypeError, KeyError):
        return None


def _name(token: bytes) -> str:
    return hashlib.sha256(token).hexdigest()
