"""Canonical headers and public-key signatures of DKIM: the only importer of dkimpy and PyNaCl.

dkimpy's own interface wants a whole message in memory and looks keys up itself. What is used
here is one layer below: its header canonicalisation, its reading of RSA keys and its encoding of
RSA signatures. The tests pin that layer, so that a release that changes it is noticed.
"""

import functools
import hashlib
import sys
from dataclasses import dataclass
from typing import Any

from chatmaild.wire.dkimsig import DkimSyntaxError, KeyRecord

# dkimpy must never ask the DNS by itself; without its resolver it also loads in a third of the
# memory.
sys.modules.setdefault("dkim.dnsplug", None)  # type: ignore[arg-type]

from dkim import canonicalization, crypto  # noqa: E402  (after its resolver was put aside)
from nacl import signing  # noqa: E402
from nacl.exceptions import BadSignatureError  # noqa: E402

MAX_RSA_BITS = 8192
"""Longer keys cost more time than a signature is worth; nobody publishes them."""

MAX_RSA_EXPONENT = 1 << 32


@dataclass(frozen=True)
class PublicKey:
    key_type: str
    bits: int
    material: Any


def canonical_header(relaxed: bool, name: bytes, value: bytes) -> bytes:
    """One header field as it is hashed, ending in CRLF (RFC 6376 sections 3.4.1 and 3.4.2).

    `value` is everything behind the colon without the final line end, folds as CRLF.
    """
    algorithm = canonicalization.Relaxed if relaxed else canonicalization.Simple
    name, value = algorithm.canonicalize_headers([(name, value + b"\r\n")])[0]
    return name + b":" + value


@functools.lru_cache(maxsize=256)
def public_key(record: KeyRecord, min_rsa_bits: int) -> PublicKey:
    """The key of a record. Raises `DkimSyntaxError` if it is broken, too short or too long."""
    if record.key_type == "ed25519":
        if len(record.data) != 32:
            raise DkimSyntaxError("an Ed25519 key must have 32 octets")
        return PublicKey("ed25519", 256, signing.VerifyKey(record.data))
    try:
        material = crypto.parse_public_key(record.data)
    except (crypto.UnparsableKeyError, AssertionError, IndexError):
        raise DkimSyntaxError("the key record's p= is no RSA key") from None
    bits = material["modulus"].bit_length()
    if bits < min_rsa_bits:
        raise DkimSyntaxError(f"an RSA key of {bits} bits, less than {min_rsa_bits}")
    exponent = material["publicExponent"]
    if bits > MAX_RSA_BITS or not 3 <= exponent < MAX_RSA_EXPONENT or not exponent & 1:
        raise DkimSyntaxError("the RSA key has an unusual length or exponent")
    return PublicKey("rsa", bits, material)


def verify(key: PublicKey, header_hash: "hashlib._Hash", signature: bytes) -> bool:
    """Whether `signature` over the header hash was made with the other half of `key`."""
    if key.key_type == "ed25519":
        if len(signature) != 64:
            return False
        try:
            key.material.verify(header_hash.digest(), signature)
        except BadSignatureError:
            return False
        return True
    size = (key.bits + 7) // 8
    if len(signature) != size:
        return False
    # RFC 8017 section 8.2.2. dkimpy's own function goes from octets to numbers and back octet by
    # octet, which takes longer than the arithmetic.
    modulus, exponent = key.material["modulus"], key.material["publicExponent"]
    number = int.from_bytes(signature, "big")
    if number >= modulus:
        return False
    opened = pow(number, exponent, modulus).to_bytes(size, "big")
    return opened == crypto.EMSA_PKCS1_v1_5_encode(header_hash, size)
