"""Signed messages and their keys, made in the test by dkimpy; split as a milter would see them."""

import base64
import hashlib
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import dkim.crypto
from nacl.encoding import Base64Encoder
from nacl.signing import SigningKey

DATA = Path(__file__).parent / "data" / "dkim"

MESSAGE = (
    b"Received: from elsewhere\r\n\tby here; Sat, 1 Jan 2000 00:00:00 +0000\r\n"
    b"From:  <alice@sender.example>\r\n"
    b"To: bob@chat.example\r\n"
    b"Subject:  folded\r\n   and   spaced \r\n"
    b"Date: Sat, 1 Jan 2000 00:00:00 +0000\r\n"
    b"\r\n"
    b"Two  blanks,\tone tab \r\n and a dot\r\n\r\n\r\n"
)


@dataclass(frozen=True)
class Signer:
    """A private key and what its owner publishes."""

    algorithm: bytes
    private: bytes
    record: bytes


@cache
def rsa(bits: int = 2048) -> Signer:
    private = subprocess.run(["openssl", "genrsa", "-traditional", str(bits)],
                             check=True, capture_output=True).stdout
    public = subprocess.run(["openssl", "rsa", "-pubout", "-outform", "DER"], input=private,
                            check=True, capture_output=True).stdout
    record = b"v=DKIM1; k=rsa; p=" + base64.b64encode(public)
    return Signer(b"rsa-sha256", private, record)


@cache
def ed25519() -> Signer:
    key = SigningKey(bytes(range(32)))
    return Signer(b"ed25519-sha256", key.encode(Base64Encoder),
                  b"v=DKIM1; k=ed25519; p=" + key.verify_key.encode(Base64Encoder))


def sign(message: bytes, signer: Signer, domain: bytes = b"sender.example",
         selector: bytes = b"s1", canonical: bytes = b"relaxed/relaxed", **options) -> bytes:
    """`message` with a signature on top."""
    job = dkim.DKIM(message, signature_algorithm=signer.algorithm)
    options.setdefault("include_headers", [b"from", b"to", b"subject", b"date", b"from"])
    field = job.sign(selector, domain, signer.private, canonicalize=canonical.split(b"/"),
                     **options)
    return re.sub(rb"\r?\n", b"\r\n", field) + message


EMPTY_B = re.compile(rb"(;\s*b\s*=)[^;]*")


def sign_by_hand(signer: Signer, text: bytes, hashed: Sequence[bytes], body: bytes) -> bytes:
    """A DKIM-Signature field with just that text, over the lines `hashed` as they stand (header
    simple) and a body that is canonical already. ``BH`` in it becomes the body's hash, and what
    follows ``b=`` the signature, with that text in its middle."""
    line = b"DKIM-Signature:" + text.replace(
        b"BH", base64.b64encode(hashlib.sha256(body).digest()))
    digest = hashlib.sha256(b"\r\n".join([*hashed, EMPTY_B.sub(rb"\1", line).rstrip()]))
    if signer.algorithm == b"rsa-sha256":
        key = dkim.crypto.parse_pem_private_key(signer.private)
        value = dkim.crypto.RSASSA_PKCS1_v1_5_sign(digest, key)
    else:
        key = SigningKey(signer.private, encoder=Base64Encoder)
        value = key.sign(digest.digest()).signature
    encoded = base64.b64encode(value)
    return EMPTY_B.sub(lambda tag: tag[1] + encoded[:30] + tag[0][len(tag[1]):] + encoded[30:],
                       line)


def split(message: bytes) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """The header fields, values with everything behind the colon, and the body."""
    head, _, body = message.partition(b"\r\n\r\n")
    lines = re.split(rb"\r\n(?![ \t])", head)
    return [tuple(line.split(b":", 1)) for line in lines], body
