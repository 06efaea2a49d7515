"""The queue of notifications to send: an SQLite database that survives kill and power loss.

It has one entry for each token, however many messages that stands for. If the `messages` counter
grew while the entry was being sent, it is sent again.

Calls block; use a `PushQueue` from one thread at a time. Times are seconds since the epoch.
"""

import contextlib
import hashlib
import logging
import os
import sqlite3
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from chatmaild.errors import StoreError

_SCHEMA = """
CREATE TABLE IF NOT EXISTS entry (
    id INTEGER PRIMARY KEY,
    key BLOB NOT NULL UNIQUE,
    token TEXT NOT NULL,
    ref TEXT NOT NULL,
    messages INTEGER NOT NULL,
    first REAL NOT NULL,
    last REAL NOT NULL,
    due REAL NOT NULL,
    failures INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS entry_first ON entry (first);
CREATE INDEX IF NOT EXISTS entry_last ON entry (last);
CREATE INDEX IF NOT EXISTS entry_due ON entry (due);
"""

_PRAGMAS = (
    "PRAGMA locking_mode = EXCLUSIVE",
    "PRAGMA auto_vacuum = INCREMENTAL",
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA cache_size = -4096",
    "PRAGMA journal_size_limit = 16777216",
)

_BROKEN = ("SQLITE_CORRUPT", "SQLITE_NOTADB")

VACUUM_PAGES = 2000
"""Pages of 4 KiB that `PushQueue.tidy` gives back at a time."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Entry:
    """A notification to send."""

    id: int
    token: str
    ref: str
    messages: int
    last: float
    failures: int


@dataclass(frozen=True)
class Backlog:
    """How much is waiting, and since when; `oldest` is None for an empty queue."""

    length: int
    oldest: float | None


class PushQueue:
    """The queue in the file `path`. Makes its directory (0700) if that is missing.

    A damaged database is set aside and reported, and an empty one takes its place.
    Raises `StoreError` if the directory cannot be used or another process uses the queue.
    """

    def __init__(self, path: Path):
        self._path = os.fspath(path)
        try:
            path.parent.mkdir(mode=0o700, exist_ok=True)
            if path.parent.stat().st_mode & 0o077:
                path.parent.chmod(0o700)
        except OSError as error:
            raise StoreError(f"{path.parent}: {error.strerror}; it must be a directory of the user "
                             "that chatmaild-notifier runs as, mode 0700") from None
        try:
            self._db = self._open()
        except sqlite3.DatabaseError as error:
            if getattr(error, "sqlite_errorname", "") not in _BROKEN:
                raise self._explain(error) from None
            self._set_aside(error)
            self._db = self._open()

    def _open(self) -> sqlite3.Connection:
        # sqlite gives the files beside it the mode of the database
        os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        db = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False, timeout=1)
        try:
            for pragma in _PRAGMAS:
                db.execute(pragma)
            verdict = db.execute("PRAGMA quick_check(1)").fetchone()[0]
            if verdict != "ok":
                error = sqlite3.DatabaseError(verdict)
                error.sqlite_errorname = "SQLITE_CORRUPT"
                raise error
            db.executescript(_SCHEMA)
        except sqlite3.DatabaseError:
            db.close()
            raise
        return db

    def _set_aside(self, error: sqlite3.DatabaseError) -> None:
        aside = f"{self._path}.corrupt-{os.urandom(4).hex()}"
        for suffix in ("", "-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                os.rename(self._path + suffix, aside + suffix)
        log.error("%s is damaged (%s): kept as %s, a new one begun; notifications that waited "
                  "are lost, messages are not", self._path, " ".join(str(error).split()), aside)

    def _explain(self, error: sqlite3.Error) -> StoreError:
        return StoreError(f"{self._path}: {error}")

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Put all changes within on the disk, or none. Raises `StoreError`."""
        try:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    self._db.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            raise self._explain(error) from None

    def add(self, token: str, ref: str, now: float, due: float) -> None:
        """Add news for `token`: send it at `due`, or together with what is waiting already."""
        self._db.execute(
            "INSERT INTO entry (key, token, ref, messages, first, last, due, failures) "
            "VALUES (?, ?, ?, 1, ?, ?, ?, 0) ON CONFLICT (key) DO UPDATE SET "
            "ref = excluded.ref, messages = messages + 1, last = excluded.last",
            (_key(token), token, ref, now, now, due))

    def sent(self, entry: Entry, again: float) -> None:
        """Note that `entry` was sent. If messages came meanwhile, it is due again at `again`."""
        gone = self._db.execute("DELETE FROM entry WHERE id = ? AND messages = ?",
                                (entry.id, entry.messages))
        if not gone.rowcount:
            self._db.execute("UPDATE entry SET first = last, due = ?, failures = 0 WHERE id = ?",
                             (again, entry.id))

    def failed(self, entry: Entry, due: float) -> None:
        """Note that sending `entry` failed. It becomes due again at `due`."""
        self._db.execute("UPDATE entry SET due = ?, failures = failures + 1 WHERE id = ?",
                         (due, entry.id))

    def remove(self, entry: Entry) -> None:
        """Drop `entry`: it will not be sent any more."""
        self._db.execute("DELETE FROM entry WHERE id = ?", (entry.id,))

    def due(self, now: float, limit: int, under_way: Collection[int]) -> list[Entry]:
        """Return at most `limit` entries to send now, newest first, but none `under_way` (ids).

        Newest first: after an outage the message of this second rings now, not after all those that
        have waited for hours.
        """
        if not limit:
            return []
        rows = self._db.execute(
            "SELECT id, token, ref, messages, last, failures FROM entry WHERE due <= ? "
            "ORDER BY due DESC LIMIT ?", (now, limit + len(under_way)))
        return [Entry(*row) for row in rows if row[0] not in under_way][:limit]

    def next_due(self, now: float) -> float | None:
        """Return when the first entry after `now` becomes due; None if there is none."""
        first: float | None = self._db.execute(
            "SELECT MIN(due) FROM entry WHERE due > ?", (now,)).fetchone()[0]
        return first

    def expire(self, before: float, latest: float) -> int:
        """Drop entries without a message since `before`; returns how many.

        An entry due after `latest` was written by a wrong clock: it becomes due at `latest`.
        """
        dropped = self._db.execute("DELETE FROM entry WHERE last < ?", (before,)).rowcount
        self._db.execute("UPDATE entry SET due = ? WHERE due > ?", (latest, latest))
        self._db.execute("UPDATE entry SET last = ? WHERE last > ?", (latest, latest))
        return dropped

    def tidy(self) -> None:
        """Return the space of deleted entries to the file system. Raises `StoreError`."""
        try:
            # a script, because execute() takes only the first of the steps
            self._db.executescript(f"PRAGMA incremental_vacuum({VACUUM_PAGES})")
        except sqlite3.Error as error:
            raise self._explain(error) from None

    def backlog(self) -> Backlog:
        """Count what is waiting."""
        return Backlog(*self._db.execute("SELECT COUNT(*), MIN(first) FROM entry").fetchone())

    def close(self) -> None:
        """Close the database; the entries stay."""
        self._db.close()


def _key(token: str) -> bytes:
    """Return a short hash of a token, so that the index does not hold all tokens again."""
    return hashlib.blake2b(token.encode(), digest_size=16).digest()
