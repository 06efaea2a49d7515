"""The body of an OpenPGP/MIME message (RFC 3156 section 4), line by line.

Every octet belongs to the grammar or raises `Refusal`:

    state             takes                                            then
    _preamble         blank lines, one sentence that programs write    delimiter: _version_head
    _version_head     a few headers of bounded length                  blank line: _version
    _version          ``Version: 1`` or nothing, blank lines           delimiter: _data_head
    _data_head        a few headers of bounded length                  blank line: _armor
    _armor            one armored message, by `armor.ArmorReader`      its END line: _after_armor
    _after_armor      blank lines                                      closing delimiter: _epilogue
    _epilogue         blank lines

In incoming mail (`tolerant`) a part may be base64 or quoted-printable: _encoded_version and
_encoded_data hand its lines to `transferencoding.EncodedPart` until the delimiter comes.

A client writes the same words before the armor in every message, so the result of reading them
line by line is cached (`_lines_in_known_head`).
"""

import functools
import re
from collections.abc import Callable

from chatmaild.message import parthead
from chatmaild.message.armor import BEGIN, MAX_LINE, ArmorReader, line_at
from chatmaild.message.packets import PacketReader
from chatmaild.message.refusal import Refusal
from chatmaild.message.transferencoding import EncodedPart

PREAMBLES = frozenset((
    # Thunderbird, Enigmail, Mailvelope, Roundcube, Proton and Schleuder
    b"This is an OpenPGP/MIME encrypted message (RFC 2440 and 3156)",
    b"This is an OpenPGP/MIME encrypted message (RFC 4880 and 3156)",
    b"This is an OpenPGP/MIME encrypted message (RFC 9580 and 3156)",
    b"This is an OpenPGP/MIME encrypted message (RFC 3156)",
    b"This message is in MIME format",                      # Horde
    b"This is a multi-part message in MIME format",         # MIME::Lite, Sylpheed
    b"This is a multipart message in MIME format",          # Microsoft's CDO, KMail 1
))
"""Sentences that programs write before the first part, here without their full stop."""

MAX_PREAMBLE = 256
"""Octets of any printable text that incoming mail may have there instead."""

MAX_SHORT_LINES = 1000
"""Lines outside the armor that any body may have; beyond them one for each `LINE_AVERAGE` octets.
"""

LINE_AVERAGE = 20
"""Octets. Each line costs time of its own, so a body of nothing but line ends would be slow."""

_PRINTABLE = re.compile(rb"[\t -~\x80-\xff]*")
_VERSION = b"Version: 1"
_ARMOR_STARTS = b"\r\n" + BEGIN + b"\r\n\r\n"
_LONGEST_HEAD = 4096
_FEW_LINES = MAX_SHORT_LINES // 2


