"""DKIM-Signature fields and DKIM key records: octets -> values.

Source: RFC 6376 sections 3.2 (tag lists), 3.5 (signatures) and 3.6.1 (key records), RFC 8301 (no
SHA-1) and RFC 8463 (Ed25519). Stricter than these in one point: `l=`, which leaves the end of a
body unsigned, is refused.
"""

import base64
import binascii
import re
from dataclasses import dataclass

from chatmaild import address

MAX_FIELD = 8192
"""Octets in a DKIM-Signature field; real ones have less than 2,000."""

MAX_RECORD = 4096
"""Octets in a key record: room for RSA keys of 16,384 bits."""

ALGORITHMS = {b"rsa-sha256": "rsa", b"ed25519-sha256": "ed25519"}
"""The signature algorithms that are verified, with the type of their key."""

_TAG_NAME = re.compile(rb"[A-Za-z][A-Za-z0-9_]*\Z")
_WHITE_SPACE = b" \t\r\n"
_FIELD_NAME = re.compile(rb"[!-9;-~]+\Z")
_QUOTABLE = re.compile(rb"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.@-]*\Z")
_HEX_OCTET = re.compile(rb"=([0-9A-Fa-f]{2})")
_CANONICALIZATION = {b"simple": False, b"relaxed": True}


class DkimSyntaxError(ValueError):
    """A signature or a key record that cannot be used; the text says why, without addresses."""


@dataclass(frozen=True)
class Signature:
    """One DKIM-Signature field."""

    domain: str
    """`d=`, lower case."""
    selector: str
    key_type: str
    """``rsa`` or ``ed25519``."""
    relaxed_headers: bool
    relaxed_body: bool
    signed_fields: tuple[bytes, ...]
    """`h=`, lower case, in the order given; a field may stand there more often than it exists."""
    body_hash: bytes
    value: bytes
    """The decoded `b=`."""
    identity_domain: str
    """The domain of `i=`, which is `d=` or below it."""
    timestamp: int | None
    """`t=`, seconds since 1970; None if it does not say when it was made."""
    expiration: int | None
    """`x=`, seconds since 1970; None if it never expires."""
    unsigned: bytes
    """The field's value with an empty `b=`, as it was signed."""

    @property
    def key_name(self) -> str:
        """The domain name that holds the public key."""
        return f"{self.selector}._domainkey.{self.domain}"


@dataclass(frozen=True)
class KeyRecord:
    """One usable key record."""

    key_type: str
    data: bytes
    """The decoded `p=`."""
    testing: bool
    """Flag `t=y`: the domain tries DKIM out. It makes a valid signature no less valid."""
    exact_identity: bool
    """Flag `t=s`: the domain of `i=` must be `d=` itself."""


def claimed_domain(field: bytes) -> str | None:
    """The `d=` of a field, lower case, however broken the rest is; None without a usable one."""
    for spec in field[:MAX_FIELD].split(b";"):
        name, _, value = spec.partition(b"=")
        if name.strip(_WHITE_SPACE) == b"d":
            value = value.strip(_WHITE_SPACE)
            return value.decode("ascii").lower() if address.is_domain(value) else None
    return None


def is_quotable(field: bytes) -> bool:
    """Whether `d=`, `s=`, `i=`, `a=` and `b=` hold nothing that ends a value or a result where a
    verifier quotes them in Authentication-Results.

    OpenDKIM writes `i=` there decoded, so that ``=3B`` begins another result, of anything.
    """
    for spec in field.split(b";"):
        name, _, value = spec.partition(b"=")
        if name.strip().lower() in (b"d", b"s", b"i", b"a", b"b"):
            decoded = _HEX_OCTET.sub(lambda octet: bytes.fromhex(octet[1].decode()),
                                     re.sub(rb"[ \t\r\n]+", b"", value))
            if not _QUOTABLE.match(decoded):
                return False
    return True


