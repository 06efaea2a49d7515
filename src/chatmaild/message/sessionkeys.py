"""Session-key packets: PKESK (tag 1) and SKESK (tag 3), checked field by field.

Sources: RFC 9580 sections 5.1 and 5.3, RFC 4880 for the older versions, RFC 6637 for ECDH, and
draft-koch-openpgp-2015-rfc4880bis (LibrePGP) section 5.3 for SKESK version 5.

Nothing is decrypted. A packet passes if its fields fill its body exactly and its key material
looks random, so that no text hides in it.
"""

from collections.abc import Callable
from dataclasses import dataclass

from chatmaild.message import plaintext
from chatmaild.message.refusal import Refusal

PKESK = 1
SKESK = 3

MAX_UNKNOWN = 2048
"""Octets in the fields of an unknown algorithm (post-quantum ones need 1.8 K)."""

_MAX_MPI = 2048
_CIPHERS = range(1, 14)
_AEAD_NONCE = {1: 16, 2: 15, 3: 12}
_TAG = 16
_FINGERPRINTS = {0: None, 21: 4, 33: 6}


@dataclass(frozen=True)
class SessionKey:
    """One session-key packet. `kind` is its version and algorithm, for people. `recipient` is a
    key id or fingerprint, empty if anonymous. It and each field of `material` must look random
    (`plaintext`)."""

    kind: str
    recipient: bytes
    material: tuple[bytes, ...]


class _Fields:
    """Takes one field after the other from the body. Raises `Refusal` for one that is cut short."""

    def __init__(self, body: bytes):
        self._body = body
        self._at = 0

    def octet(self) -> int:
        at = self._at
        if at == len(self._body):
            raise Refusal("session-key-truncated")
        self._at = at + 1
        return self._body[at]

    def take(self, length: int) -> bytes:
        end = self._at + length
        if end > len(self._body):
            raise Refusal("session-key-truncated")
        field = self._body[self._at:end]
        self._at = end
        return field

    def mpi(self, is_number: bool = True) -> bytes:
        """An MPI (RFC 9580 section 3.2). A number, unlike a point, has no leading zeros, except
        those that golang.org/x/crypto writes to fill the octets of the modulus."""
        bits = int.from_bytes(self.take(2), "big")
        octets = (bits + 7) // 8
        if not 0 < octets <= _MAX_MPI:
            raise Refusal("session-key-number-length")
        number = self.take(octets)
        first = number[0].bit_length()
        said = (bits - 1) % 8 + 1
        if first > said or is_number and first < said and (said < 8 or number[:2] == b"\0\0"):
            raise Refusal("session-key-number-length")
        return number

    def rest(self) -> bytes:
        return self.take(len(self._body) - self._at)

    def end(self) -> None:
        if self._at != len(self._body):
            raise Refusal("session-key-has-more-octets")


def parse(tag: int, body: bytes) -> SessionKey:
    """Parse the packet with this tag and body. Raises `Refusal` without an offset."""
    fields = _Fields(body)
    version = fields.octet()
    parser = _VERSIONS.get((tag, version))
    if parser is None:
        raise Refusal("session-key-version")
    return parser(fields)


def _pkesk3(fields: _Fields) -> SessionKey:
    keyid = fields.take(8)
    return _public_key(fields, "PKESK v3", keyid, version=3)


def _pkesk6(fields: _Fields) -> SessionKey:
    recipient = fields.take(fields.octet())
    if len(recipient) not in _FINGERPRINTS:
        raise Refusal("session-key-recipient")
    if recipient and recipient[0] != _FINGERPRINTS[len(recipient)]:
        raise Refusal("session-key-recipient")
    return _public_key(fields, "PKESK v6", recipient[1:], version=6)


def _public_key(fields: _Fields, kind: str, recipient: bytes, version: int) -> SessionKey:
    algorithm = fields.octet()
    name, parser = _ALGORITHMS.get(algorithm, (f"algorithm {algorithm}", _unknown))
    material = parser(fields, version)
    fields.end()
    return SessionKey(f"{kind} {name}", recipient if any(recipient) else b"", material)


def _rsa(fields: _Fields, version: int) -> tuple[bytes, ...]:
    return (fields.mpi(),)


def _elgamal(fields: _Fields, version: int) -> tuple[bytes, ...]:
    return fields.mpi(), fields.mpi()


def _ecdh(fields: _Fields, version: int) -> tuple[bytes, ...]:
    point = fields.mpi(is_number=False)   # GnuPG writes points that may begin with zeros
    if len(point) > 133:
        raise Refusal("session-key-number-length")
    wrapped = fields.take(fields.octet())
    if len(wrapped) % 8 or not 24 <= len(wrapped) <= 248:
        raise Refusal("session-key-wrapped-length")
    return point[1:], wrapped


def _modern(public: int) -> Callable[[_Fields, int], tuple[bytes, ...]]:
    """Parser for X25519 and X448: a point of `public` octets, then a key wrapped by RFC 3394."""

    def parse_fields(fields: _Fields, version: int) -> tuple[bytes, ...]:
        point = fields.take(public)
        length = fields.octet()
        if version == 3:
            if fields.octet() not in _CIPHERS:
                raise Refusal("session-key-cipher")
            length -= 1
        if length not in (24, 32, 40):
            raise Refusal("session-key-wrapped-length")
        return point, fields.take(length)

    return parse_fields


