"""Is a message really from the domain that its From field names?

`DkimCheck` answers from the message's own signatures (RFC 6376) and fetches no keys itself: it
names those it needs, and is given what the DNS said. The one aligned signature that is valid
decides; aligned means that `d=` equals the domain of From exactly.
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
"""Aligned signatures that are looked at; honest senders use one or two."""

CLOCK_DRIFT = 300
"""Seconds that `x=` may have passed before a signature counts as expired, and that `t=` may be
ahead of our clock."""

_FIELD_NAME = re.compile(rb"[!-9;-~]+\Z")

key_record = functools.lru_cache(maxsize=256)(keyrecord.parse_key_record)

Fields = Sequence[tuple[bytes, bytes]]
"""Header fields from top to bottom: the name, and all behind the colon with folds as CRLF."""

Keys = Mapping[str, tuple[bytes, ...] | None]
"""What the DNS holds at each name: TXT records, none, or None where it could not tell."""


class State(Enum):
    VALID = "valid"
    INVALID = "invalid"
    UNKNOWN = "unknown"
    """It cannot be told now: the DNS gave no answer, or the signature is from the future."""


@dataclass(frozen=True)
class Authenticity:
    state: State
    code: str
    """What decided, for the log."""
    detail: str
    """The same in words, for people. No address, nothing from the message."""

    @classmethod
    def invalid(cls, code: str, detail: str) -> "Authenticity":
        return cls(State.INVALID, code, detail)


_VALID = Authenticity(State.VALID, "valid", "the signature is valid")
_FUTURE = Authenticity(State.UNKNOWN, "signature-in-future",
                       "by the clock of this host it will be signed in the future (t=)")
_DNS_TROUBLE = Authenticity(State.UNKNOWN, "dns-trouble", "the DNS did not answer for the key")


_BEST_FIRST = ("valid", "signature-in-future", "signature-wrong", "key-unusable")
"""The possible outcomes of a key record."""


class SignatureCheck:
    """One signature of a message, judged step by step."""

    def __init__(self, fields: Fields, index: int, signature: Signature, now: float):
        self.signature = signature
        self.header_hash = hashlib.sha256(canonical_headers(fields, index, signature))
        self.expired = (
            signature.expiration is not None and signature.expiration + CLOCK_DRIFT < now
        )
        # RFC 6376 section 3.5 lets verifiers ignore it. It may be our clock that is wrong, and
        # who is deferred instead of refused loses no mail by it.
        self.in_future = (
            signature.timestamp is not None and signature.timestamp - CLOCK_DRIFT > now
        )

    def judge(
        self, body_hash: bytes, records: tuple[bytes, ...] | None, min_rsa_bits: int
    ) -> Authenticity:
        """The verdict on this signature, the steps that need no key first."""
        if self.expired:
            return Authenticity.invalid("signature-expired", "the signature has expired (x=)")
        if body_hash != self.signature.body_hash:
            return Authenticity.invalid("body-hash", "the body is not the one that was signed")
        if records is None:
            return _DNS_TROUBLE
        if not records:
            return Authenticity.invalid("no-key", "the DNS has no key of that name")
        # RFC 6376 section 3.6.2.2 leaves open what several records mean. Their order changes from
        # answer to answer, so a verdict that is the same each time has to look at all of them;
        # those of other kinds, which a wildcard puts there, do not count beside a key.
        return min([self._judge_with(record, min_rsa_bits) for record in records],
                   key=lambda found: _BEST_FIRST.index(found.code))

    def _judge_with(self, text: bytes, min_rsa_bits: int) -> Authenticity:
        """The verdict by one TXT record."""
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
    """The check of one message: made at the end of its header, fed its body, asked once."""

    def __init__(self, fields: Fields, from_domain: str, now: float, min_rsa_bits: int):
        """`from_domain` is the domain of From in lower case; `now` is seconds since 1970."""
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
        for body in self._bodies.values():
            body.update(chunk)

    def finish(self) -> frozenset[str]:
        """Ends the body; returns the names of the keys that can still make a difference."""
        self._digests = {relaxed: body.digest() for relaxed, body in self._bodies.items()}
        return frozenset(
            check.signature.key_name for check in self._signatures
            if not check.expired
            and self._digests[check.signature.relaxed_body] == check.signature.body_hash
        )

    def result(self, keys: Keys) -> Authenticity:
        """The verdict, after `finish`."""
        verdicts = [
            check.judge(self._digests[check.signature.relaxed_body],
                        keys.get(check.signature.key_name), self._min_rsa_bits)
            for check in self._signatures
        ]
        for state in (State.VALID, State.UNKNOWN, State.INVALID):
            for verdict in verdicts:
                if verdict.state is state:
                    return verdict
        return self._problem


def canonical_headers(fields: Fields, index: int, signature: Signature) -> bytes:
    """What `b=` was computed over: the fields of `h=`, and the signature at `index` itself.

    A name in `h=` stands for the lowest field of that name that was not yet taken; where there
    is none left it stands for nothing (RFC 6376 section 5.4.2). The signature itself was not
    there yet when they were taken.
    """
    left: dict[bytes, list[tuple[bytes, bytes]]] = {name: [] for name in signature.signed_fields}
    for position, field in enumerate(fields):
        name = field[0].lower().rstrip(b" \t")     # mail programs take "To : x" for a To
        if name in left and position != index:
            left[name].append(field)
    signed = [left[name].pop() for name in signature.signed_fields if left[name]]
    signed.append((fields[index][0], signature.unsigned))
    # Without its line end, says the RFC; whoever signs and verifies takes blanks away as well.
    return crypto.canonical_headers(signature.relaxed_headers, signed).rstrip()


def from_literal(literal: NetworkAddress, client: str) -> Authenticity:
    """The verdict on an address at the literal of a network address. It has no name in the DNS
    and so no key; it counts if the connecting `client` has that address."""
    with contextlib.suppress(ValueError):
        connecting = ipaddress.ip_address(client)
        if literal in (connecting, getattr(connecting, "ipv4_mapped", None)):
            return Authenticity(State.VALID, "valid", "the client has the address that From names")
    return Authenticity.invalid("client-not-literal",
                                "the client has not the network address that From names")


def from_results(fields: Fields, authserv_id: str, from_domain: str) -> Authenticity:
    """The verdict of the verifier `authserv_id`, which this host runs (RFC 8601).

    A verifier writes its field above everything that came from outside, so the topmost field
    under its name that speaks of DKIM is its own, and those below it are forged or stale.
    """
    for name, value in fields:
        if not _FIELD_NAME.match(name):
            # OpenDKIM lets a message with "X : y" pass, with the results that it came with.
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
            return Authenticity(State.UNKNOWN, "verifier-temperror",
                                f"{authserv_id} had a temporary error")
        return Authenticity.invalid(
            "verifier-no-pass", f"{authserv_id} found no valid signature of the From domain")
    if any(name.lower() == b"dkim-signature" and dkim_signature.claimed_domain(value) == from_domain
           for name, value in fields):
        # The verifier is down, comes after us or has another name, and the sender has done their
        # part: a fault of this host must not lose their mail.
        return Authenticity(State.UNKNOWN, "verifier-silent",
                            f"no DKIM result of {authserv_id}, though there is a signature")
    return Authenticity.invalid("verifier-silent", f"no DKIM result of {authserv_id}")
