"""Keeps connections to PostgreSQL open in the background, so that no login waits for one.

The only importer of python3-psycopg2, which the first `Lines` loads: a host without `directory` in
chatmaild.ini needs neither.
"""

import contextlib
import logging
import os
import queue
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass
from typing import Any, ClassVar

from chatmaild import __version__
from chatmaild.errors import DirectoryError

log = logging.getLogger(__name__)

PRIMARY = "read-write"
"""What libpq calls the host that takes changes."""

CONNECT_TIMEOUT = 2
"""Seconds for one of the hosts in the connection string; libpq then tries the next."""

PAUSE = 1.0
"""Seconds between two attempts to connect."""

LOOK = 0.05
"""Seconds after which who waits for an answer looks whether the database is still there."""

IDLE = 20.0
"""Seconds without use after which a connection is tested."""

UNANSWERED = "the directory does not answer; is its PostgreSQL overloaded, or cut off?"

OPTIONS = {
    "connect_timeout": str(CONNECT_TIMEOUT),
    "keepalives_idle": "10", "keepalives_interval": "5", "keepalives_count": "3",
    "tcp_user_timeout": "5000",
    "options": "-c statement_timeout=5000 -c lock_timeout=3000 "
               "-c idle_in_transaction_session_timeout=5000",
}
"""Options of libpq, unless the connection string has others."""

UNDEFINED_TABLE = "42P01"

END = """SELECT pg_cancel_backend(pid) FROM pg_stat_activity
    WHERE pid = %s AND usename = current_user AND wait_event = 'SyncRep'
        AND application_name = current_setting('application_name')"""
"""Ends a commit that waits for a synchronous standby, and does not notice that we have left. What
it changed stays."""

Work = Callable[[Any], Any]
"""Called with a cursor in a transaction of its own, which is committed when it returns. Called
again, with another cursor, if the connection was lost."""


@dataclass(frozen=True, slots=True)
class Question:
    """A statement that gives one row or none. Each connection prepares it once.

    It takes one round trip, and the database plans it only once: more than twice as many a second
    as in a transaction.
    """

    statement: str
    """With $1, $2 and so on for the values."""
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Kind:
    """A kind of questions, which rest for a while after one that was not answered."""

    silence: float
    """For so many seconds."""


@dataclass(frozen=True, slots=True)
class Session:
    """Something of ours that is connected to the database, by its application_name."""

    node: str
    """The host, by its name; cut off if that is too long for PostgreSQL."""
    version: str
    """Of chatmaild."""

    LENGTH: ClassVar = 63
    """Octets of the name that PostgreSQL keeps (NAMEDATALEN)."""

    @property
    def name(self) -> str:
        """The name that it bears."""
        return f"chatmaild {self.version} {self.node}"[:self.LENGTH]

    @classmethod
    def of(cls, name: str) -> "Session | None":
        """Return the session of this name; None if it is none of ours."""
        ours, _, rest = name.partition(" ")
        version, _, node = rest.partition(" ")
        return cls(node, version) if ours == "chatmaild" else None

    def is_of(self, node: str) -> bool:
        """Whether it belongs to the host of this name."""
        return Session(node, self.version).name == self.name


def conninfo(path: os.PathLike[str]) -> str:
    """Read libpq's connection string from the file at `path`. Raises `DirectoryError`."""
    try:
        with open(path, encoding="utf-8") as file:
            lines = [line.strip() for line in file if line.strip() and line.strip()[0] != "#"]
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not valid UTF-8"
        raise DirectoryError(f"{os.fspath(path)}: {reason}; it holds the connection string of "
                             "PostgreSQL, see directory in chatmaild.ini(5)") from None
    if len(lines) != 1:
        raise DirectoryError(f"{os.fspath(path)}: must hold one line: the connection string of "
                             "PostgreSQL (host=... dbname=... user=...), or its URI")
    return lines[0]


