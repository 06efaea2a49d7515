"""The lines of Dovecot's dict protocol: what it asks, and what we answer.

Pure: bytes in, values out.

Source: Dovecot's dict-client.h, protocol majors 2 to 4, and what 2.3 and 2.4 put on the wire. A
line is a command letter and fields separated by TAB. NUL, TAB, CR, LF and \\x01 within a field
are escaped with \\x01. Passwords are among the fields, so nothing here ends up in an exception.

Whatever bytes come, each line is one value, however the bytes were cut.
"""

import re
from dataclasses import dataclass

MAX_LINE = 16_384
"""Octets in a line without its LF. The longest honest line carries a 4,096-octet push token."""

MAX_ID = 20
"""Digits in the number of a transaction."""

_ESCAPED = {b"0": b"\0", b"1": b"\1", b"t": b"\t", b"r": b"\r", b"n": b"\n"}
_ESCAPES = {plain: b"\1" + letter for letter, plain in _ESCAPED.items()}
_TO_ESCAPE = re.compile(rb"[\x00\x01\t\r\n]")


def unescape(field: bytes) -> bytes:
    """Undo the escapes of a field; an unknown one stands for the octet behind the \\x01."""
    if b"\1" not in field:
        return field
    return re.sub(rb"\x01(.?)", lambda m: _ESCAPED.get(m[1], m[1]), field, flags=re.DOTALL)


def escape(field: bytes) -> bytes:
    """Make any octets fit into one field."""
    if not _TO_ESCAPE.search(field):
        return field
    return _TO_ESCAPE.sub(lambda m: _ESCAPES[m[0]], field)


@dataclass(frozen=True, slots=True)
class Hello:
    """``H``: the first line of a connection, though not every client sends it."""

    major: int = 0
    user: bytes = b""
    dict_name: bytes = b""


@dataclass(frozen=True, slots=True)
class Lookup:
    """``L``: expects one answer. `user` is empty if the client named none."""

    key: bytes
    user: bytes = b""


@dataclass(frozen=True, slots=True)
class Iterate:
    """``I``: expects rows, then `END` (or a failure). `max_rows` 0 means all."""

    path: bytes
    max_rows: int = 0
    user: bytes = b""


@dataclass(frozen=True, slots=True)
class Begin:
    """``B``: opens the transaction `id` for `user`."""

    id: bytes
    user: bytes = b""


@dataclass(frozen=True, slots=True)
class Change:
    """``S`` and ``U`` within transaction `id`; `value` None unsets the key."""

    id: bytes
    key: bytes
    value: bytes | None


@dataclass(frozen=True, slots=True)
class Commit:
    """``C``: expects one answer. ``D``, from old clients: expects it in the asynchronous form."""

    id: bytes
    asynchronous: bool = False


@dataclass(frozen=True, slots=True)
class Rollback:
    """``R``: forget the transaction."""

    id: bytes


@dataclass(frozen=True, slots=True)
class Unsupported:
    """A line of transaction `id` that we cannot honour (``A``, ``P``, or one that is too long).

    The transaction must not commit: its client would believe that all is stored.
    """

    id: bytes


@dataclass(frozen=True, slots=True)
class Malformed:
    """A line that makes no sense, or is too long.

    `answer` is empty if the client waits for none. A lookup finds nothing; the rest fails.
    """

    answer: bytes


Request = (
    Hello | Lookup | Iterate | Begin | Change | Commit | Rollback | Unsupported | Malformed | None
)

NOT_FOUND = b"N\n"
FAILURE = b"Ftemporary failure\n"
"""An error of ours. It quotes nothing from the request, because Dovecot logs this text."""

_ANSWERS = {b"L": NOT_FOUND, b"I": FAILURE, b"C": FAILURE, b"D": FAILURE}


