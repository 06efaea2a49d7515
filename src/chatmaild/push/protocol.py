"""The protocol between metadata and notifier: one JSON array per line, over a unix socket.

    metadata -> notifier   Announce (these tokens have news), Probe (send one now, tell me)
    notifier -> metadata   Stored (the announcement is on disk), Gone (the gateway knows the token
                           no more), Probed (what the gateway said)

The notifier learns no mail address: `ref` stands for the account, and only metadata knows which one
it is.
"""

import json
from dataclasses import asdict, dataclass

MAX_TOKENS = 10
"""Tokens of one account."""

MAX_TOKEN_LENGTH = 4096
"""Characters of one token."""

MAX_LINE = 1 << 19
"""Octets of one line: `MAX_TOKENS` of `MAX_TOKEN_LENGTH`, each character escaped at its longest."""


class ProtocolError(ValueError):
    """A line that is not of this protocol. The text names the mistake, and quotes nothing."""


@dataclass(frozen=True)
class Announce:
    """There is news for `ref`: ring each of `tokens`. `Stored` confirms the `number`."""

    number: int
    ref: str
    tokens: tuple[str, ...]


@dataclass(frozen=True)
class Probe:
    """Send one notification to `token` at once, past the queue; `Probed` answers."""

    ref: str
    token: str


@dataclass(frozen=True)
class Stored:
    """The announcement with this `number` is on disk."""

    number: int


@dataclass(frozen=True)
class Gone:
    """The gateway no longer knows `token`: remove it from `ref`."""

    ref: str
    token: str


@dataclass(frozen=True)
class Probed:
    """What the gateway answered: its HTTP status (0: none) and a text for people."""

    status: int
    text: str


Message = Announce | Probe | Stored | Gone | Probed

_KINDS = {cls.__name__.lower(): cls for cls in (Announce, Probe, Stored, Gone, Probed)}


def encode(message: Message) -> bytes:
    """Return `message` as one line with its newline."""
    kind = type(message).__name__.lower()
    return json.dumps([kind, asdict(message)], separators=(",", ":")).encode() + b"\n"


def decode(line: bytes) -> Message:
    """Parse `line`. Raises `ProtocolError` for anything that `encode` does not write."""
    if len(line) > MAX_LINE:
        raise ProtocolError(f"a line of more than {MAX_LINE} octets")
    try:
        kind, fields = json.loads(line)
        if isinstance(fields.get("tokens"), list):
            fields["tokens"] = tuple(fields["tokens"])
        message: Message = _KINDS[kind](**fields)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise ProtocolError("a line that is no message") from None
    if not _is_sound(message):
        raise ProtocolError(f"a field of the message {kind!r} is out of bounds")
    return message


def _is_sound(message: Message) -> bool:
    match message:
        case Announce(number, ref, tokens):
            return (_is_number(number) and _is_ref(ref) and isinstance(tokens, tuple)
                    and len(tokens) <= MAX_TOKENS and all(map(is_token, tokens)))
        case Probe(ref, token) | Gone(ref, token):
            return _is_ref(ref) and is_token(token)
        case Stored(number):
            return _is_number(number)
        case Probed(status, text):
            return _is_number(status) and isinstance(text, str)


def _is_number(value: object) -> bool:
    return type(value) is int and 0 <= value < 1 << 53


def _is_ref(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= 64 and value.isascii() and value.isalnum()


def is_token(value: object) -> bool:
    """Whether `value` can be a device token: short enough, and text in one piece."""
    return (isinstance(value, str) and 0 < len(value) <= MAX_TOKEN_LENGTH and value.isprintable()
            and " " not in value)
