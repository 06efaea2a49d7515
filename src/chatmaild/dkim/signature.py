"""DKIM-Signature fields: octets -> values.

Sources: RFC 6376 section 3.5, RFC 8301 (no SHA-1) and RFC 8463 (Ed25519). Stricter in one point:
`l=`, which leaves the end of a body unsigned, is refused.
"""

import re
from dataclasses import dataclass

from chatmaild import address
from chatmaild.dkim import taglist
from chatmaild.dkim.taglist import DkimSyntaxError, TagList

MAX_FIELD = 8192
"""Octets in a DKIM-Signature field; real ones have less than 2,000."""

ALGORITHMS = {b"rsa-sha256": "rsa", b"ed25519-sha256": "ed25519"}
"""The signature algorithms that can be verified, and the type of key of each."""

ENDLESS = 10 ** 12
"""Seconds since 1970 that stand for any later time (RFC 6376 section 3.5, `x=`)."""

_DIGITS = re.compile(rb"[0-9]+\Z")
_QUOTABLE = re.compile(rb"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.@-]*\Z")
_HEX_OCTET = re.compile(rb"=([0-9A-Fa-f]{2})")
_CANONICALIZATION = {b"simple": False, b"relaxed": True}


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
    """`h=`, lower case, in the order given; may name a field more often than it exists."""
    body_hash: bytes
    value: bytes
    """The decoded `b=`."""
    identity_domain: str
    """The domain of `i=`: that of `d=`, or one below it."""
    timestamp: int | None
    """`t=`, when it was made, in seconds since 1970; None if it does not say."""
    expiration: int | None
    """`x=`, seconds since 1970; None if it never expires."""
    unsigned: bytes
    """The value of the field with an empty `b=`, which is what was signed."""

    @property
    def key_name(self) -> str:
        """The domain name that holds the public key."""
        return f"{self.selector}._domainkey.{self.domain}"


def claimed_domain(field: bytes) -> str | None:
    """The `d=` of a field, lower case, even if the rest is broken; None if it names no domain."""
    domain = taglist.first_value(field[:MAX_FIELD], b"d")
    return domain.decode("ascii").lower() if address.is_domain(domain) else None


def is_quotable(field: bytes) -> bool:
    """Whether a verifier can quote `d=`, `s=`, `i=`, `a=` and `b=` in Authentication-Results
    without a character that would end the value or the result.

    OpenDKIM decodes `i=` there, so ``=3B`` in it begins another result of the sender's choice.
    False for a field of more than `MAX_FIELD` octets, which `parse_signature` refuses as well.
    """
    if len(field) > MAX_FIELD:
        return False
    for spec in field.split(b";"):
        name, _, value = spec.partition(b"=")
        if name.strip().lower() in (b"d", b"s", b"i", b"a", b"b"):
            decoded = _HEX_OCTET.sub(lambda octet: bytes.fromhex(octet[1].decode()),
                                     taglist.without_blanks(value))
            if not _QUOTABLE.match(decoded):
                return False
    return True


def parse_signature(field: bytes) -> Signature:
    """Parse the value of a DKIM-Signature field. Raises `DkimSyntaxError`."""
    if len(field) > MAX_FIELD:
        raise DkimSyntaxError(f"a signature of more than {MAX_FIELD} octets")
    tags = TagList(field)
    _check_version_and_methods(tags)
    relaxed_headers, relaxed_body = _canonicalization(tags)
    domain, selector = _key_place(tags)
    timestamp, expiration = _times(tags)
    body_hash = tags.base64("bh")
    if len(body_hash) != 32:
        raise DkimSyntaxError("bh= has the wrong length")
    return Signature(
        domain=domain, selector=selector, key_type=ALGORITHMS[tags.get("a")],
        relaxed_headers=relaxed_headers, relaxed_body=relaxed_body,
        signed_fields=_signed_fields(tags), body_hash=body_hash, value=tags.base64("b"),
        identity_domain=_identity_domain(tags, domain),
        timestamp=timestamp, expiration=expiration,
        unsigned=taglist.with_empty_value(field, b"b"),
    )


def _check_version_and_methods(tags: TagList) -> None:
    if tags.required("v") != b"1":
        raise DkimSyntaxError("v= is not 1")
    if tags.required("a") not in ALGORITHMS:
        raise DkimSyntaxError("a= is neither rsa-sha256 nor ed25519-sha256")
    if "l" in tags:
        raise DkimSyntaxError("l= leaves the end of the body unsigned")
    if b"dns/txt" not in tags.items("q", b"dns/txt"):
        raise DkimSyntaxError("q= does not name dns/txt")


def _canonicalization(tags: TagList) -> tuple[bool, bool]:
    """Whether the canonicalization of the headers is relaxed, and that of the body."""
    headers, _, body = tags.get("c", b"simple/simple").partition(b"/")
    try:
        return _CANONICALIZATION[headers], _CANONICALIZATION[body or b"simple"]
    except KeyError:
        raise DkimSyntaxError("c= names no canonicalization of RFC 6376") from None


def _key_place(tags: TagList) -> tuple[str, str]:
    """Domain and selector."""
    domain, selector = tags.required("d"), tags.required("s")
    if not address.is_domain(domain) or not address.is_domain(selector + b"._domainkey." + domain):
        raise DkimSyntaxError("d= and s= do not form a domain name")
    return domain.decode("ascii").lower(), selector.decode("ascii").lower()


def _identity_domain(tags: TagList, domain: str) -> str:
    """The domain of `i=`; `domain` without an `i=`."""
    identity = tags.get("i", b"@" + domain.encode())
    _, at, found = identity.lower().rpartition(b"@")
    if not at or not (b"." + found).endswith(b"." + domain.encode()):
        raise DkimSyntaxError("i= is not in the domain of d=")
    return found.decode("latin-1")


def _signed_fields(tags: TagList) -> tuple[bytes, ...]:
    """The names in `h=`. Anything that cannot be a name matches no field, and does no harm."""
    tags.required("h")
    names = tuple(name.lower() for name in tags.items("h"))
    if b"from" not in names:
        raise DkimSyntaxError("h= does not name From")
    return names


def _times(tags: TagList) -> tuple[int | None, int | None]:
    """`t=` and `x=`."""
    signed, expires = _time(tags, "t"), _time(tags, "x")
    if signed is not None and expires is not None and expires <= signed < ENDLESS:
        raise DkimSyntaxError("x= is not later than t=")
    return signed, expires


def _time(tags: TagList, name: str) -> int | None:
    if name not in tags:
        return None
    value = tags.get(name)
    if not _DIGITS.match(value):
        raise DkimSyntaxError(f"{name}= is not a time")
    digits = value.lstrip(b"0")
    return int(digits or b"0") if len(digits) <= 12 else ENDLESS