def _unknown(fields: _Fields, version: int) -> tuple[bytes, ...]:
    material = fields.rest()
    if not 16 <= len(material) <= MAX_UNKNOWN:
        raise Refusal("session-key-unknown-length")
    return (material,)


_ALGORITHMS = {
    1: ("RSA", _rsa),
    2: ("RSA", _rsa),
    16: ("Elgamal", _elgamal),
    18: ("ECDH", _ecdh),
    25: ("X25519", _modern(32)),
    26: ("X448", _modern(56)),
}


def _skesk4(fields: _Fields) -> SessionKey:
    _cipher(fields)
    salt = _s2k(fields)
    wrapped = fields.rest()
    # Empty: the session key comes from the passphrase alone. Else a cipher octet and a key.
    if len(wrapped) not in (0, 17, 25, 33):
        raise Refusal("session-key-wrapped-length")
    return SessionKey("SKESK v4", b"", (salt, wrapped))


def _skesk5(fields: _Fields) -> SessionKey:
    _cipher(fields)
    nonce_length = _nonce_length(fields)
    salt = _s2k(fields)
    nonce = fields.take(nonce_length)
    return SessionKey("SKESK v5", b"", (salt, nonce, _sealed_key(fields)))


def _skesk6(fields: _Fields) -> SessionKey:
    counted = _Fields(fields.take(fields.octet()))
    _cipher(counted)
    nonce_length = _nonce_length(counted)
    specifier = _Fields(counted.take(counted.octet()))
    salt = _s2k(specifier)
    specifier.end()
    nonce = counted.take(nonce_length)
    counted.end()
    return SessionKey("SKESK v6", b"", (salt, nonce, _sealed_key(fields)))


def _cipher(fields: _Fields) -> None:
    if fields.octet() not in _CIPHERS:
        raise Refusal("session-key-cipher")


def _nonce_length(fields: _Fields) -> int:
    length = _AEAD_NONCE.get(fields.octet())
    if length is None:
        raise Refusal("session-key-aead")
    return length


def _sealed_key(fields: _Fields) -> bytes:
    sealed = fields.rest()
    if len(sealed) - _TAG not in (16, 24, 32):
        raise Refusal("session-key-wrapped-length")
    return sealed


def _s2k(fields: _Fields) -> bytes:
    """Check a string-to-key specifier, RFC 9580 section 3.7. Returns its salt."""
    kind = fields.octet()
    if kind == 4:
        salt = fields.take(16)
        passes, lanes, memory = fields.take(3)
        if not (passes and lanes and 3 <= memory <= 31):
            raise Refusal("session-key-s2k")
        return salt
    if kind not in (0, 1, 3) or fields.octet() not in range(1, 15):
        raise Refusal("session-key-s2k")
    salt = fields.take(8) if kind else b""
    if kind == 3:
        fields.octet()
    return salt


_VERSIONS = {
    (PKESK, 3): _pkesk3,
    (PKESK, 6): _pkesk6,
    (SKESK, 4): _skesk4,
    (SKESK, 5): _skesk5,
    (SKESK, 6): _skesk6,
}


class SessionKeys:
    """All session-key packets of a message. Bounds their number, and checks that no text hides in
    a field, or is spread over many of them."""

    def __init__(self, limit: int):
        self.kinds: dict[str, int] = {}
        """The number of packets of each kind."""
        self._limit = limit
        self._number = 0
        self._recipients: set[bytes] = set()
        # One for the recipients, and one for the n-th fields of all packets. Each sees its octets
        # without the random ones of other fields in between.
        self._fields: list[plaintext.Sampler] = []

    def count(self, position: int) -> None:
        """Count a packet that begins at `position`. Raises `Refusal` if it is one too many."""
        self._number += 1
        if self._number > self._limit:
            raise Refusal("too-many-session-keys", position)

    def add(self, tag: int, body: bytes, position: int) -> None:
        """Check the packet with this tag, whose body begins at `position`. Raises `Refusal`."""
        try:
            key = parse(tag, body)
        except Refusal as refusal:
            raise Refusal(refusal.reason, position) from None
        self.kinds[key.kind] = self.kinds.get(key.kind, 0) + 1
        while len(self._fields) <= len(key.material):
            self._fields.append(plaintext.Sampler())
        if key.recipient and key.recipient not in self._recipients:
            self._recipients.add(key.recipient)
            self._fields[0].feed(key.recipient, position)
        # The fields end where the body ends; their offsets tell where base64 characters begin.
        offset = position + len(body) - sum(map(len, key.material))
        for sampler, octets in zip(self._fields[1:], key.material):
            for start in range(0, len(octets), plaintext.WINDOW):
                if plaintext.is_text(octets[start:start + plaintext.WINDOW], offset + start):
                    raise Refusal("session-key-is-text", position)
            sampler.feed(octets, position)
            offset += len(octets)
        self._check()

    def finish(self) -> None:
        """All packets were added. Raises `Refusal`."""
        for sampler in self._fields:
            sampler.finish()
        self._check()

    def _check(self) -> None:
        for sampler in self._fields:
            if sampler.text_at is not None:
                raise Refusal("session-key-is-text", sampler.text_at)
