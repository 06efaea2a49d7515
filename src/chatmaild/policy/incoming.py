"""Incoming mail for chat users: encrypted, or not at all."""

from chatmaild.config import Config
from chatmaild.policy import verdict
from chatmaild.policy.verdict import Verdict
from chatmaild.wire.message import Headers, Kind, Limits, MessageReader, lower_names


class Incoming:
    """The rules for one message that is not from a chat user.

    It sees every recipient; `wanted` says after the last of them whether one is a chat user, so
    that headers and body have to be seen.
    """

    def __init__(self, config: Config):
        self._config = config
        self.wanted = False
        self.reader: MessageReader | None = None

    def recipient(self, path: str) -> Verdict | None:
        if self._config.domain_of(path.strip("<> ")):
            self.wanted = True
        return None

    def headers(self, headers: Headers) -> Verdict | None:
        self.reader = MessageReader(lower_names(headers), Limits(tolerant=True))
        return self._refused_content()

    def body(self, chunk: bytes) -> None:
        self.reader.feed(chunk)

    def finish(self) -> Verdict:
        content = self.reader.finish()
        return self._refused_content() or Verdict(content.kind.value)

    def _refused_content(self) -> Verdict | None:
        content = self.reader.content
        if content is None or content.kind in (Kind.ENCRYPTED, Kind.SECUREJOIN):
            return None
        return Verdict(content.reason or content.kind.value, verdict.UNENCRYPTED,
                       offset=content.offset)
