"""Logging of services: to stderr with levels for the journal, or to syslog. And how addresses look.

Messages name no password, token, subject, body or client address, and a mail address only as an
`AddressLabel`.
"""

import logging
import os
import sys
import traceback
from collections.abc import Callable

from chatmaild.daemon.logoutput import Descriptor, PatientHandler, Syslog

_SYSLOG_LEVEL = {
    logging.DEBUG: 7,
    logging.INFO: 6,
    logging.WARNING: 4,
    logging.ERROR: 3,
    logging.CRITICAL: 2,
}


_FACILITY_MAIL = 2 << 3


class _JournalFormatter(logging.Formatter):
    """The message alone, each of its lines with the ``<N>`` level prefix of sd-daemon(3)."""

    def format(self, record: logging.LogRecord) -> str:
        prefix = f"<{_SYSLOG_LEVEL.get(record.levelno, 6)}>"
        plain = not (record.exc_info or record.exc_text or record.stack_info)
        text = record.getMessage() if plain else super().format(record)
        return "\n".join([prefix + line for line in text.splitlines()])


class _SyslogFormatter(logging.Formatter):
    """As syslog(3) writes a record to /dev/log, but without the time."""

    def format(self, record: logging.LogRecord) -> str:
        priority = _FACILITY_MAIL | _SYSLOG_LEVEL.get(record.levelno, 6)
        return f"<{priority}>{super().format(record)}"


def setup(name: str, is_daemon: bool, to_syslog: bool = False) -> None:
    """Log to stderr, under systemd with levels that the journal understands; or to syslog.

    A daemon never waits for the reader of its log. `to_syslog` is for one that has left its
    terminal. There lines begin with `name`; the journal takes the same name from the unit's
    SyslogIdentifier=.
    """
    # No line of ours names thread, process or caller, and finding them out takes long.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging._srcfile = None
    handler: logging.Handler = logging.StreamHandler(sys.stderr)
    if to_syslog:
        handler = PatientHandler(Syslog())
        handler.setFormatter(_SyslogFormatter(f"{name}[{os.getpid()}]: %(message)s"))
    else:
        if is_daemon:
            handler = PatientHandler(Descriptor(sys.stderr.fileno()))
        if "JOURNAL_STREAM" in os.environ:
            handler.setFormatter(_JournalFormatter())
        else:
            handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logging.basicConfig(handlers=[handler], level=logging.INFO, force=True)


def quick(log: logging.Logger) -> Callable[[str], object]:
    """`log.info`, for one line that comes with every message. Call this after `setup`.

    In the journal the line looks the same, but no code of `logging` runs for it: that took more
    time than anything else at the end of a message. The line must be one, and complete.
    """
    handler = next(iter(logging.getLogger().handlers), None)
    if isinstance(handler, PatientHandler) and isinstance(handler.formatter, _JournalFormatter):
        write, prefix = handler.write, f"<{_SYSLOG_LEVEL[logging.INFO]}>"
        return lambda line: write(prefix + line)
    return log.info


def place(error: BaseException) -> str:
    """The kind of an error and its line; never its text, which may hold parts of a request."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f" in {frames[-1].filename}:{frames[-1].lineno}" if frames else ""
    return type(error).__name__ + where


class AddressLabel:
    """How a mail address appears in the log: a keyed hash, unless the admin wants it plain.

    The key is random and lives as long as the process. So the lines of one run about one address
    belong together, and nothing in an old log leads back to it. The hash is Python's own of
    strings: SipHash, which is made for a secret key. We put a key of ours in front, since Python's
    may be known (PYTHONHASHSEED).
    """

    def __init__(self, plain: bool):
        self.plain = plain
        self._key = os.urandom(16)

    def __call__(self, address: str) -> str:
        if self.plain:
            return address.encode("unicode_escape", "backslashreplace").decode("ascii")
        raw = self._key + address.lower().encode("utf-8", "surrogateescape")
        return f"addr-{hash(raw) & 0xFFFFFFFFFF:010x}"
