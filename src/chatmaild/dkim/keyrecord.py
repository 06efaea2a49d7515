"""DKIM key records: the text of a TXT record -> a key, and what it may be used for.

Source: RFC 6376 section 3.6.1, RFC 8463 section 4.
"""

from dataclasses import dataclass

from chatmaild.dkim.taglist import DkimSyntaxError, TagList

MAX_RECORD = 4096
"""Octets in a key record: room for RSA keys of 16,384 bits."""


@dataclass(frozen=True)
class KeyRecord:
    """One usable key record."""

    key_type: str
    """``rsa`` or ``ed25519``."""
    data: bytes
    """The decoded `p=`."""
    testing: bool
    """Flag `t=y`: the domain is testing DKIM. A valid signature is valid all the same."""
    exact_identity: bool
    """Flag `t=s`: the domain of `i=` must be `d=` itself."""


def parse_key_record(record: bytes) -> KeyRecord:
    """Parse the text of a TXT record. Raises `DkimSyntaxError`, also for a revoked key."""
    if len(record) > MAX_RECORD:
        raise DkimSyntaxError(f"a key record of more than {MAX_RECORD} octets")
    tags = TagList(record)
    if tags.get("v", b"DKIM1") != b"DKIM1":
        raise DkimSyntaxError("the key record's v= is not DKIM1")
    if "p" not in tags:
        raise DkimSyntaxError("the key record has no p=")
    if not tags.get("p"):
        raise DkimSyntaxError("the key is revoked")
    key_type = tags.get("k", b"rsa")
    if key_type not in (b"rsa", b"ed25519"):
        raise DkimSyntaxError("the key record's k= is neither rsa nor ed25519")
    if b"sha256" not in tags.items("h", b"sha256"):
        raise DkimSyntaxError("the key record's h= does not allow sha256")
    if not {b"*", b"email"} & set(tags.items("s", b"*")):
        raise DkimSyntaxError("the key record's s= does not allow email")
    flags = tags.items("t")
    data = tags.base64("p", strict=False)
    return KeyRecord(key_type=key_type.decode("ascii"), data=data,
                     testing=b"y" in flags, exact_identity=b"s" in flags)
