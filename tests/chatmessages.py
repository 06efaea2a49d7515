"""Messages as chat programs send them: encrypted with PGPy to a fresh key, and the same in clear.
"""

import datetime
import functools
import uuid
import warnings
from email.utils import format_datetime

from openpgpmessages import BOUNDARY, mime_body

with warnings.catch_warnings():
    warnings.simplefilter("ignore")     # PGPy names ciphers that cryptography wants to retire
    import pgpy
    from pgpy.constants import (
        CompressionAlgorithm, EllipticCurveOID, HashAlgorithm, KeyFlags, PubKeyAlgorithm,
        SymmetricKeyAlgorithm,
    )

HEADERS = """\
From: <{sender}>\r
To: <{to}>\r
Subject: [...]\r
Date: {date}\r
Message-ID: <{id}@localhost>\r
Chat-Version: 1.0\r
MIME-Version: 1.0\r
"""


@functools.cache
def key(address: str) -> pgpy.PGPKey:
    """A fresh key pair of `address`: Ed25519 to sign, Curve25519 to encrypt."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        primary = pgpy.PGPKey.new(PubKeyAlgorithm.EdDSA, EllipticCurveOID.Ed25519)
        primary.add_uid(
            pgpy.PGPUID.new("", email=address), usage={KeyFlags.Sign, KeyFlags.Certify},
            hashes=[HashAlgorithm.SHA256], ciphers=[SymmetricKeyAlgorithm.AES256],
            compression=[CompressionAlgorithm.Uncompressed])
        subkey = pgpy.PGPKey.new(PubKeyAlgorithm.ECDH, EllipticCurveOID.Curve25519)
        primary.add_subkey(subkey, usage={KeyFlags.EncryptCommunications})
        return primary


def encrypted(sender: str, to: str, words: str | bytes) -> bytes:
    """`words` from `sender` to `to`, encrypted to the key of `to`, as a whole message."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        armored = str(key(to).pubkey.encrypt(pgpy.PGPMessage.new(words)))
    kind = ('Content-Type: multipart/encrypted; protocol="application/pgp-encrypted";\r\n'
            f' boundary="{BOUNDARY}"\r\n\r\n')
    return (headers(sender, to) + kind).encode() + mime_body(armored.encode())


def cleartext(sender: str, to: str, words: str) -> bytes:
    """`words` from `sender` to `to` as an ordinary text message."""
    return (headers(sender, to) + "Content-Type: text/plain; charset=utf-8\r\n\r\n"
            + words + "\r\n").encode()


def decrypted(message: bytes, to: str) -> str:
    """The words of a message that `encrypted` made for `to`, after its journey."""
    begin, end = b"-----BEGIN PGP MESSAGE-----", b"-----END PGP MESSAGE-----"
    armored = message[message.index(begin):message.index(end) + len(end)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        text = key(to).decrypt(pgpy.PGPMessage.from_blob(armored)).message
    return text if isinstance(text, str) else text.decode()


def headers(sender: str, to: str) -> str:
    now = format_datetime(datetime.datetime.now(datetime.timezone.utc))
    return HEADERS.format(sender=sender, to=to, date=now, id=uuid.uuid4())
