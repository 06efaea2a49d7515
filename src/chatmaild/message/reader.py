"""Tells what a message is (`Content`), from its headers, then from its body as it streams.

    reader = MessageReader(headers, options)    # reader.content may be known already
    reader.feed(chunk); ...
    content = reader.finish()

The answer depends on the octets alone, never on where the chunks were cut. A message takes a few
KB of memory, whatever its size.
"""

import enum
from dataclasses import dataclass

from chatmaild.message import autocryptsetup, mediatype, packets, pgpmime, securejoin
from chatmaild.message.refusal import Refusal

MAX_TOLERATED = 4096
"""Octets in the Content-Type of encrypted incoming mail, white space included."""

Headers = list[tuple[str, bytes]]
"""Names and values in the order of the message. Values may be folded, and come without their
final line end."""


def lower_names(headers: Headers) -> Headers:
    """The same headers with names in lower case, as `MessageReader` wants them."""
    return [(name.lower(), value) for name, value in headers]


class ContentKind(enum.Enum):
    """What a message is, as far as the policies care."""

    ENCRYPTED = "encrypted"
    SECUREJOIN = "securejoin"
    SETUP = "autocrypt-setup"
    REPORT = "report"
    """Of type multipart/report; the body is not read."""
    CLEARTEXT = "cleartext"
    """Anything else, well-formed or not."""


@dataclass(frozen=True)
class Content:
    """`reason` is a code that says why it is cleartext. `offset` is the place in the body; None
    for a fault in the headers, or if no place is to blame."""

    kind: ContentKind
    reason: str = ""
    offset: int | None = None


@dataclass(frozen=True)
class ReaderOptions:
    """`tolerant` admits what programs other than chat clients write (incoming mail). `setup`
    admits an Autocrypt Setup Message."""

    tolerant: bool = False
    setup: bool = False
    max_session_keys: int = packets.MAX_SESSION_KEYS


class MessageReader:
    """Reads one message. `content` is None until the answer is known.

    Faults of the message raise nothing: they make it cleartext.
    """

    def __init__(self, headers: Headers, options: ReaderOptions = ReaderOptions()):
        self.content: Content | None = None
        self.packets = packets.PacketReader(options.max_session_keys, marker=options.tolerant)
        self.announced = ContentKind.CLEARTEXT
        """What the message is according to its headers."""
        self._body: (pgpmime.PgpMimeReader | securejoin.SecurejoinReader
                     | autocryptsetup.SetupReader | None) = None
        try:
            self._begin(headers, options)
        except Refusal as refusal:
            self.content = Content(ContentKind.CLEARTEXT, refusal.reason)

    def _begin(self, headers: Headers, options: ReaderOptions) -> None:
        value = _single(headers, "content-type")
        if options.tolerant:
            media_type = mediatype.parse(value, MAX_TOLERATED, MAX_TOLERATED)
        else:
            media_type = mediatype.parse(value)
        encoding = _single(headers, "content-transfer-encoding", b"").decode("latin-1").lower()
        if media_type.name == "multipart/encrypted":
            _check_encrypted(media_type, encoding, options.tolerant)
            self.announced = ContentKind.ENCRYPTED
            self._body = pgpmime.PgpMimeReader(
                mediatype.boundary(media_type), options.tolerant, self.packets)
            return
        if media_type.blanks > mediatype.MAX_BLANKS:    # only encrypted mail may have more
            raise Refusal("content-type-blanks")
        if media_type.name == "multipart/mixed" and options.setup and autocryptsetup.is_announced(
                headers):
            self.announced = ContentKind.SETUP
            self._body = autocryptsetup.SetupReader(media_type)
            return
        step = securejoin.step(headers)
        if media_type.name in ("text/plain", "multipart/mixed") and step:
            self.announced = ContentKind.SECUREJOIN
            self._body = securejoin.SecurejoinReader(step, media_type, encoding)
        elif media_type.name == "multipart/report":
            self.content = Content(ContentKind.REPORT)
        else:
            raise Refusal("not-encrypted")

    def feed(self, chunk: bytes) -> None:
        """The next octets of the body, with CRLF line ends."""
        if self._body:
            try:
                self._body.feed(chunk)
            except Refusal as refusal:
                self._refuse(refusal)

    def finish(self) -> Content:
        """The body is over. Returns what the message is."""
        if self._body:
            try:
                self._body.finish()
                self.content = Content(self.announced)
            except Refusal as refusal:
                self._refuse(refusal)
        assert self.content
        return self.content

    def _refuse(self, refusal: Refusal) -> None:
        self.content = Content(ContentKind.CLEARTEXT, refusal.reason, refusal.offset)
        self._body = None


def _check_encrypted(media_type: mediatype.MediaType, encoding: str, tolerant: bool) -> None:
    if not tolerant:
        mediatype.check_parameters(media_type, ("protocol", "boundary", "charset"), "content-type")
    if media_type.parameters.get("protocol", b"").lower() != b"application/pgp-encrypted":
        raise Refusal("protocol")
    if encoding not in ("", "7bit", "8bit") and not (tolerant and encoding == "binary"):
        raise Refusal("transfer-encoding")


def _single(headers: Headers, name: str, default: bytes | None = None) -> bytes:
    """The stripped value of a header that must not repeat. Raises `Refusal`; also without the
    header, if there is no `default`."""
    values = [value for key, value in headers if key == name]
    if len(values) > 1:
        raise Refusal(f"{name}-twice")
    if values:
        return values[0].strip()
    if default is None:
        raise Refusal("not-encrypted")
    return default
