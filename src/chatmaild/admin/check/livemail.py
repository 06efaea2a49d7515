"""The two messages that `check --live` sends from an address to itself.

The encrypted one has the form of RFC 3156 and RFC 9580, with random octets as its ciphertext.
Nobody can read it, not even its sender: there is nothing to read.
"""

import base64
import email.utils
import secrets

_BOUNDARY = "chatmaild-check"

_HEADER = (
    "From: <{address}>\r\nTo: <{address}>\r\nSubject: [...]\r\nDate: {date}\r\n"
    "Message-ID: <{token}@{domain}>\r\nMIME-Version: 1.0\r\n"
)


def cleartext(address: str) -> bytes:
    """Return a message that the filter must refuse."""
    return (_header(address, secrets.token_hex(8))
            + "Content-Type: text/plain; charset=utf-8\r\n\r\n"
            "This message is a test of chatmaild check. It must never arrive.\r\n").encode()


def encrypted(address: str, token: str) -> bytes:
    """Return a message that must be delivered, with `token` in its Message-ID."""
    armored = base64.encodebytes(_packets()).decode().replace("\n", "\r\n")
    return (_header(address, token)
            + 'Content-Type: multipart/encrypted; protocol="application/pgp-encrypted";\r\n'
            f' boundary="{_BOUNDARY}"\r\n\r\n'
            f"--{_BOUNDARY}\r\nContent-Type: application/pgp-encrypted\r\n\r\nVersion: 1\r\n\r\n"
            f"--{_BOUNDARY}\r\n"
            'Content-Type: application/octet-stream; name="encrypted.asc"\r\n'
            'Content-Disposition: inline; filename="encrypted.asc"\r\n\r\n'
            f"-----BEGIN PGP MESSAGE-----\r\n\r\n{armored}-----END PGP MESSAGE-----\r\n\r\n"
            f"--{_BOUNDARY}--\r\n").encode()


def _header(address: str, token: str) -> str:
    return _HEADER.format(address=address, token=token, date=email.utils.formatdate(),
                          domain=address.rpartition("@")[2])


def _packets() -> bytes:
    """Return a session-key packet and encrypted data (RFC 9580 sections 5.3.1 and 5.13.1).

    The former is of version 4, AES-256, S2K iterated and salted with SHA-256; the latter of
    version 1.
    """
    session_key = bytes([4, 9, 3, 8]) + secrets.token_bytes(8) + bytes([255])
    data = bytes([1]) + secrets.token_bytes(180)
    return (bytes([0xC0 | 3, len(session_key)]) + session_key
            + bytes([0xC0 | 18, len(data)]) + data)
