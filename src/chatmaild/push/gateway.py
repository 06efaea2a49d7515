"""The push gateway and its answers.

`httpclient` does the HTTP. It is loaded with the first notification: where nobody's phone rings,
the notifier saves a third of its memory.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from chatmaild.push.httpclient import HttpClient


@dataclass(frozen=True)
class Answer:
    """The result of one notification."""

    status: int
    """The HTTP status; 0 if there was no answer."""
    text: str
    """For people: the reason phrase or what went wrong."""
    retry_after: float = 0.0
    """Seconds that the gateway asks us to wait; 0 if it asks nothing."""

    @property
    def is_done(self) -> bool:
        """Whether the gateway accepted the notification."""
        return self.status == 200

    @property
    def is_gone(self) -> bool:
        """Whether the gateway will never know this token again."""
        return self.status == 410

    @property
    def is_ill(self) -> bool:
        """Whether the gateway itself has a problem, not this token."""
        return not self.status or self.status >= 500 or self.status == 429


class Gateway:
    """The gateway at `url`, which may be replaced at any time.

    It opens a connection for each request under way; the caller limits those.
    """

    def __init__(self, url: str):
        self.url = url
        self._http: "HttpClient | None" = None

    async def notify(self, token: str) -> Answer:
        """Send one notification. Raises nothing: a failed gateway or network is an `Answer` too."""
        if self._http is None:
            try:
                from chatmaild.push.httpclient import HttpClient
            except ImportError:
                return Answer(0, "python3-aiohttp cannot be loaded")
            self._http = HttpClient()
        status, text, retry_after = await self._http.post(self.url, token)
        return Answer(status, text, _seconds(retry_after))

    async def close(self) -> None:
        """Close all connections."""
        if self._http:
            await self._http.close()


def _seconds(retry_after: str) -> float:
    """Parse Retry-After (RFC 9110 section 10.2.3) in seconds; 0 for anything but a number."""
    return float(retry_after[:6]) if retry_after.isascii() and retry_after.isdigit() else 0.0
