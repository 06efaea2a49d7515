"""Real OpenPGP messages, made by the programs that are installed, and MIME around them."""

import functools
import os
import subprocess

BOUNDARY = "b9dcf36d7ca4e5b6"
PART_1 = (b"Content-Type: application/pgp-encrypted\r\n"
          b"Content-Description: PGP/MIME version identification\r\n"
          b"\r\n"
          b"Version: 1\r\n"
          b"\r\n")
PART_2_HEAD = (b'Content-Type: application/octet-stream; name="encrypted.asc"\r\n'
               b"Content-Description: OpenPGP encrypted message\r\n"
               b'Content-Disposition: inline; filename="encrypted.asc";\r\n'
               b"\r\n")


def crlf(text: bytes) -> bytes:
    return text.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


@functools.cache
def gpg_symmetric(size: int = 2000, *options: str) -> bytes:
    """An armored message of incompressible content, encrypted to a passphrase, LF line ends."""
    return subprocess.run(
        ["gpg", "--batch", "--quiet", "--no-options", "--pinentry-mode", "loopback",
         "--passphrase", "x", "--s2k-count", "1024", "-z0", *options, "--armor", "--symmetric"],
        input=os.urandom(size), stdout=subprocess.PIPE, check=True,
    ).stdout


def mime_body(armored: bytes, boundary: str = BOUNDARY) -> bytes:
    delimiter = b"--" + boundary.encode()
    return b"".join((
        delimiter, b"\r\n", PART_1, delimiter, b"\r\n", PART_2_HEAD, crlf(armored), b"\r\n",
        delimiter, b"--\r\n",
    ))


def headers(sender: str = "alice@chat.test", boundary: str = BOUNDARY) -> list[tuple[str, bytes]]:
    return [
        ("From", f"<{sender}>".encode()),
        ("To", b'"hidden-recipients": ;'),
        ("Subject", b"[...]"),
        ("Date", b"Sun, 22 Nov 2026 16:00:00 +0000"),
        ("Message-ID", b"<bc5b3e3a-96a0-43f9-a8a4-2b2d2d1c4c9e@localhost>"),
        ("Chat-Version", b"1.0"),
        ("MIME-Version", b"1.0"),
        ("Content-Type", b'multipart/encrypted; protocol="application/pgp-encrypted";\n'
                         b' boundary="' + boundary.encode() + b'"'),
    ]
