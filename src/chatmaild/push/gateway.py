"""Speaks to the push gateway: one HTTP POST for each notification, with the raw token as its body.

The only importer of aiohttp. Connections are kept alive and shared. A request takes at most
`TIMEOUT` seconds in all, however slowly the gateway answers.
"""

from dataclasses import dataclass

import aiohttp

from chatmaild import __version__

TIMEOUT = 30.0
CONNECT_TIMEOUT = 8.0
"""Seconds for a request as a whole, and for a connection to one address of the gateway."""

KEEP_ALIVE = 50.0
"""Seconds for which an idle connection is kept; below the 60 or 75 that web servers keep it."""

MAX_ANSWER = 4096
"""Octets of an answer's body that are read; a longer answer costs its connection."""


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
    """The gateway at `url`. Make it inside a running event loop.

    It opens a connection for each request under way; the caller limits those.
    """

    def __init__(self, url: str):
        self.url = url
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE),
            timeout=aiohttp.ClientTimeout(total=TIMEOUT, sock_connect=CONNECT_TIMEOUT),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": f"chatmaild/{__version__}"},
            auto_decompress=False,
        )

    async def notify(self, token: str) -> Answer:
        """Send one notification. Raises nothing: a failed gateway or network is an `Answer` too."""
        try:
            async with self._session.post(
                self.url, data=token.encode(), allow_redirects=False,
                headers={"Content-Type": "text/plain; charset=utf-8"},
            ) as response:
                await response.content.read(MAX_ANSWER)
                retry_after = _seconds(response.headers.get("Retry-After", ""))
                return Answer(response.status, (response.reason or "")[:200], retry_after)
        except TimeoutError:
            return Answer(0, "no answer in time")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return Answer(0, _explain(error))

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()


def _explain(error: Exception) -> str:
    """Describe an error, without anything that was sent."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return "its certificate is not valid for this name"
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"cannot connect: {error.os_error.strerror or error.os_error}"
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "it closed the connection without an answer"
    return f"connection failed ({type(error).__name__})"


def _seconds(retry_after: str) -> float:
    """Parse Retry-After (RFC 9110 section 10.2.3) in seconds; 0 for anything but a number."""
    return float(retry_after[:6]) if retry_after.isascii() and retry_after.isdigit() else 0.0