class Lines:
    """`count` connections of one kind, each with a thread. Threads may share them.

    `target` chooses among the hosts in the connection string (libpq's target_session_attrs). In
    the database the sessions bear the name of the host `node`, and our version. With `logs`, one of
    the threads writes to the log when the database is lost and found again: for a service, since
    who runs a command sees the `DirectoryError`.
    """

    def __init__(self, conninfo: str, target: str, count: int, node: str = "",
                 logs: bool = False):
        self._arguments = _arguments(conninfo, target, node)
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._rests_until: dict[Kind, float] = {}
        self._lines = [_Line(self._arguments, self._jobs, logs and number == 0)
                       for number in range(count)]
        for line in self._lines:
            line.start()

    @property
    def trouble(self) -> str:
        """Why the database cannot be reached; "" if it can, or if that is unknown yet."""
        reasons = [line.trouble for line in self._lines]
        return "" if "" in reasons else reasons[0]

    def ask(self, work: Work | Question, seconds: float, kind: Kind | None = None) -> Any:
        """Run `work` in a transaction, and return its result; or the row that answers a question.

        Raises `DirectoryError` without a result after `seconds`; as soon as it is known that the
        database cannot be reached; and while this `kind` rests. Passes on what `work` raises.
        """
        if reason := self.trouble:
            raise DirectoryError(reason)
        if kind and time.monotonic() < self._rests_until.get(kind, 0):
            raise DirectoryError(UNANSWERED)
        job = _Job(work)
        self._jobs.put(job)
        try:
            return self._result(job, seconds)
        except (TimeoutError, CancelledError):
            job.result.cancel()
            if job.line:
                job.line.cut(job)
            if kind:
                self._rests_until[kind] = time.monotonic() + kind.silence
            raise DirectoryError(self.trouble or UNANSWERED) from None

    def begin(self, work: Work) -> Future[Any]:
        """Run `work` as soon as the database can be reached; returns what has its first end."""
        job = _Job(work, lasts=True)
        self._jobs.put(job)
        return job.result

    def _result(self, job: "_Job", seconds: float) -> Any:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > LOOK and not self.trouble:
            with contextlib.suppress(TimeoutError):
                return job.result.result(LOOK)
        return job.result.result(0 if self.trouble else max(left, 0))

    def close(self, wait: bool) -> None:
        """End the connections; with `wait` they have ended when this returns."""
        for line in self._lines:
            line.close()
        for _ in self._lines:
            self._jobs.put(None)
        for line in self._lines if wait else ():
            line.join(CONNECT_TIMEOUT + 1)


def _arguments(conninfo: str, target: str, node: str) -> dict[str, str]:
    psycopg2 = driver()
    try:
        given: dict[str, str] = psycopg2.extensions.parse_dsn(conninfo)
    except psycopg2.ProgrammingError as error:
        # libpq's error quotes a part of the string, which may hold a password
        raise DirectoryError("the connection string of the directory is not a valid one; see "
                             "libpq's manual, 'Connection Strings'") from error
    name = {"application_name": Session(node, __version__).name}
    return OPTIONS | name | given | {"target_session_attrs": target}


def driver() -> Any:
    """Import psycopg2. Raises `DirectoryError` if it is not installed."""
    try:
        import psycopg2
        import psycopg2.extensions
    except ImportError:
        raise DirectoryError("directory in chatmaild.ini needs the package python3-psycopg2"
                             ) from None
    return psycopg2


class _Job:
    def __init__(self, work: Work | Question, lasts: bool = False):
        self.work = work
        self.lasts = lasts      # is done by the next connection if this one is lost
        self.result: Future[Any] = Future()
        self.line: _Line | None = None


