"""Collects the small bodies of messages that may pass without PGP/MIME, to check them as a whole.
"""

from binascii import Error as Base64Error, a2b_base64, a2b_qp

from chatmaild.message.refusal import Refusal

ENCODINGS = ("", "7bit", "8bit", "quoted-printable", "base64")
"""Values of Content-Transfer-Encoding that `decode` knows; "" stands for no such header."""


class WholeBody:
    """Collects a body of at most `limit` octets."""

    def __init__(self, limit: int, too_long: str):
        """`too_long` is the reason code for a longer body."""
        self._limit = limit
        self._too_long = too_long
        self._body = bytearray()

    def feed(self, chunk: bytes) -> None:
        """The next octets. Raises `Refusal` if the body is too long."""
        if len(self._body) + len(chunk) > self._limit:
            raise Refusal(self._too_long, self._limit)
        self._body += chunk

    def lines(self) -> list[bytes]:
        """The lines without their CRLF. Raises `Refusal` for a bare CR or LF, and for NUL."""
        lines = bytes(self._body).split(b"\r\n")
        if any(b"\r" in line or b"\n" in line or b"\0" in line for line in lines):
            raise Refusal("line-without-cr", 0)
        return lines


def decode(encoding: str, lines: list[bytes], wrong: str) -> bytes:
    """Decode lines that are in one of `ENCODINGS`. Raises `Refusal` with the reason `wrong`."""
    body = b"\r\n".join(lines)
    if encoding == "quoted-printable":
        return a2b_qp(body)
    if encoding == "base64":
        try:
            return a2b_base64(b"".join(lines), strict_mode=True)
        except Base64Error:
            raise Refusal(wrong, 0) from None
    return body
