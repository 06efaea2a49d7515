"""The body of an OpenPGP/MIME message (RFC 3156 section 4), line by line.

Every octet is part of the grammar or ends in a `Refusal`:

    preamble: blank lines, or the one sentence that clients write there
    part 1:   a few headers of known content, then ``Version: 1``
    part 2:   a few headers of known content, then one armored message (RFC 9580 section 6)
    closing delimiter, blank lines

Lines end with CRLF. Armor lines are all of one width, a multiple of four and at most 76, only
the last may be shorter or padded: so each line can be decoded by itself, a run of them can be
checked in one step at C speed, and a line slipped in between is noticed by its length.

Two shortcuts answer what the lines would answer. Clients write the same words before the armor in
every message, so what was once read line by line is remembered (`_is_known_head`). And of a run of
full armor lines only those are decoded that the packet reader wants to see (`_run_of_lines`).
"""

import functools
import re
from binascii import a2b_base64
from collections.abc import Callable

from chatmaild.message import armor, parthead, plaintext
from chatmaild.message.packets import LOOKED_AT_WHOLE, PacketReader
from chatmaild.message.refusal import Refusal

MAX_LINE = 998
"""Octets in a line without its CRLF, RFC 5322 section 2.1.1."""

MAX_WIDTH = 76
"""Characters in a line of armor."""

_PREAMBLE = re.compile(
    rb"This is an OpenPGP/MIME encrypted message \(RFC (?:2440|4880|9580) and 3156\)"
)
_ARMOR_HEADER = re.compile(rb"(?:Version|Comment|Charset|MessageID|Hash): [ -~]{1,100}")
_MAX_ARMOR_HEADERS = 5
_CHECKSUM = re.compile(rb"=[A-Za-z0-9+/]{4}")
_LAST_LINE = re.compile(rb"[A-Za-z0-9+/]*={0,2}")
_CR = 13
_BEGIN = b"-----BEGIN PGP MESSAGE-----"
_END = b"-----END PGP MESSAGE-----"
_ARMOR_STARTS = b"\r\n" + _BEGIN + b"\r\n\r\n"
_LONGEST_HEAD = 4096