class _Line(threading.Thread):
    """One connection: opens it, keeps it, reopens it, and uses it for one job at a time."""

    def __init__(self, arguments: dict[str, str], jobs: "queue.SimpleQueue[_Job | None]",
                 speaks: bool):
        super().__init__(daemon=True)
        self._arguments, self._jobs, self._speaks = arguments, jobs, speaks
        self._driver = driver()
        self._connection: Any = None
        self._prepared: dict[str, str] = {}     # the name of each statement
        self._left = 0      # the process of a connection that was cut
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._current: _Job | None = None
        self.trouble = ""

    def run(self) -> None:
        while not self._closing.is_set():
            if self._connection is None and not self._connect():
                self._closing.wait(PAUSE)
                continue
            try:
                job = self._jobs.get(timeout=IDLE)
            except queue.Empty:
                self._try(_Job(lambda cursor: cursor.execute("SELECT 1")))
                continue
            if job and job.result.set_running_or_notify_cancel():
                self._do(job)
        self._disconnect()

    def close(self) -> None:
        self._closing.set()

    def cut(self, job: _Job) -> None:
        """Cancel `job`, whose result nobody waits for any more, by ending the connection."""
        with self._lock:
            if self._current is job and self._connection is not None:
                self._left = self._connection.get_backend_pid()
                with contextlib.suppress(OSError), socket.socket(
                        fileno=os.dup(self._connection.fileno())) as connection:
                    connection.shutdown(socket.SHUT_RDWR)

    def _connect(self) -> bool:
        try:
            connection = self._driver.connect(**self._arguments)
            if self._left:
                with connection, connection.cursor() as cursor:
                    cursor.execute(END, (self._left,))
                self._left = 0
        except self._driver.Error as error:
            reason = self._explained(" ".join(str(error).split()) or type(error).__name__)
            if self._speaks and not self.trouble:
                log.warning("directory: %s", reason)
            self.trouble = reason
            return False
        with self._lock:
            self._connection = connection
        self._prepared.clear()
        if self._speaks and self.trouble:
            log.info("directory: connected again")
        self.trouble = ""
        return True

    def _explained(self, reason: str) -> str:
        if "certificate" not in reason:
            return reason
        file = self._arguments.get("sslrootcert", "~/.postgresql/root.crt")
        return (f"{reason}; {file}, which sslrootcert in the connection string names, must hold "
                "the authority of the database's certificate")

    def _disconnect(self) -> None:
        with self._lock:
            connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(self._driver.Error):
                connection.close()

    def _do(self, job: _Job) -> None:
        """Do `job`; retry once if the connection turns out to be lost."""
        job.line = self
        for attempt in (1, 2):
            start = time.monotonic()
            with self._lock:
                self._current = job
            found, error = self._try(job)
            with self._lock:
                self._current = None
            if error is None:
                return job.result.set_result(found)
            lost = self._connection is None and not self._left      # else nobody waits any more
            if not lost or attempt == 2 or time.monotonic() - start > 0.5 or not self._connect():
                break
        job.result.set_exception(error)
        if job.lasts and self._connection is None:
            self._jobs.put(_Job(job.work, lasts=True))

    def _try(self, job: _Job) -> tuple[Any, Exception | None]:
        try:
            if isinstance(job.work, Question):
                self._connection.autocommit = True
                return self._answer(job.work), None
            self._connection.autocommit = False
            with self._connection:      # a transaction: commit, or rollback after an exception
                with self._connection.cursor() as cursor:
                    return job.work(cursor), None
        except self._driver.Error as error:
            # all that the database itself says has a code
            if error.pgcode is None or self._connection.closed or isinstance(
                    error, self._driver.OperationalError):
                self._disconnect()
            # the further lines (details) may hold values of a row
            reason = str(error).partition("\n")[0]
            if error.pgcode == UNDEFINED_TABLE:
                reason += "; chatmaild directory init, as the owner of the database, makes it"
            return None, DirectoryError("directory: " + reason)
        except Exception as error:      # raised by `work`: pass it on to the caller
            return None, error

    def _answer(self, question: Question) -> Any:
        with self._connection.cursor() as cursor:
            name = self._prepared.get(question.statement)
            if name is None:
                name = f"chatmaild_{len(self._prepared)}"
                cursor.execute(f"PREPARE {name} AS {question.statement}")
                self._prepared[question.statement] = name
            places = ", ".join(["%s"] * len(question.values))
            cursor.execute(f"EXECUTE {name} ({places})", question.values)
            return cursor.fetchone()
