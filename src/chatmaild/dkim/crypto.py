"""Canonical headers and public-key signatures of DKIM: the only importer of dkimpy and PyNaCl.

dkimpy's public interface wants a whole message in memory and looks up keys itself. This module uses
the layer below: how it reads RSA keys and encodes RSA signatures. The tests pin that layer, so they
notice a release that changes it. PyNaCl is loaded with the first Ed25519 key, because it takes 3 MB
and few domains have such a key.
"""

import functools
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from chatmaild.dkim import modexp
from chatmaild.dkim.keyrecord import KeyRecord
from chatmaild.dkim.taglist import DkimSyntaxError
from chatmaild.slimimport import absent

# dkimpy must never ask the DNS by itself. Without the others it loads in a third of the memory.
with absent("dkim.dnsplug", "aiodns", "authres", "nacl"):
    from dkim import crypto  # type: ignore[import]    # comes without types

MAX_RSA_BITS = 8192
"""Longer keys cost too much time, and nobody publishes them."""

MAX_RSA_EXPONENT = 1 << 32


_RUN_OF_BLANKS = re.compile(rb"  +")


@dataclass(frozen=True)
class PublicKey:
    """A key that was found usable."""

    key_type: str
    """``rsa`` or ``ed25519``."""
    bits: int
    octets: bytes
    """The modulus of an RSA key, big-endian, or the Ed25519 key itself."""
    exponent: bytes = b""
    """The public exponent of an RSA key, big-endian."""


def canonical_headers(relaxed: bool, fields: Sequence[tuple[bytes, bytes]]) -> bytes:
    """Header fields as they are hashed, each ending in CRLF (RFC 6376 sections 3.4.1 and 3.4.2).

    A value is everything after the colon without the final line end, folds as CRLF. Only SP and
    HTAB are white space (dkimpy's function also strips VT, FF and CR from the ends of a value).
    """
    if not relaxed:
        return b"".join([b"%b:%b\r\n" % field for field in fields])
    return b"".join([b"%b:%b\r\n" % (name.lower().rstrip(b" \t"), _relaxed_value(value))
                     for name, value in fields])


def _relaxed_value(value: bytes) -> bytes:
    value = value.replace(b"\r\n", b"").replace(b"\t", b" ")
    return (_RUN_OF_BLANKS.sub(b" ", value) if b"  " in value else value).strip(b" ")


@functools.lru_cache(maxsize=256)
def public_key(record: KeyRecord, min_rsa_bits: int) -> PublicKey:
    """The key in a record. Raises `DkimSyntaxError` if it is broken, too short or too long."""
    if record.key_type == "ed25519":
        if len(record.data) != 32:
            raise DkimSyntaxError("an Ed25519 key must have 32 octets")
        return PublicKey("ed25519", 256, record.data)
    try:
        material = crypto.parse_public_key(record.data)
    except (crypto.UnparsableKeyError, AssertionError, IndexError):
        raise DkimSyntaxError("the key record's p= is not an RSA key") from None
    bits = material["modulus"].bit_length()
    if bits < min_rsa_bits:
        raise DkimSyntaxError(f"an RSA key of {bits} bits, less than {min_rsa_bits}")
    modulus, exponent = material["modulus"], material["publicExponent"]
    if (bits > MAX_RSA_BITS or not 3 <= exponent < MAX_RSA_EXPONENT
            or not modulus & exponent & 1):
        raise DkimSyntaxError("the RSA key has an unusual length or exponent")
    return PublicKey("rsa", bits, modulus.to_bytes((bits + 7) // 8, "big"),
                     exponent.to_bytes(4, "big"))


def verify(key: PublicKey, header_hash: "hashlib._Hash", signature: bytes) -> bool:
    """Whether `signature` of `header_hash` was made with the private half of `key`."""
    if key.key_type == "ed25519":
        return _verify_ed25519(key.octets, header_hash.digest(), signature)
    # RFC 8017 section 8.2.2. dkimpy's own function goes from octets to numbers and back octet by
    # octet, which takes longer than the arithmetic.
    if len(signature) != len(key.octets) or signature >= key.octets:
        return False
    opened = modexp.power(signature, key.exponent, key.octets)
    return opened == _padding(len(signature)) + header_hash.digest()


@functools.cache
def _padding(size: int) -> bytes:
    """The octets before the SHA-256 hash in a decrypted RSA signature of `size` octets."""
    empty = hashlib.sha256()
    encoded: bytes = crypto.EMSA_PKCS1_v1_5_encode(empty, size)
    return encoded.removesuffix(empty.digest())


def _verify_ed25519(key: bytes, text: bytes, signature: bytes) -> bool:
    from nacl import exceptions, signing
    if len(signature) != 64:
        return False
    try:
        signing.VerifyKey(key).verify(text, signature)
    except exceptions.BadSignatureError:
        return False
    return True