def parse_signature(field: bytes) -> Signature:
    """The signature in the value of a DKIM-Signature field. Raises `DkimSyntaxError`."""
    if len(field) > MAX_FIELD:
        raise DkimSyntaxError(f"a signature of more than {MAX_FIELD} octets")
    tags = _tags(field)
    for name in (b"v", b"a", b"b", b"bh", b"d", b"h", b"s"):
        if not tags.get(name):
            raise DkimSyntaxError(f"{name.decode()}= is missing or empty")
    if tags[b"v"] != b"1":
        raise DkimSyntaxError("v= is not 1")
    if tags[b"a"] not in ALGORITHMS:
        raise DkimSyntaxError("a= is neither rsa-sha256 nor ed25519-sha256")
    if b"l" in tags:
        raise DkimSyntaxError("l= leaves the end of the body unsigned")
    if b"dns/txt" not in _list(tags.get(b"q", b"dns/txt")):
        raise DkimSyntaxError("q= does not name dns/txt")
    headers, _, body = tags.get(b"c", b"simple/simple").partition(b"/")
    if headers not in _CANONICALIZATION or (body or b"simple") not in _CANONICALIZATION:
        raise DkimSyntaxError("c= names no canonicalization of RFC 6376")
    domain, selector = tags[b"d"], tags[b"s"]
    if not address.is_domain(domain) or not address.is_domain(selector + b"._domainkey." + domain):
        raise DkimSyntaxError("d= and s= make no domain name")
    identity = tags.get(b"i", b"@" + domain).rpartition(b"@")[2].lower()
    if not (b"." + identity).endswith(b"." + domain.lower()) or b"@" not in tags.get(b"i", b"@"):
        raise DkimSyntaxError("i= is not in the domain of d=")
    fields = tuple(name.lower() for name in _list(tags[b"h"]))
    if not all(_FIELD_NAME.match(name) for name in fields):
        raise DkimSyntaxError("h= is no list of field names")
    if b"from" not in fields:
        raise DkimSyntaxError("h= does not name From")
    signed, expires = _time(tags, b"t"), _time(tags, b"x")
    if signed is not None and expires is not None and expires <= signed:
        raise DkimSyntaxError("x= is not later than t=")
    body_hash = _base64(tags, b"bh")
    if len(body_hash) != 32:
        raise DkimSyntaxError("bh= has the wrong length")
    return Signature(
        domain=domain.decode("ascii").lower(), selector=selector.decode("ascii").lower(),
        key_type=ALGORITHMS[tags[b"a"]],
        relaxed_headers=_CANONICALIZATION[headers],
        relaxed_body=_CANONICALIZATION[body or b"simple"],
        signed_fields=fields, body_hash=body_hash, value=_base64(tags, b"b"),
        identity_domain=identity.decode("latin-1"), timestamp=signed, expiration=expires,
        unsigned=_without_b(field),
    )


def parse_key_record(record: bytes) -> KeyRecord:
    """The key in the text of a TXT record. Raises `DkimSyntaxError`."""
    if len(record) > MAX_RECORD:
        raise DkimSyntaxError(f"a key record of more than {MAX_RECORD} octets")
    tags = _tags(record)
    if tags.get(b"v", b"DKIM1") != b"DKIM1":
        raise DkimSyntaxError("the key record's v= is not DKIM1")
    if b"p" not in tags:
        raise DkimSyntaxError("the key record has no p=")
    if not tags[b"p"]:
        raise DkimSyntaxError("the key is revoked")
    key_type = tags.get(b"k", b"rsa")
    if key_type not in (b"rsa", b"ed25519"):
        raise DkimSyntaxError("the key record's k= is neither rsa nor ed25519")
    if b"sha256" not in _list(tags.get(b"h", b"sha256")):
        raise DkimSyntaxError("the key record's h= does not allow sha256")
    if not {b"*", b"email"} & set(_list(tags.get(b"s", b"*"))):
        raise DkimSyntaxError("the key record's s= does not allow email")
    flags = _list(tags.get(b"t", b""))
    return KeyRecord(
        key_type=key_type.decode("ascii"), data=_base64(tags, b"p"),
        testing=b"y" in flags, exact_identity=b"s" in flags,
    )


def _tags(text: bytes) -> dict[bytes, bytes]:
    specs = text.split(b";")
    if not specs[-1].strip(_WHITE_SPACE):
        specs.pop()
    tags = {}
    for spec in specs:
        name, equals, value = spec.partition(b"=")
        name = name.strip(_WHITE_SPACE)
        if not equals or not _TAG_NAME.match(name):
            raise DkimSyntaxError("not a list of tag=value")
        if name in tags:
            raise DkimSyntaxError(f"{name[:20].decode()}= is given twice")
        tags[name] = value.strip(_WHITE_SPACE)
    return tags


def _list(value: bytes) -> list[bytes]:
    return [item.strip(_WHITE_SPACE) for item in value.split(b":")]


def _time(tags: dict[bytes, bytes], name: bytes) -> int | None:
    value = tags.get(name)
    if value is None:
        return None
    if not re.fullmatch(rb"[0-9]{1,12}", value):
        raise DkimSyntaxError(f"{name.decode()}= is no time")
    return int(value)


def _base64(tags: dict[bytes, bytes], name: bytes) -> bytes:
    try:
        return base64.b64decode(re.sub(rb"[ \t\r\n]+", b"", tags[name]), validate=True)
    except binascii.Error:
        raise DkimSyntaxError(f"{name.decode()}= is not base64") from None


def _without_b(field: bytes) -> bytes:
    """`field` with the value of `b=` and the white space around it deleted (section 3.7)."""
    specs = field.split(b";")
    for index, spec in enumerate(specs):
        name, _, _ = spec.partition(b"=")
        if name.strip(_WHITE_SPACE) == b"b":
            specs[index] = name + b"="
    return b";".join(specs)
