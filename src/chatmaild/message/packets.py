"""The packets of an encrypted OpenPGP message, read piece by piece.

Sources: RFC 9580 sections 4.2 (packet headers), 5.13 (SEIPD) and 10.3 (message grammar).

The grammar: session-key packets, then exactly one SEIPD (tag 18) that ends where the data ends. In
incoming mail a marker packet may come first, as Symantec's PGP writes it. Bodies are not kept. To
tell ciphertext from plain text, `plaintext` looks at its first 24 KiB, at one window in every
48 KiB, and at its end; the rest may be skipped unread.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from chatmaild.message import plaintext, sessionkeys
from chatmaild.message.refusal import Refusal

SEIPD = 18
MARKER = 10
_MARKER_BODY = b"PGP"

MAX_SESSION_KEYS = 2000
"""Session-key packets in one message: Postfix's 1,000 recipients, twice over."""

FIRST_PARTIAL = 512
"""Octets; the least for the first piece of a body in partial lengths, RFC 9580 section 4.2.1.4."""

_LEAST_PARTIAL = 224 + FIRST_PARTIAL.bit_length() - 1    # as an octet; smaller ones are counted
_MAX_KEY_PACKET = 6144
_MAX_SMALL_PIECES = 4096
LOOKED_AT_WHOLE = 24 * 1024
"""Octets at the beginning of the ciphertext that are tested without a gap."""

_EVERY = 48 * 1024
_LARGE = 1 << 62

_STEP = 3072

# By version of SEIPD. Version 1: a prefix of 18 octets, a packet of at least 8, an MDC of 22.
# Version 2: three parameters, a salt of 32 octets, a chunk of at least 8, two tags of 16.
_SALT = 32
_PARAMETERS = {1: 1, 2: 4 + _SALT}
_SMALLEST = {1: 1 + 18 + 8 + 22, 2: 4 + _SALT + 8 + 16 + 16}

NAMES = {
    0: "reserved", 2: "signature", 4: "one-pass-signature", 5: "secret-key", 6: "public-key",
    7: "secret-subkey", 8: "compressed", 9: "sed", 10: "marker", 11: "literal", 12: "trust",
    13: "user-id", 14: "public-subkey", 17: "user-attribute", 19: "mdc", 20: "aead", 21: "padding",
}


@dataclass(frozen=True)
class Summary:
    """The packets found so far, in a form for people."""

    session_keys: dict[str, int] = field(default_factory=dict)
    """How many of each kind, by its name."""
    ciphertext: str = ""
    """Kind and version; "" if none was found yet."""
    ciphertext_octets: int = 0
    partial: bool = False
    """Whether its length is given piece by piece (RFC 9580 section 4.2.1.4)."""

    def lines(self) -> list[str]:
        """One line for each kind of session key, and one for the ciphertext."""
        found = [f"{count} x {kind}" for kind, count in self.session_keys.items()]
        if self.ciphertext:
            lengths = ", partial lengths" if self.partial else ""
            found.append(f"{self.ciphertext}, {self.ciphertext_octets} octets{lengths}")
        return found


_State = Callable[["PacketReader", bytes, int, int], int]