def parse(line: bytes) -> Request:
    """The request in `line` (without its LF). None: ignore it, nobody waits for an answer."""
    command, fields = line[:1], [unescape(field) for field in line[1:].split(b"\t")]
    count = len(fields)
    if command == b"L" and fields[0]:
        return Lookup(fields[0], fields[1] if count > 1 else b"")
    if command == b"H":
        if count < 2 or not _is_number(fields[0]):
            return Malformed(b"")
        return Hello(int(fields[0]), *(fields[3:5] if count > 4 else ()))
    if command == b"I" and count >= 3 and _is_number(fields[1]):
        return Iterate(fields[2], int(fields[1]), fields[3] if count > 3 else b"")
    if command and command in b"BSUCDRAP" and _is_number(fields[0]):
        return _transaction_line(command, fields)
    if command and command in b"HLIBSUCDRAP":
        return _malformed(command)
    return None


def _transaction_line(command: bytes, fields: list[bytes]) -> Request:
    number, count = fields[0], len(fields)
    if command == b"B":
        return Begin(number, fields[1] if count > 1 else b"")
    if command == b"S" and count == 3:
        return Change(number, fields[1], fields[2])
    if command == b"U" and count == 2:
        return Change(number, fields[1], None)
    if command in b"CD":
        return Commit(number, asynchronous=command == b"D")
    if command == b"R":
        return Rollback(number)
    return Unsupported(number)


def _too_long(head: bytes) -> Request:
    command, number = head[:1], head[1:].partition(b"\t")[0]
    if command in b"BSURAP" and _is_number(number):
        return Unsupported(number)
    return _malformed(command)


def _malformed(command: bytes) -> Malformed:
    return Malformed(_ANSWERS.get(command, b""))


def _is_number(field: bytes) -> bool:
    return field.isdigit() and len(field) <= MAX_ID


class LineReader:
    """Cuts a stream into lines of at most `limit` octets; holds no more than that and one feed.

    Of a longer line only the head is kept, so that it can be answered when it ends.
    """

    __slots__ = ("_buffer", "_start", "_skipped", "_limit", "_head")

    def __init__(self, limit: int = MAX_LINE):
        self._buffer = b""
        self._start = 0
        self._skipped: bytes | None = None
        self._limit = limit
        self._head = min(limit, len(b"S\t") + MAX_ID)

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the stream, however they were cut."""
        self._buffer = self._buffer[self._start:] + data
        self._start = 0

    def next_request(self) -> tuple[bool, Request]:
        """(True, the request in the next line), or (False, None) if more bytes are needed."""
        start = self._start
        end = self._buffer.find(b"\n", start)
        if end < 0:
            if self._skipped is not None or len(self._buffer) - start > self._limit:
                if self._skipped is None:
                    self._skipped = self._buffer[start:start + self._head]
                self._buffer = b""
                self._start = 0
            return False, None
        self._start = end + 1
        if self._skipped is not None or end - start > self._limit:
            head = self._skipped or self._buffer[start:start + self._head]
            self._skipped = None
            return True, _too_long(head)
        return True, parse(self._buffer[start:end])


COMMITTED = b"O\n"
END = b"\n"
"""Ends the rows of an `Iterate`."""


def found(value: bytes) -> bytes:
    """The answer to a `Lookup` that has a value."""
    return b"O" + escape(value) + b"\n"


def row(key: bytes, value: bytes = b"") -> bytes:
    """One row of the answer to an `Iterate`."""
    return b"O" + escape(key) + b"\t" + escape(value) + b"\n"


def commit_answer(request: Commit, answer: bytes) -> bytes:
    """`answer` in the form that `request` asked for."""
    return b"A" + answer[:1] + request.id + b"\n" if request.asynchronous else answer


_CREDENTIALS = re.compile(rb'((?:[^\\"]|\\.)*)"((?:[^\\"]|\\.)*)', re.DOTALL)
_BACKSLASHED = re.compile(rb"\\(.)", re.DOTALL)


def split_credentials(text: bytes) -> tuple[bytes, bytes] | None:
    """(password, user) of ``PASSWORD"USER``; None if `text` is not of that form.

    Dovecot's %E put a backslash before each double quote, quote and backslash.
    """
    if b"\\" not in text:
        password, quote, user = text.partition(b'"')
        return (password, user) if quote and b'"' not in user else None
    match = _CREDENTIALS.fullmatch(text)
    if not match:
        return None
    password, user = (_BACKSLASHED.sub(rb"\1", part) for part in match.groups())
    return password, user
