"""Decodes parts in base64 or quoted-printable (RFC 2045 sections 6.7 and 6.8) line by line.

It is strict: whatever a lenient reader would skip or repair raises `Refusal`.

    lines of the part -> EncodedPart -> Base64 | QuotedPrintable -> line ends -> Content

The same grammar reads decoded parts and plain ones.
"""

import re
from binascii import Error as Base64Error, a2b_base64
from typing import Protocol

from chatmaild.message.refusal import Refusal

MAX_WIDTH = 76
"""Characters in a line of base64."""

_HEXADECIMAL = re.compile(rb"[0-9A-Fa-f]{2}")


class OctetSink(Protocol):
    """Reads the decoded octets, whose lines end with CRLF. Raises `Refusal`."""

    def feed(self, chunk: bytes) -> object:
        """The next octets, cut anywhere."""

    def finish(self) -> None:
        """There are no more octets."""


class Base64:
    """Lines of one width, as all programs write them, and a multiple of four characters; only the
    last may be shorter or padded. Blank lines may come before or after them."""

    def __init__(self) -> None:
        self._width = MAX_WIDTH
        self._begun = False
        self._over = False

    def line(self, line: bytes) -> bytes:
        """The octets of a line, which comes without its CRLF. Raises `Refusal`."""
        if not line:
            self._over = self._begun
            return b""
        if self._over or len(line) > self._width:
            raise Refusal("base64")
        try:
            octets = a2b_base64(line, strict_mode=True)
        except Base64Error:
            raise Refusal("base64") from None
        self._over = self._begun and len(line) < self._width or line.endswith(b"=")
        self._begun = True
        self._width = len(line)
        return octets


class QuotedPrintable:
    """Each ``=`` begins an octet or ends the line; no blanks at the end of a line."""

    def line(self, line: bytes) -> bytes:
        """The octets of a line, which comes without its CRLF. Raises `Refusal`."""
        if line.endswith((b" ", b"\t")):
            raise Refusal("quoted-printable")
        if b"=" not in line:
            return line + b"\r\n"
        end = b"\r\n"
        if line.endswith(b"="):
            line, end = line[:-1], b""
        first, *rest = line.split(b"=")
        if not all(_HEXADECIMAL.match(piece) for piece in rest):
            raise Refusal("quoted-printable")
        return first + b"".join(bytes.fromhex(piece[:2].decode("ascii")) + piece[2:]
                                for piece in rest) + end


class EncodedPart:
    """Decodes the lines of one part for its `content`. Raises `Refusal`.

    Decoded octets wait until `flush`, so that `content` gets them in large pieces. A fault in them
    is reported at `begin`, the offset of the part, since their places are not those of the message.
    """

    def __init__(self, encoding: str, content: OctetSink, begin: int):
        self._decoder: Base64 | QuotedPrintable = (
            Base64() if encoding == "base64" else QuotedPrintable())
        self._content = content
        self._begin = begin
        self._waiting: list[bytes] = []
        self._cr = b""      # a CR at the end that an LF may follow

    def line(self, line: bytes) -> None:
        """The next line of the part, without its CRLF."""
        self._waiting.append(self._decoder.line(line))

    def flush(self) -> None:
        """Hand the decoded octets to `content`. A bare LF, which base64 text may have, becomes
        CRLF."""
        if not self._waiting:
            return
        octets = self._cr + b"".join(self._waiting)
        self._waiting.clear()
        self._cr = b"\r" if octets.endswith(b"\r") else b""
        octets = octets[:len(octets) - len(self._cr)]
        self._give(octets.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"))

    def finish(self) -> None:
        """The part is over."""
        self.flush()
        self._give(self._cr + b"\r\n")      # the last line may lack it
        try:
            self._content.finish()
        except Refusal as refusal:
            raise Refusal(refusal.reason, self._begin) from None

    def _give(self, octets: bytes) -> None:
        try:
            self._content.feed(octets)
        except Refusal as refusal:
            raise Refusal(refusal.reason, self._begin) from None
