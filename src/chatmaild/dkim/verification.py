"""Tells whether a message is really from the domain that its From field names.

`DkimCheck` verifies the message's own signatures (RFC 6376). It fetches no keys: it names those it
needs, and the caller hands in what the DNS said. One valid aligned signature is enough; aligned
means that `d=` equals the domain of From exactly.
"""

import contextlib
import functools
import hashlib
import ipaddress
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from chatmaild.address import NetworkAddress
from chatmaild.dkim import crypto, keyrecord, results as authres, signature as dkim_signature
from chatmaild.dkim.bodyhash import BodyHash
from chatmaild.dkim.signature import Signature
from chatmaild.dkim.taglist import DkimSyntaxError

MAX_SIGNATURES = 5
"""Aligned signatures that are verified; honest senders use one or two."""

CLOCK_DRIFT = 300
"""Seconds that `x=` may lie in the past and `t=` in the future by our clock."""

_FIELD_NAME = re.compile(rb"[!-9;-~]+\Z")

key_record = functools.lru_cache(maxsize=256)(keyrecord.parse_key_record)

Fields = Sequence[tuple[bytes, bytes]]
"""Header fields from top to bottom: the name, and all after the colon, with folds as CRLF."""

Keys = Mapping[str, tuple[bytes, ...] | None]
"""The TXT records at each name, which may be none; None where the DNS gave no answer."""


class Validity(Enum):
    """Whether a message is authentic."""

    VALID = "valid"
    INVALID = "invalid"
    UNKNOWN = "unknown"
    """Nobody can tell now: the DNS gave no answer, say, or the signature is from the future."""


@dataclass(frozen=True)
class Authenticity:
    """A verdict, and what decided it."""

    state: Validity
    code: str
    """What decided, for the log."""
    detail: str
    """The same in words for people, without addresses or anything from the message."""

    @classmethod
    def invalid(cls, code: str, detail: str) -> "Authenticity":
        """The verdict that a message is not authentic."""
        return cls(Validity.INVALID, code, detail)


_VALID = Authenticity(Validity.VALID, "valid", "the signature is valid")
_FUTURE = Authenticity(Validity.UNKNOWN, "signature-in-future",
                       "by the clock of this host it was signed in the future (t=)")
_DNS_TROUBLE = Authenticity(Validity.UNKNOWN, "dns-trouble", "the DNS did not answer for the key")


_BEST_FIRST = ("valid", "signature-in-future", "signature-wrong", "key-unusable")
"""The codes that the check with one key record can end with."""


class SignatureCheck:
    """The check of one signature of a message."""

    def __init__(self, fields: Fields, index: int, signature: Signature, now: float):
        """`signature` is the field at `index`; `now` is in seconds since 1970."""
        self.signature = signature
        self.header_hash = hashlib.sha256(canonical_headers(fields, index, signature))
        self.expired = (
            signature.expiration is not None and signature.expiration + CLOCK_DRIFT < now
        )
        # RFC 6376 section 3.5 lets verifiers ignore such a signature. But our clock may be wrong,
        # and mail that is deferred instead of refused is not lost.
        self.in_future = (
            signature.timestamp is not None and signature.timestamp - CLOCK_DRIFT > now
        )

    def judge(
        self, body_hash: bytes, records: tuple[bytes, ...] | None, min_rsa_bits: int
    ) -> Authenticity:
        """The verdict on this signature. `records` are those at its key's name; None if the DNS
        gave no answer. Checks that need no key come first."""
        if self.expired:
            return Authenticity.invalid("signature-expired", "the signature has expired (x=)")
        if body_hash != self.signature.body_hash:
            return Authenticity.invalid("body-hash", "the body is not the one that was signed")
        if records is None:
            return _DNS_TROUBLE
        if not records:
            return Authenticity.invalid("no-key", "the DNS has no key of that name")
        # RFC 6376 section 3.6.2.2 leaves open what several records mean. Their order changes from
        # answer to answer, so only a look at all of them gives the same verdict each time. Records
        # of other kinds, which a wildcard puts there, do not count beside a key.
        return min([self._judge_with(record, min_rsa_bits) for record in records],
                   key=lambda found: _BEST_FIRST.index(found.code))

    def _judge_with(self, text: bytes, min_rsa_bits: int) -> Authenticity:
        """The verdict with the key in one TXT record."""
        try:
            record = key_record(text)
            key = crypto.public_key(record, min_rsa_bits)
            if key.key_type != self.signature.key_type:
                raise DkimSyntaxError("the key is not of the type that a= names")
            if record.exact_identity and self.signature.identity_domain != self.signature.domain:
                raise DkimSyntaxError("the key's t=s wants i= to be in the domain of d= itself")
        except DkimSyntaxError as error:
            return Authenticity.invalid("key-unusable", str(error))
        if not crypto.verify(key, self.header_hash, self.signature.value):
            return Authenticity.invalid(
                "signature-wrong", "the header is not the one that was signed")
        return _FUTURE if self.in_future else _VALID


