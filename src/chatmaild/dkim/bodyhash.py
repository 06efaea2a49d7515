"""The body hash of a DKIM signature, computed while the body streams by.

Source: RFC 6376 sections 3.4.3 (simple) and 3.4.4 (relaxed). The hash does not depend on how the
body was cut into chunks, nor the memory on its length.
"""

import hashlib

_BLANK_LINES = b"\r\n" * 4096


class BodyHash:
    """SHA-256 over the canonical form of a body.

    Lines end with CRLF. Empty lines are counted, and hashed only when something follows them,
    because those at the end do not belong to the canonical body.
    """

    def __init__(self, relaxed: bool):
        self._relaxed = relaxed
        self._hash = hashlib.sha256()
        self._empty = True
        self._line_ends = 0
        self._held = b""

    def update(self, chunk: bytes) -> None:
        """The next octets of the body."""
        data = self._held + chunk
        if self._relaxed:
            data, self._held = self._compress(data)
        else:
            self._held = b"\r" if data.endswith(b"\r") else b""
            data = data[:len(data) - len(self._held)]
        text = data.rstrip(b"\r\n")
        ends = data[len(text):]
        # Of the line ends behind the text, CRLF pairs that reach the end of `data` may turn out
        # to be trailing; a stray CR or LF among them is text like any other.
        if ends.endswith(b"\r"):
            stray = len(ends)
        else:
            stray = max(ends.rfind(b"\r\r"), ends.rfind(b"\n\n")) + 1
            stray += ends[stray:stray + 1] == b"\n"
        if text or stray:
            self._write(data[:len(text) + stray])
        self._line_ends += (len(ends) - stray) // 2

    def digest(self) -> bytes:
        """The hash of the whole body, 32 octets. Call this once, at its end."""
        if self._held:
            self._write(self._held)
            self._held = b""
        if not self._empty or not self._relaxed:
            self._hash.update(b"\r\n")
        return self._hash.digest()

    def _write(self, data: bytes) -> None:
        while self._line_ends:
            count = min(self._line_ends, len(_BLANK_LINES) // 2)
            self._hash.update(_BLANK_LINES[:2 * count])
            self._line_ends -= count
        self._hash.update(data)
        self._empty = False

    @staticmethod
    def _compress(data: bytes) -> tuple[bytes, bytes]:
        """`data` with white space reduced, and its end, which depends on the next octet.

        Works on whole buffers: a run of n blanks takes log2(n) replacements.
        """
        if b"\t" in data:
            data = data.replace(b"\t", b" ")
        while b"  " in data:
            data = data.replace(b"  ", b" ")
        end = len(data) - data.endswith(b"\r")
        end -= data.endswith(b" ", 0, end)
        return data[:end].replace(b" \r\n", b"\r\n"), data[end:]
