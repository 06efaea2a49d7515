"""One armored OpenPGP message (RFC 9580 section 6), line by line.

    before the armor   blank lines, then BEGIN
    armor headers      none, or a few short ones of other programs (`tolerant`); then a blank line
    armor lines        all of one width, a multiple of four and at most 76 characters; only the
                       last may be shorter or padded
    checksum           optional
    END

Lines end with CRLF. Because all have one width, each can be decoded by itself, a run of them is
checked in one step at C speed, and the length gives away a line slipped in between. Only those
lines of a run are decoded that the packet reader wants to see (`ArmorReader._run_of_lines`). An
armor that is short and complete, as most are, is read in one step (`ArmorReader._read_short`).
"""

import ctypes
import functools
import re
from binascii import a2b_base64
from collections.abc import Callable

from chatmaild.message import plaintext
from chatmaild.message.packets import LOOKED_AT_WHOLE, PacketReader
from chatmaild.message.refusal import Refusal

MAX_LINE = 998
"""Octets in a line without its CRLF, RFC 5322 section 2.1.1."""

MAX_WIDTH = 76
"""Characters in a line of armor."""

MIN_WIDTH = 40
"""Characters in a line of armor other than the last. Programs write 60 to 76; tiny lines would
only cost time."""

BEGIN = b"-----BEGIN PGP MESSAGE-----"
_END = b"-----END PGP MESSAGE-----"
_HEADER = re.compile(rb"(?:Version|Comment|Charset|MessageID|Hash):(?: [ -~]{0,100})?")
_MAX_HEADERS = 5
_MAX_BLANK_LINES = 100
_BLANK = re.compile(rb"[ \t]{0,70}")
_CHECKSUM = re.compile(rb"=[A-Za-z0-9+/]{4}")
_LAST_LINE = re.compile(rb"[A-Za-z0-9+/]*={0,2}")
_MAX_SHORT = LOOKED_AT_WHOLE * 3 // 2
_SHORT = re.compile(BEGIN + rb"\r\n\r\n([A-Za-z0-9+/\r\n]++(?:==?\r\n)?)"
                    rb"(?:=[A-Za-z0-9+/]{4}\r\n)?" + _END + rb"\r\n")
_CR = 13

_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

# Three times as fast as anything in Python that looks at each octet. PYFUNCTYPE keeps Python's
# lock: the call is over before another thread could make use of it.
_strspn = ctypes.PYFUNCTYPE(ctypes.c_size_t, ctypes.c_char_p, ctypes.c_char_p)(
    ("strspn", ctypes.PyDLL(None)))


def are_full(run: bytes, width: int, lines: int) -> bool:
    """Whether `run` consists of `lines` lines, each of `width` base64 characters and CRLF."""
    characters = bytearray(run)
    for place, end in ((width, b"\r"), (width + 1, b"\n")):
        if characters[place::width + 2] != end * lines:
            return False
        characters[place::width + 2] = b"A" * lines     # now all must be base64 characters
    return bool(_strspn(bytes(characters), _ALPHABET) == len(run))