class DkimCheck:
    """The check of one message: make it at the end of the header, call `body` with the chunks,
    `finish`, then `result`."""

    def __init__(self, fields: Fields, from_domain: str, now: float, min_rsa_bits: int):
        """`from_domain` is the domain of From in lower case; `now` is in seconds since 1970."""
        self._min_rsa_bits = min_rsa_bits
        self._signatures: list[SignatureCheck] = []
        self._problem = Authenticity.invalid("no-signature", "there is no signature")
        for index, (name, value) in enumerate(fields):
            if name.lower() != b"dkim-signature":
                continue
            if dkim_signature.claimed_domain(value) != from_domain:
                if self._problem.code == "no-signature":
                    self._problem = Authenticity.invalid(
                        "not-aligned", "no signature is of the From domain")
                continue
            try:
                signature = dkim_signature.parse_signature(value)
            except DkimSyntaxError as error:
                self._problem = Authenticity.invalid("signature-unusable", str(error))
                continue
            if len(self._signatures) < MAX_SIGNATURES:
                self._signatures.append(SignatureCheck(fields, index, signature, now))
        self._bodies = {
            relaxed: BodyHash(relaxed)
            for relaxed in {check.signature.relaxed_body for check in self._signatures}
        }

    def body(self, chunk: bytes) -> None:
        """The next octets of the body, with CRLF line ends."""
        for body in self._bodies.values():
            body.update(chunk)

    def finish(self) -> frozenset[str]:
        """The body is over. Returns the DNS names of the keys that are still needed."""
        self._digests = {relaxed: body.digest() for relaxed, body in self._bodies.items()}
        return frozenset(
            check.signature.key_name for check in self._signatures
            if not check.expired
            and self._digests[check.signature.relaxed_body] == check.signature.body_hash
        )

    def result(self, keys: Keys) -> Authenticity:
        """The verdict; call this after `finish`, with the records at the names it returned."""
        verdicts = [
            check.judge(self._digests[check.signature.relaxed_body],
                        keys.get(check.signature.key_name), self._min_rsa_bits)
            for check in self._signatures
        ]
        for state in (Validity.VALID, Validity.UNKNOWN, Validity.INVALID):
            for verdict in verdicts:
                if verdict.state is state:
                    return verdict
        return self._problem


def canonical_headers(fields: Fields, index: int, signature: Signature) -> bytes:
    """The octets that `b=` signs: the fields in `h=`, and the signature at `index` itself.

    A name in `h=` stands for the lowest field of that name that was not taken yet, or for nothing
    if none is left (RFC 6376 section 5.4.2). The signature itself is never among them: it did not
    exist yet.
    """
    left: dict[bytes, list[tuple[bytes, bytes]]] = {name: [] for name in signature.signed_fields}
    for position, field in enumerate(fields):
        name = field[0].lower().rstrip(b" \t")     # mail programs read "To : x" as a To
        if name in left and position != index:
            left[name].append(field)
    signed = [left[name].pop() for name in signature.signed_fields if left[name]]
    signed.append((fields[index][0], signature.unsigned))
    # The RFC wants no line end here; the programs that sign and verify remove blanks as well.
    return crypto.canonical_headers(signature.relaxed_headers, signed).rstrip()


def from_literal(literal: NetworkAddress, client: str) -> Authenticity:
    """The verdict on a From address whose domain is an address literal. It has no name in the DNS
    and so no key; it is authentic if the connecting `client` has that network address."""
    with contextlib.suppress(ValueError):
        connecting = ipaddress.ip_address(client)
        if literal in (connecting, getattr(connecting, "ipv4_mapped", None)):
            return Authenticity(Validity.VALID, "valid",
                                "the client has the address that From names")
    return Authenticity.invalid("client-not-literal",
                                "the client does not have the network address that From names")


def from_results(fields: Fields, authserv_id: str, from_domain: str) -> Authenticity:
    """The verdict of the verifier `authserv_id`, which this host runs (RFC 8601).

    A verifier writes its field above everything that came from outside. So the topmost field under
    its name with a result of DKIM is its own; those below are forged or stale.
    """
    for name, value in fields:
        if not _FIELD_NAME.match(name):
            # OpenDKIM leaves a message with "X : y" alone, and the results that it came with.
            return Authenticity.invalid(
                "verifier-no-pass", f"a header field whose name {authserv_id} may not understand")
        if name.lower().strip() == b"dkim-signature" and not dkim_signature.is_quotable(value):
            return Authenticity.invalid(
                "signature-unusable", "what a signature says could pass for a verifier's result")
    own = [value for name, value in fields if name.lower() == b"authentication-results"
           and authres.authserv_id(value) == authserv_id]
    room = authres.MAX_OCTETS
    for value in own:
        room -= len(value)
        results = authres.dkim_results(value) if room >= 0 else None
        if results == ():
            continue
        found = {result.result for result in results or () if result.domain == from_domain}
        if "pass" in found:
            return _VALID
        if "temperror" in found:
            return Authenticity(Validity.UNKNOWN, "verifier-temperror",
                                f"{authserv_id} had a temporary error")
        return Authenticity.invalid(
            "verifier-no-pass", f"{authserv_id} found no valid signature of the From domain")
    if any(name.lower() == b"dkim-signature" and dkim_signature.claimed_domain(value) == from_domain
           for name, value in fields):
        # The sender has done their part. The verifier is down, comes after us or has another name:
        # a fault of this host, which must not lose their mail.
        return Authenticity(Validity.UNKNOWN, "verifier-silent",
                            f"no DKIM result of {authserv_id}, though there is a signature")
    return Authenticity.invalid("verifier-silent", f"no DKIM result of {authserv_id}")