class PgpMimeReader:
    """Feed it the body in any pieces. Raises `Refusal`, whose offset counts from the start of the
    body; do not use the reader after that.

    `tolerant` admits what other programs write (incoming mail). Memory: one line, and what the
    packet reader keeps.
    """

    __slots__ = ("_packets", "_delimiter", "_tolerant", "_state", "_rest", "_line_at", "_seen",
                 "_preamble", "_lines_read", "_lines", "_part", "_armor", "_armor_at")

    def __init__(self, boundary: bytes, tolerant: bool, packets: PacketReader):
        self._packets = packets
        self._delimiter = b"--" + boundary
        self._tolerant = tolerant
        self._state: _State = _preamble
        self._rest = b""
        self._line_at = 0       # offset in the body of the line that is read next
        self._seen = False      # the sentence, or the version, which may come once
        self._preamble = 0      # its octets so far
        self._lines_read = 0    # one by one
        self._lines: list[bytes] = []           # of the head of a part
        self._part: EncodedPart | None = None   # the one that is being read
        self._armor: ArmorReader | None = None  # likewise
        self._armor_at = 0      # where it began

    def feed(self, chunk: bytes) -> None:
        """The next octets of the body. Raises `Refusal`."""
        try:
            self._read(self._rest + chunk if self._rest else chunk)
        except Refusal:
            self._flush()       # a fault in earlier lines comes first
            raise
        self._flush()

    def finish(self) -> None:
        """The body is over. Raises `Refusal` if it is not complete."""
        if self._armor:
            self._in_armor(self._armor.finish)
        if self._rest:
            # The closing delimiter needs no line end behind it.
            if self._rest != self._delimiter + b"--":
                raise Refusal("last-line-without-end", self._line_at)
            self._read_line(self._rest)
        if self._state is not _epilogue:
            raise Refusal("closing-delimiter-missing", self._line_at)

    def _read(self, data: bytes) -> None:
        start = self._line_at
        at = 0 if start else self._known_head(data)
        while True:
            if self._armor:
                at += self._in_armor(functools.partial(self._armor.feed, data[at:]))
                if self._armor.done:
                    self._armor = None
                    at += self._known_tail(data, at)
            self._line_at = start + at
            end = data.find(b"\n", at)
            if end < 0:
                break
            self._read_line(line_at(data, at, end, self._line_at))
            at = end + 1
        if len(data) - at > MAX_LINE + 1:
            raise Refusal("line-too-long", self._line_at)
        self._rest = data[at:]

    def _read_line(self, line: bytes) -> None:
        self._lines_read += 1
        if self._lines_read > MAX_SHORT_LINES + self._line_at // LINE_AVERAGE:
            raise Refusal("too-many-lines", self._line_at)
        try:
            self._state = self._state(self, line)
        except Refusal as refusal:
            if refusal.offset is None:
                refusal.offset = self._line_at
            raise

    def _flush(self) -> None:
        if self._part:
            self._part.flush()

    def _in_armor(self, call: Callable[[], int | None]) -> int:
        """Return what `call` returns; turn the offset of its refusal into one in this body."""
        try:
            return call() or 0
        except Refusal as refusal:
            raise Refusal(refusal.reason, self._armor_at + (refusal.offset or 0)) from None

    def _known_head(self, data: bytes) -> int:
        """The offset of BEGIN, if everything before it is a known head; else 0."""
        end = data.find(_ARMOR_STARTS, 0, _LONGEST_HEAD)
        head = data[:end + 2]
        # But for the delimiter, all messages of a client have the same head. NUL, which no line
        # may have, takes its place.
        if end < 0 or b"\0" in head:
            return 0
        lines = _lines_in_known_head(head.replace(self._delimiter, b"\0"), self._tolerant)
        if not lines:
            return 0
        self._lines_read = lines
        self._begin_armor(end + 2)
        return end + 2

    def _known_tail(self, data: bytes, at: int) -> int:
        """How many octets there are, if what clients write behind the armor follows at `at`, and
        nothing else; else 0."""
        tail = b"\r\n" + self._delimiter + b"--\r\n"
        if len(data) - at != len(tail) or not data.endswith(tail) or self._lines_read > _FEW_LINES:
            return 0
        self._state = _epilogue
        return len(tail)

    def _begin_armor(self, at: int) -> None:
        self._armor = ArmorReader(self._packets, self._tolerant)
        self._armor_at = at
        self._state = _after_armor


# The grammar. Each function is a state: it takes a line and returns the state for the next line.
# They are not methods, because a reader that held a bound method of its own would be a reference
# cycle.

_State = Callable[[PgpMimeReader, bytes], "_State"]


def _preamble(reader: PgpMimeReader, line: bytes) -> "_State":
    if line == reader._delimiter:
        return _version_head
    reader._preamble += len(line)
    if reader._tolerant:
        known = reader._preamble <= MAX_PREAMBLE and _PRINTABLE.fullmatch(line) is not None
    else:
        known = not line or not reader._seen and line.removesuffix(b".") in PREAMBLES
    if not known:
        raise Refusal("text-before-first-part")
    reader._seen |= bool(line)
    return _preamble


def _version_head(reader: PgpMimeReader, line: bytes) -> "_State":
    if line:
        return _collect(reader, line, _version_head)
    encoding = _checked_head(reader, "application/pgp-encrypted")
    reader._seen = False
    if encoding:
        reader._part = EncodedPart(encoding, _VersionText(), reader._line_at)
        return _encoded_version
    return _version