class BodyReader:
    """Feed it the body in any pieces; a `Refusal` ends it, with the offset within the body.

    `tolerant` admits what other programs write (incoming mail): armor headers, more part headers.
    Memory: one line, and what the packet reader keeps.
    """

    __slots__ = ("_packets", "_delimiter", "_tolerant", "_state", "_rest", "_line_at", "_seen",
                 "_lines", "_width", "_last_lines", "_data_at", "_data_width")

    def __init__(self, boundary: bytes, tolerant: bool, packets: PacketReader):
        self._packets = packets
        self._delimiter = b"--" + boundary
        self._tolerant = tolerant
        self._state: _State = _preamble
        self._rest = b""
        self._line_at = 0       # offset in the body of the line that is read next
        self._seen = 0          # of the one line that may be there, or of those that are counted
        self._lines: list[bytes] = []   # of the head of a part
        self._width = 0         # of armor lines while more of them may come, else 0
        self._last_lines = b""  # that text may have begun in
        self._data_at = 0       # offset in the body of the first armor line
        self._data_width = 0

    def feed(self, chunk: bytes) -> None:
        data = self._rest + chunk if self._rest else chunk
        start = self._line_at
        at = 0 if start else self._known_head(data)
        try_bulk = True
        while True:
            self._line_at = start + at
            if self._width and try_bulk:
                done = self._run_of_lines(data, at, start)
                try_bulk = done >= 0
                at = max(at, done)
                self._line_at = start + at
            end = data.find(b"\n", at)
            if end < 0:
                break
            if end - at > MAX_LINE + 1:
                raise Refusal("line-too-long", self._line_at)
            if end == at or data[end - 1] != _CR:
                raise Refusal("line-without-cr", self._line_at)
            try:
                self._state = self._state(self, data[at:end - 1])
            except Refusal as refusal:
                if refusal.offset is None:
                    refusal.offset = self._line_at
                raise
            at = end + 1
        if len(data) - at > MAX_LINE + 1:
            raise Refusal("line-too-long", self._line_at)
        self._rest = data[at:]

    def finish(self) -> None:
        """The body is over."""
        if self._rest:
            # The line end before a closing delimiter is the delimiter's; behind it none is needed.
            if self._state is not _after_armor or self._rest != self._delimiter + b"--":
                raise Refusal("last-line-without-end", self._line_at)
            self._state = _epilogue
        if self._state is not _epilogue:
            raise Refusal("closing-delimiter-missing", self._line_at)

    def _known_head(self, data: bytes) -> int:
        """Where the first armor line begins, if everything before it is a known head; else 0."""
        end = data.find(_ARMOR_STARTS, 0, _LONGEST_HEAD)
        head = data[:end + 2]
        # With the delimiter taken out heads are the same in all messages of a client. NUL, which
        # no line may have, stands for it.
        if end < 0 or b"\0" in head or not _is_known_head(head.replace(self._delimiter, b"\0"),
                                                          self._tolerant):
            return 0
        self._state = _first_armor_line
        at = end + len(_ARMOR_STARTS)
        width = data.find(b"\r", at) - at
        if 0 < width <= MAX_WIDTH and not width % 4:    # a run may begin with the first line
            self._data_at, self._width, self._data_width = at, width, width
        return at

    def _run_of_lines(self, data: bytes, at: int, start: int) -> int:
        """Take as many full lines of armor from `at` as there are; answers where they end, or
        -1 if some line among them is wrong and all must be read one by one."""
        stop = len(data)
        for end in b"=-":
            found = data.find(end, at, stop)
            stop = found if found >= 0 else stop
        lines = (stop - at) // (self._width + 2)
        if not lines:
            return at
        stop = at + lines * (self._width + 2)
        run = data[at:stop]
        if not armor.are_full(run, self._width, lines):
            return -1
        self._state = _armor_line
        self._line_at = start + at
        self._take(run, lines)
        return stop

    def _take(self, run: bytes, lines: int) -> None:
        """Hand on these full lines of armor, the first of which is at `_line_at`."""
        stride = self._width + 2
        known = self._last_lines
        # As soon as the packet reader does not look at everything any more.
        skipped = max(0, LOOKED_AT_WHOLE // (self._width // 4 * 3)
                      - (self._line_at - self._data_at) // stride)
        searched = known + run[skipped * stride:]
        text_at = plaintext.find_lines_of_text(searched, self._width) if searched else -1
        needed = plaintext.lines_needed(self._width)
        self._last_lines = searched[max(0, len(searched) - (needed - 1) * stride):]
        if text_at >= 0:
            text_at += skipped - len(known) // stride
            self._decode(run, text_at + needed)     # which may find another fault before
            raise Refusal("ciphertext-is-text", self._line_at + text_at * stride)
        self._decode(run, lines)

    def _decode(self, run: bytes, lines: int) -> None:
        """Give the packet reader what it wants to see of these full lines."""
        packets = self._packets
        stride = self._width + 2
        octets = self._width // 4 * 3
        at, total = 0, lines * octets
        while at < total:
            quiet, loud = packets.ahead()
            if quiet:
                quiet = min(quiet, total - at)
                packets.skip(quiet)
                at += quiet
            if loud and at < total:
                first, into = divmod(at, octets)
                last = -(-min(at + loud, total) // octets)
                some = a2b_base64(run[first * stride:last * stride])[into:into + loud]
                self._octets(some)
                at += len(some)

    def _octets(self, octets: bytes) -> None:
        try:
            self._packets.feed(octets)
        except Refusal as refusal:
            raise Refusal(refusal.reason, self._place(refusal.offset)) from None

    def _place(self, octet: int) -> int:
        """Where in the body the armor character stands that begins this octet."""
        if not self._data_width:
            return self._data_at
        line, rest = divmod(octet, self._data_width // 4 * 3)
        return self._data_at + line * (self._data_width + 2) + rest * 4 // 3


def read_armor(armored: bytes, packets: PacketReader) -> None:
    """One armored message by itself, lines ending with CRLF. Raises `Refusal`."""
    reader = BodyReader(b"", False, packets)
    reader._state = _before_armor
    reader.feed(armored + b"\r\n----\r\n")
    reader.finish()


# The grammar. Each function is a state: it takes a line and answers which state takes the next.
# (They are no methods, because a reader that held a method of its own would be garbage that only
# the collector finds.)

_State = Callable[[BodyReader, bytes], "_State"]


def _preamble(reader: BodyReader, line: bytes) -> "_State":
    if line == reader._delimiter:
        return _version_head
    if line and (reader._seen or not _PREAMBLE.fullmatch(line)):
        raise Refusal("text-before-first-part")
    reader._seen |= bool(line)
    return _preamble


def _version_head(reader: BodyReader, line: bytes) -> "_State":
    if _collect_head(reader, line, "application/pgp-encrypted"):
        return _version_head
    reader._seen = 0
    return _version


def _collect_head(reader: BodyReader, line: bytes, media_type: str) -> bool:
    """Whether the head of this part goes on; at its end it is checked."""
    if line:
        reader._lines.append(line)
        if sum(map(len, reader._lines)) > parthead.MAX_OCTETS:
            raise Refusal("part-head-too-long")
        return True
    lines, reader._lines = reader._lines, []
    parthead.check(media_type, reader._tolerant, tuple(lines))
    return False


def _version(reader: BodyReader, line: bytes) -> "_State":
    if line == reader._delimiter:
        if not reader._seen:
            raise Refusal("version-part-empty")
        return _data_head
    reader._seen += line == b"Version: 1"
    if line and (line != b"Version: 1" or reader._seen > 1):
        raise Refusal("text-in-version-part")
    return _version


def _data_head(reader: BodyReader, line: bytes) -> "_State":
    if _collect_head(reader, line, "application/octet-stream"):
        return _data_head
    return _before_armor


def _before_armor(reader: BodyReader, line: bytes) -> "_State":
    if not line:
        return _before_armor
    if line != _BEGIN:
        raise Refusal("text-before-armor")
    reader._seen = 0
    return _armor_header


def _armor_header(reader: BodyReader, line: bytes) -> "_State":
    if not line:
        return _first_armor_line
    reader._seen += 1
    if (not reader._tolerant or reader._seen > _MAX_ARMOR_HEADERS
            or not _ARMOR_HEADER.fullmatch(line)):
        raise Refusal("armor-header")
    return _armor_header


def _first_armor_line(reader: BodyReader, line: bytes) -> "_State":
    reader._data_at = reader._line_at
    reader._width = reader._data_width = len(line) if _LAST_LINE.fullmatch(line) else 0
    if reader._width > MAX_WIDTH:
        raise Refusal("armor-line-length")
    return _armor_line(reader, line)


def _armor_line(reader: BodyReader, line: bytes) -> "_State":
    if line.startswith(b"="):
        if not _CHECKSUM.fullmatch(line):
            raise Refusal("armor-checksum")
        reader._width = 0
        return _armor_end
    if line.startswith(b"-"):
        return _armor_end(reader, line)
    if not _LAST_LINE.fullmatch(line):
        raise Refusal("text-in-armor")
    if not line or len(line) > reader._width or len(line) % 4:
        raise Refusal("armor-line-length")
    if len(line) < reader._width or line.endswith(b"="):
        reader._width = 0     # that was the last line
        reader._octets(a2b_base64(line))
    else:
        reader._take(line + b"\r\n", 1)
    return _armor_line


def _armor_end(reader: BodyReader, line: bytes) -> "_State":
    reader._width = 0
    if line != _END:
        raise Refusal("text-in-armor")
    try:
        reader._packets.finish()
    except Refusal as refusal:
        raise Refusal(refusal.reason, reader._place(refusal.offset)) from None
    return _after_armor


def _after_armor(reader: BodyReader, line: bytes) -> "_State":
    if not line:
        return _after_armor
    if line != reader._delimiter + b"--":
        raise Refusal("text-after-armor")
    return _epilogue


def _epilogue(reader: BodyReader, line: bytes) -> "_State":
    if line:
        raise Refusal("text-after-last-part")
    return _epilogue


@functools.lru_cache(maxsize=256)
def _is_known_head(head: bytes, tolerant: bool) -> bool:
    """Whether these lines, NUL for the delimiter, are all that may stand before the armor, and no
    delimiter is hidden in another line."""
    reader = BodyReader(b"", tolerant, PacketReader())
    reader._delimiter = b"\0"
    try:
        reader.feed(head)
    except Refusal:
        return False    # read line by line it will be found again, with its place
    return reader._state is _before_armor and not reader._rest and head.count(b"\0") == 2
