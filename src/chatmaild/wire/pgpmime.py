"""The body of an OpenPGP/MIME message (RFC 3156 section 4), line by line.

Every octet is part of the grammar or ends in a `Refusal`:

    preamble: blank lines, or the one sentence that clients write there
    part 1:   a few headers of known content, then ``Version: 1``
    part 2:   a few headers of known content, then one armored message (RFC 9580 section 6)
    closing delimiter, blank lines

Lines end with CRLF. Armor lines are all of one width, a multiple of four and at most 76, only
the last may be shorter or padded: so each line can be decoded by itself, a run of them can be
checked in one step at C speed, and a line slipped in between is noticed by its length.
"""

import re
from binascii import a2b_base64
from collections.abc import Generator

from chatmaild.wire import parthead
from chatmaild.wire.openpgp import PacketReader
from chatmaild.wire.refusal import Refusal

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

_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_CLASS = bytes(b"A"[0] if octet in _ALPHABET else octet if octet in b"\r\n" else 0
               for octet in range(256))
_RUN = 1024
_RUNS: dict[int, bytes] = {}
_STEP = 64


class BodyReader:
    """Feed it the body in any pieces; a `Refusal` ends it, with the offset within the body.

    `tolerant` admits what other programs write (incoming mail): armor headers, more part headers.
    Memory: one line, and what the packet reader keeps.
    """

    def __init__(self, boundary: bytes, tolerant: bool, packets: PacketReader):
        self._packets = packets
        self._tolerant = tolerant
        self._rest = b""
        self._line_at = 0       # offset in the body of the line that is read next
        self._width = 0         # of armor lines while more of them may come, else 0
        self._data_at = 0       # offset in the body of the first armor line
        self._data_width = 0
        self._complete = False
        self._lines = self._grammar(boundary)
        next(self._lines)

    def feed(self, chunk: bytes) -> None:
        data = self._rest + chunk if self._rest else chunk
        start = self._line_at
        at = 0
        try_bulk = True
        send = self._lines.send
        while True:
            if self._width and try_bulk:
                done = self._run_of_lines(data, at)
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
                send(data[at:end - 1])
            except Refusal as refusal:
                if refusal.offset is None:
                    refusal.offset = self._line_at
                raise
            at = end + 1
            self._line_at = start + at
        if len(data) - at > MAX_LINE + 1:
            raise Refusal("line-too-long", self._line_at)
        self._rest = data[at:]

    def finish(self) -> None:
        """The body is over."""
        if self._rest:
            raise Refusal("last-line-without-end", self._line_at)
        if not self._complete:
            raise Refusal("closing-delimiter-missing", self._line_at)

    def _grammar(self, boundary: bytes) -> Generator[None, bytes, None]:
        delimiter = b"--" + boundary
        sentence = False
        while (line := (yield)) != delimiter:
            if line and (sentence or not _PREAMBLE.fullmatch(line)):
                raise Refusal("text-before-first-part")
            sentence = sentence or bool(line)

        yield from self._part_head("application/pgp-encrypted")
        versions = 0
        while (line := (yield)) != delimiter:
            versions += line == b"Version: 1"
            if line and (line != b"Version: 1" or versions > 1):
                raise Refusal("text-in-version-part")
        if not versions:
            raise Refusal("version-part-empty")

        yield from self._part_head("application/octet-stream")
        while not (line := (yield)):
            pass
        if line != _BEGIN:
            raise Refusal("text-before-armor")
        yield from self._armor()
        while not (line := (yield)):
            pass
        if line != delimiter + b"--":
            raise Refusal("text-after-armor")

        self._complete = True
        while not (line := (yield)):
            pass
        raise Refusal("text-after-last-part")

    def _part_head(self, media_type: str) -> Generator[None, bytes, None]:
        lines: list[bytes] = []
        octets = 0
        while line := (yield):
            octets += len(line)
            if octets > parthead.MAX_OCTETS:
                raise Refusal("part-head-too-long")
            lines.append(line)
        parthead.check(media_type, self._tolerant, tuple(lines))

    def _armor(self) -> Generator[None, bytes, None]:
        headers = 0
        while line := (yield):
            headers += 1
            if (not self._tolerant or headers > _MAX_ARMOR_HEADERS
                    or not _ARMOR_HEADER.fullmatch(line)):
                raise Refusal("armor-header")
        line = yield
        self._data_at = self._line_at
        self._width = self._data_width = len(line) if _LAST_LINE.fullmatch(line) else 0
        if self._width > MAX_WIDTH:
            raise Refusal("armor-line-length")
        while not line.startswith((b"=", b"-")):
            if not _LAST_LINE.fullmatch(line):
                raise Refusal("text-in-armor")
            if not line or len(line) > self._width or len(line) % 4:
                raise Refusal("armor-line-length")
            self._octets(a2b_base64(line))
            if len(line) < self._width or line.endswith(b"="):
                self._width = 0     # that was the last line
            line = yield
        self._width = 0
        if line.startswith(b"="):
            if not _CHECKSUM.fullmatch(line):
                raise Refusal("armor-checksum")
            line = yield
        if line != _END:
            raise Refusal("text-in-armor")
        try:
            self._packets.finish()
        except Refusal as refusal:
            raise Refusal(refusal.reason, self._place(refusal.offset)) from None

    def _run_of_lines(self, data: bytes, at: int) -> int:
        """Take as many full lines of armor from `at` as there are; answers where they end, or
        -1 if some line among them is wrong and all must be read one by one."""
        stride = self._width + 2
        stop = len(data)
        for end in b"=-":
            found = data.find(end, at, stop)
            stop = found if found >= 0 else stop
        pattern = _RUNS.get(stride)
        if pattern is None:
            pattern = _RUNS[stride] = (b"A" * self._width + b"\r\n") * _RUN
        octets = self._width // 4 * 3
        packets = self._packets
        while lines := min((stop - at) // stride, _RUN):
            run = data[at:at + lines * stride]
            if not pattern.startswith(run.translate(_CLASS)):
                return -1
            done = 0
            while done < lines:
                quiet = packets.skippable()
                skip = min(lines - done, quiet // octets)
                if skip:
                    packets.skip(skip * octets)
                    done += skip
                else:
                    step = 1 if quiet else _STEP    # a piece of the packet ends in this line
                    some = run[done * stride:(done + step) * stride]
                    self._octets(a2b_base64(some))
                    done += step
            at += lines * stride
        return at

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