def _collect(reader: PgpMimeReader, line: bytes, state: "_State") -> "_State":
    reader._lines.append(line)
    if sum(map(len, reader._lines)) > parthead.MAX_OCTETS:
        raise Refusal("part-head-too-long")
    return state


def _checked_head(reader: PgpMimeReader, media_type: str) -> str:
    """Check the head that was collected. Returns the part's transfer encoding, "" for none."""
    lines, reader._lines = reader._lines, []
    return parthead.check(media_type, reader._tolerant, tuple(lines))


def _version(reader: PgpMimeReader, line: bytes) -> "_State":
    if line == reader._delimiter:
        return _data_head
    if line and (line != _VERSION or reader._seen):
        raise Refusal("text-in-version-part")
    reader._seen |= bool(line)
    return _version


def _encoded_version(reader: PgpMimeReader, line: bytes) -> "_State":
    return _encoded_line(reader, line, b"", _encoded_version, _data_head)


def _encoded_line(reader: PgpMimeReader, line: bytes, end: bytes, state: "_State",
                  behind: "_State") -> "_State":
    part = reader._part
    assert part
    if line != reader._delimiter + end:
        part.line(line)
        return state
    part.finish()
    reader._part = None
    return behind


def _data_head(reader: PgpMimeReader, line: bytes) -> "_State":
    if line:
        return _collect(reader, line, _data_head)
    encoding = _checked_head(reader, "application/octet-stream")
    behind = reader._line_at + 2
    if encoding:
        armor = ArmorReader(reader._packets, reader._tolerant)
        reader._part = EncodedPart(encoding, _ArmorAlone(armor), behind)
        return _encoded_data
    reader._begin_armor(behind)
    return _after_armor


def _encoded_data(reader: PgpMimeReader, line: bytes) -> "_State":
    return _encoded_line(reader, line, b"--", _encoded_data, _epilogue)


def _after_armor(reader: PgpMimeReader, line: bytes) -> "_State":
    if not line:
        return _after_armor
    if line != reader._delimiter + b"--":
        raise Refusal("text-after-armor")
    return _epilogue


def _epilogue(reader: PgpMimeReader, line: bytes) -> "_State":
    if line:
        raise Refusal("text-after-last-part")
    return _epilogue


class _VersionText:
    """Reads the decoded first part: ``Version: 1`` or nothing, among line ends."""

    def __init__(self) -> None:
        self._text = b""

    def feed(self, chunk: bytes) -> None:
        text = (self._text + chunk).lstrip(b"\r\n")
        if len(text.rstrip(b"\r\n")) > len(_VERSION):
            raise Refusal("text-in-version-part")
        self._text = text[:len(_VERSION) + 2]

    def finish(self) -> None:
        if self._text.strip(b"\r\n") not in (b"", _VERSION):
            raise Refusal("text-in-version-part")


class _ArmorAlone:
    """Reads the decoded second part: the armor, then blank lines."""

    def __init__(self, armor: ArmorReader):
        self._armor = armor

    def feed(self, chunk: bytes) -> None:
        if chunk[self._armor.feed(chunk):].strip(b"\r\n"):
            raise Refusal("text-after-armor")

    def finish(self) -> None:
        self._armor.finish()


@functools.lru_cache(maxsize=256)
def _lines_in_known_head(head: bytes, tolerant: bool) -> int:
    """How many lines `head` has, if it is complete and right up to the armor; else 0. NUL takes
    the place of the delimiter in it, and must not be hidden in another line."""
    reader = PgpMimeReader(b"", tolerant, PacketReader())
    reader._delimiter = b"\0"
    try:
        reader.feed(head)
    except Refusal:
        return 0        # reading line by line will find the fault again, with its place
    # What looks like a head may have an armor in it that has begun already.
    known = (reader._armor is not None and not reader._rest and head.count(b"\0") == 2
             and BEGIN not in head)
    return reader._lines_read if known else 0