class PacketReader:
    """Feed it the octets in order, or `skip` some where `ahead` allows it. Which octets it tests
    depends on their place in the ciphertext alone, not on the pieces. Raises `Refusal`, whose
    offset counts from the first octet fed; do not use the reader after that. Memory: at most one
    session-key packet and one window."""

    __slots__ = (
        "_position", "_pending", "_state", "_keys", "_key_tag",
        "_version", "_partial", "_body", "_body_position", "_piece", "_last_piece",
        "_small_pieces", "_quiet_until", "_marker")

    def __init__(self, max_session_keys: int = MAX_SESSION_KEYS, marker: bool = False):
        """`marker` admits one marker packet at the beginning."""
        self._marker = marker
        self._position = 0
        self._pending = b""
        self._state: _State = PacketReader._packet_header
        self._keys = sessionkeys.SessionKeys(max_session_keys)
        self._key_tag = 0
        self._version = 0           # of the ciphertext
        self._partial = False
        self._body = plaintext.Sampler()
        self._body_position = 0     # behind version, parameters and salt
        self._piece = 0             # octets left in this piece, or in the session-key packet
        self._last_piece = False
        self._small_pieces = 0
        self._quiet_until = 0       # place in the ciphertext up to which nothing is tested

    @property
    def summary(self) -> Summary:
        """The packets found so far."""
        if not self._version:
            return Summary(dict(self._keys.kinds))
        return Summary(dict(self._keys.kinds), f"SEIPD v{self._version}",
                       _PARAMETERS[self._version] + self._body_position, self._partial)

    def feed(self, octets: bytes) -> None:
        """The next octets. Raises `Refusal`."""
        data = self._pending + octets if self._pending else octets
        start = self._position - len(self._pending)
        at, length = 0, len(data)
        while at < length and (used := self._state(self, data, at, start + at)):
            at += used
        self._pending = data[at:]
        self._position = start + length

    def ahead(self) -> tuple[int, int]:
        """(quiet, loud): how many octets may be skipped now, and about how many after these to
        feed next; more or fewer do no harm."""
        if self._state is not PacketReader._ciphertext:
            return 0, _STEP
        here = self._body_position
        if here >= self._quiet_until:
            loud = self._find_quiet(here) - here
            if loud:
                return 0, min(loud, LOOKED_AT_WHOLE)
        quiet = self._quiet_until - here
        if quiet >= self._piece:
            return self._piece, 1       # the next piece's length, if it is a partial one
        return quiet, plaintext.WINDOW

    def skip(self, count: int) -> None:
        """Pass over `count` octets unread, at most `ahead()[0]`."""
        self._body.gap()
        self._position += count
        self._advance(count)

    def skip_pieces(self, octet: Callable[[int], int], at: int, end: int) -> int:
        """Pass over pieces of a body in partial lengths which `ahead` would allow to be skipped
        whole, each with the partial length behind it. `octet` gives an octet by its number; the
        next one has the number `at`, the last one that before `end`. Returns the number of the
        octet that is next then.

        This does what `skip` and `feed` do, in a tenth of the time: GnuPG writes 8 KiB pieces.
        """
        if self._state is not PacketReader._ciphertext or self._last_piece:
            return at
        begin = at
        while (self._body_position + self._piece <= self._quiet_until
               and at + self._piece < end
               and _LEAST_PARTIAL <= (length := octet(at + self._piece)) < 255):
            at += self._piece + 1
            self._body_position += self._piece
            self._piece = 1 << (length & 31)
        if at > begin:
            self._body.gap()
            self._position += at - begin
        return at

    def finish(self) -> None:
        """The data is over. Raises `Refusal` if the message is not complete."""
        if self._state is PacketReader._after_end and not self._pending:
            self._finish_ciphertext()
            return
        if not self._keys.kinds and not self._pending:
            raise Refusal("no-packets", self._position)
        if self._state is PacketReader._packet_header and not self._pending:
            raise Refusal("session-keys-without-ciphertext", self._position)
        raise Refusal("packet-truncated", self._position)

    # Each state reads `data` from `at` on (octet `position` of the stream), at least one octet,
    # and returns how many it used; 0 means that it needs more. `_state` is a function and not a
    # bound method, which would be a reference cycle.

    def _packet_header(self, data: bytes, at: int, position: int) -> int:
        first = data[at]
        if not first & 0x80:
            raise Refusal("not-a-packet", position)
        tag = first & 0x3F if first & 0x40 else first >> 2 & 15
        if tag == MARKER and self._marker and not position:
            self._state = PacketReader._marker_length
            return 1
        if tag not in (sessionkeys.PKESK, sessionkeys.SKESK, SEIPD):
            raise Refusal(f"packet-{NAMES.get(tag, 'unknown')}", position)
        if tag == SEIPD and not self._keys.kinds:
            raise Refusal("ciphertext-without-session-key", position)
        octets, length, partial = _length(data, at + 1, None if first & 0x40 else first & 3,
                                          position)
        if not octets:
            return 0
        if tag == SEIPD:
            self._begin_ciphertext(length, partial, position)
        else:
            if partial:
                raise Refusal("partial-length", position)
            self._begin_session_key(tag, length, position, position + 1 + octets)
        return 1 + octets

    def _begin_session_key(self, tag: int, length: int, header: int, body: int) -> None:
        """`header` and `body` are the octets of the stream where those of the packet begin."""
        if length > _MAX_KEY_PACKET:
            raise Refusal("session-key-too-long", header)
        self._keys.count(header)
        if not length:
            raise Refusal("session-key-truncated", body)
        self._key_tag = tag
        self._piece = length
        self._state = PacketReader._session_key

    def _marker_length(self, data: bytes, at: int, position: int) -> int:
        """The length is one octet in both header formats, since the body has three octets."""
        if data[at] != len(_MARKER_BODY):
            raise Refusal("packet-marker", 0)
        self._state = PacketReader._marker_body
        return 1

    def _marker_body(self, data: bytes, at: int, position: int) -> int:
        body = data[at:at + len(_MARKER_BODY)]
        if not _MARKER_BODY.startswith(body):
            raise Refusal("packet-marker", 0)
        if len(body) < len(_MARKER_BODY):
            return 0
        self._state = PacketReader._packet_header
        return len(body)

    def _session_key(self, data: bytes, at: int, position: int) -> int:
        length = self._piece
        if len(data) - at < length:
            return 0
        self._keys.add(self._key_tag, data[at:at + length], position)
        self._state = PacketReader._packet_header
        return length

    def _begin_ciphertext(self, length: int, partial: bool, position: int) -> None:
        if partial and length < FIRST_PARTIAL:
            raise Refusal("first-partial-length", position)
        if not partial and length < _SMALLEST[1]:
            raise Refusal("ciphertext-too-short", position)
        self._keys.finish()
        self._partial = partial
        self._piece = length
        self._last_piece = not partial
        self._state = PacketReader._parameters

    def _parameters(self, data: bytes, at: int, position: int) -> int:
        version = data[at]
        used = _PARAMETERS.get(version)
        if not used:
            raise Refusal("ciphertext-version", position)
        if version == 2:
            salt = data[at + 4:at + used]
            if len(salt) < _SALT:
                return 0
            if plaintext.is_text(salt, position + 4):
                raise Refusal("ciphertext-is-text", position + 4)
            cipher, aead, chunk = data[at + 1:at + 4]
            if cipher not in range(7, 14) or aead not in (1, 2, 3) or chunk > 16:
                raise Refusal("ciphertext-parameters", position)
        self._version = version
        self._piece -= used
        self._state = PacketReader._ciphertext
        return used

    def _ciphertext(self, data: bytes, at: int, position: int) -> int:
        used = min(self._piece, len(data) - at)
        end = self._body_position + used
        if end <= LOOKED_AT_WHOLE:
            self._body.feed(data[at:at + used], position)
            self._check()
        elif end > self._quiet_until:
            self._look(data[at:at + used], position)
        self._advance(used)
        return used

    def _look(self, octets: bytes, position: int) -> None:
        """Test those of `octets` that are to be tested."""
        at, length = 0, len(octets)
        while at < length:
            here = self._body_position + at
            if here < self._quiet_until:
                self._body.gap()
                at += self._quiet_until - here
                continue
            loud = min(self._find_quiet(here) - here, length - at)
            if loud:
                self._body.feed(octets[at:at + loud], position + at)
                at += loud
        self._check()

    def _check(self) -> None:
        if self._body.text_at is not None:
            raise Refusal("ciphertext-is-text", self._body.text_at)

    def _find_quiet(self, here: int) -> int:
        """Return where the loud stretch ends that `here`, a place in the ciphertext, is in. If
        it is in a quiet one instead, return `here` and note where that ends."""
        if here < LOOKED_AT_WHOLE:
            return LOOKED_AT_WHOLE
        tail = _LARGE
        if self._last_piece:
            tail = self._body_position + self._piece - plaintext.WINDOW
        into = here % _EVERY
        if here >= tail:
            return _LARGE
        if into < plaintext.WINDOW:
            return here - into + plaintext.WINDOW
        self._quiet_until = min(here - into + _EVERY, tail)
        return here

    def _advance(self, count: int) -> None:
        self._body_position += count
        self._piece -= count
        if not self._piece:
            self._state = (PacketReader._after_end if self._last_piece
                           else PacketReader._next_piece)

    def _next_piece(self, data: bytes, at: int, position: int) -> int:
        octets, length, partial = _length(data, at, None, position)
        if not octets:
            return 0
        if partial and length < FIRST_PARTIAL:
            self._small_pieces += 1
            if self._small_pieces > _MAX_SMALL_PIECES:
                raise Refusal("too-many-partial-lengths", position)
        self._piece = length
        self._last_piece = not partial
        if not partial:     # the end is near, and is to be tested
            self._quiet_until = min(self._quiet_until, self._body_position)
        self._state = PacketReader._ciphertext if length else PacketReader._after_end
        return octets

    def _after_end(self, data: bytes, at: int, position: int) -> int:
        raise Refusal("data-after-ciphertext", position)

    def _finish_ciphertext(self) -> None:
        if _PARAMETERS[self._version] + self._body_position < _SMALLEST[self._version]:
            raise Refusal("ciphertext-too-short", self._position)
        self._body.finish()
        self._check()


def _length(data: bytes, at: int, legacy: int | None, position: int) -> tuple[int, int, bool]:
    """(octets used, length, partial) of a packet length; (0, 0, False) when octets are missing.

    `legacy` is the length type of a legacy header, None for the newer format.
    """
    available = len(data) - at
    if legacy == 3:
        raise Refusal("indeterminate-length", position)
    if legacy is not None:
        octets = 1 << legacy
        number = data[at:at + octets]
    elif not available:
        return 0, 0, False
    elif (first := data[at]) < 192:
        return 1, first, False
    elif first < 224:
        octets = 2
        number = data[at:at + 2]
    elif first < 255:
        return 1, 1 << (first & 31), True
    else:
        octets = 5
        number = data[at + 1:at + 5]
    if available < octets:
        return 0, 0, False
    length = int.from_bytes(number, "big")
    return octets, length - (192 << 8) + 192 if legacy is None and octets == 2 else length, False