def _octet(run: bytes, width: int, number: int) -> int:
    """One octet of those that these full lines encode."""
    group, into = divmod(number, 3)
    line, column = divmod(group, width // 4)
    begin = line * (width + 2) + column * 4
    return a2b_base64(run[begin:begin + 4])[into]


def _is_last(line: bytes) -> bool:
    """Whether this, which is shorter than the lines before it, may be the last one."""
    return (len(line) % 4 == 2 and len(line) > 2 and line.endswith(b"\r\n")
            and _LAST_LINE.fullmatch(line, 0, len(line) - 2) is not None)


def line_at(data: bytes, at: int, end: int, place: int) -> bytes:
    """The line from `at` to the LF at `end`, without its CRLF. Raises `Refusal` with the offset
    `place`."""
    if end - at > MAX_LINE + 1:
        raise Refusal("line-too-long", place)
    if end == at or data[end - 1] != _CR:
        raise Refusal("line-without-cr", place)
    return data[at:end - 1]


class ArmorReader:
    """Feed it the octets in any pieces, from the blank lines before BEGIN on, until `done`.

    Raises `Refusal`, whose offset counts from the first octet fed; do not use the reader after
    that. `tolerant` admits armor headers. Memory: one line, and what the packet reader keeps.
    """

    __slots__ = ("done", "_packets", "_tolerant", "_state", "_rest", "_line_at", "_blank",
                 "_headers", "_width", "_last_lines", "_data_at", "_data_width")

    def __init__(self, packets: PacketReader, tolerant: bool):
        self.done = False
        """Whether the END line was read."""
        self._packets = packets
        self._tolerant = tolerant
        self._state: _State = _before_armor
        self._rest = b""
        self._line_at = 0       # offset of the line that is read next
        self._blank = 0
        self._headers = 0
        self._width = 0         # of the lines while more of them may come, else 0
        self._last_lines = b""  # that text may have begun in
        self._data_at = 0       # offset of the first armor line
        self._data_width = 0

    def feed(self, chunk: bytes) -> int:
        """Read `chunk`. Returns how many of its octets belong to the armor: all before the end of
        the END line."""
        data = self._rest + chunk if self._rest else chunk
        start = self._line_at
        at = 0 if start else self._read_short(data)
        by_runs = True
        while not self.done:
            if self._width and by_runs:
                behind = self._run_of_lines(data, at)
                by_runs = behind >= 0       # else some line is wrong: find it one by one
                at = max(at, behind)
                self._line_at = start + at
            end = data.find(b"\n", at)
            if end < 0:
                break
            self._read_line(line_at(data, at, end, self._line_at))
            at = end + 1
            self._line_at = start + at
        before, self._rest = len(self._rest), b""
        if self.done:
            return at - before
        if len(data) - at > MAX_LINE + 1:
            raise Refusal("line-too-long", self._line_at)
        self._rest = data[at:]
        return len(chunk)

    def finish(self) -> None:
        """No more octets come. Raises `Refusal` unless `done`."""
        if self._rest:
            raise Refusal("last-line-without-end", self._line_at)
        if not self.done:
            raise Refusal("closing-delimiter-missing", self._line_at)

    def _read_short(self, data: bytes) -> int:
        """Read a short armor at once, if `data` has all of it, without headers. Returns where it
        ends; 0 if it must be read line by line."""
        match = _SHORT.match(data, 0, _MAX_SHORT)
        if not match:
            return 0
        lines = match[1]
        width = lines.find(b"\r")
        if not MIN_WIDTH <= width <= MAX_WIDTH or width % 4:
            return 0
        full = len(lines) // (width + 2)
        behind = full * (width + 2)
        if (full > LOOKED_AT_WHOLE // (width // 4 * 3)      # else text is searched line by line
                or not are_full(lines[:behind], width, full)
                or behind < len(lines) and not _is_last(lines[behind:])):
            return 0
        self._data_at, self._data_width = match.start(1), width
        self._octets(a2b_base64(lines))
        self._state = _armor_end(self, _END)
        return match.end()

    def _read_line(self, line: bytes) -> None:
        try:
            self._state = self._state(self, line)
        except Refusal as refusal:
            if refusal.offset is None:
                refusal.offset = self._line_at
            raise

    def _run_of_lines(self, data: bytes, at: int) -> int:
        """Take all full lines of armor from `at` on. Returns where they end, or -1 if one of them
        is wrong and all must be read one by one."""
        stride = self._width + 2
        lines = (len(data) - at) // stride
        run = data[at:at + lines * stride]
        if lines and not are_full(run, self._width, lines):
            # The armor may end in here.
            stop = min(found for found in (run.find(b"="), run.find(b"-"), len(run)) if found >= 0)
            lines = stop // stride
            run = run[:lines * stride]
            if lines and not are_full(run, self._width, lines):
                return -1
        if not lines:
            return at
        self._take(run, lines)
        return at + len(run)

    def _take(self, run: bytes, lines: int) -> None:
        """Hand on these full lines of armor, the first of which is at `_line_at`."""
        stride = self._width + 2
        known = self._last_lines
        # Lines that the packet reader sees whole need no search.
        skipped = max(0, LOOKED_AT_WHOLE // (self._width // 4 * 3)
                      - (self._line_at - self._data_at) // stride)
        searched = known + run[skipped * stride:]
        text_at = plaintext.find_lines_of_text(searched, self._width) if searched else -1
        needed = plaintext.lines_needed(self._width)
        self._last_lines = searched[max(0, len(searched) - (needed - 1) * stride):]
        if text_at >= 0:
            text_at += skipped - len(known) // stride
            self._decode(run, text_at + needed)     # may find an earlier fault
            raise Refusal("ciphertext-is-text", self._line_at + text_at * stride)
        self._decode(run, lines)

    def _decode(self, run: bytes, lines: int) -> None:
        """Give the packet reader the octets of these full lines that it wants to see."""
        packets = self._packets
        stride = self._width + 2
        octets = self._width // 4 * 3
        at, total = 0, lines * octets
        octet = functools.partial(_octet, run, self._width)
        while at < total:
            at = packets.skip_pieces(octet, at, total)
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

    def _place(self, octet: int | None) -> int:
        """The offset of the armor character that begins this octet."""
        if not self._data_width or octet is None:
            return self._data_at
        line, rest = divmod(octet, self._data_width // 4 * 3)
        return self._data_at + line * (self._data_width + 2) + rest * 4 // 3


# The states. Each is a function that takes a line and returns the state for the next line. They
# are not methods, because a reader that held a bound method of its own would be a reference cycle.

_State = Callable[[ArmorReader, bytes], "_State"]


def _before_armor(reader: ArmorReader, line: bytes) -> "_State":
    if not line:
        reader._blank += 1
        if reader._blank > _MAX_BLANK_LINES:
            raise Refusal("too-many-lines")
        return _before_armor
    if line != BEGIN:
        raise Refusal("text-before-armor")
    return _armor_header


def _armor_header(reader: ArmorReader, line: bytes) -> "_State":
    if not line or reader._tolerant and _BLANK.fullmatch(line):
        return _first_line
    reader._headers += 1
    if not reader._tolerant or reader._headers > _MAX_HEADERS or not _HEADER.fullmatch(line):
        raise Refusal("armor-header")
    return _armor_header


def _first_line(reader: ArmorReader, line: bytes) -> "_State":
    reader._data_at = reader._line_at
    reader._width = reader._data_width = len(line) if _LAST_LINE.fullmatch(line) else 0
    if reader._width > MAX_WIDTH:
        raise Refusal("armor-line-length")
    return _armor_line(reader, line)


def _armor_line(reader: ArmorReader, line: bytes) -> "_State":
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
    if len(line) < max(reader._width, MIN_WIDTH) or line.endswith(b"="):
        reader._width = 0     # that was the last line
        reader._octets(a2b_base64(line))
    else:
        reader._take(line + b"\r\n", 1)
    return _armor_line


def _armor_end(reader: ArmorReader, line: bytes) -> "_State":
    reader._width = 0
    if line != _END:
        raise Refusal("text-in-armor")
    try:
        reader._packets.finish()
    except Refusal as refusal:
        raise Refusal(refusal.reason, reader._place(refusal.offset)) from None
    reader.done = True
    return _armor_end
