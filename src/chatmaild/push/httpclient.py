"""HTTP to the push gateway: one POST for each notification, with the raw token as its body.

The only importer of aiohttp. Connections are kept alive and shared. A request takes at most
`TIMEOUT` seconds in all, however slowly the gateway answers.
"""

import aiohttp

from chatmaild import __version__

TIMEOUT = 30.0
CONNECT_TIMEOUT = 8.0
"""Seconds for a request as a whole, and for a connection to one address of the gateway."""

KEEP_ALIVE = 50.0
"""Seconds for which an idle connection is kept; below the 60 or 75 that web servers keep it."""

MAX_ANSWER = 4096
"""Octets of an answer's body that are read; a longer answer costs its connection."""


class HttpClient:
    """Make it inside a running event loop. It opens a connection for each request under way; the
    caller limits those."""

    def __init__(self) -> None:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE),
            timeout=aiohttp.ClientTimeout(total=TIMEOUT, sock_connect=CONNECT_TIMEOUT),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": f"chatmaild/{__version__}"},
            auto_decompress=False,
        )

    async def post(self, url: str, token: str) -> tuple[int, str, str]:
        """Send one notification. Returns the HTTP status, what it says for people, and Retry-After;
        status 0 if there was no answer. Raises nothing."""
        try:
            async with self._session.post(
                url, data=token.encode(), allow_redirects=False,
                headers={"Content-Type": "text/plain; charset=utf-8"},
            ) as response:
                await response.content.read(MAX_ANSWER)
                return (response.status, (response.reason or "")[:200],
                        response.headers.get("Retry-After", ""))
        except TimeoutError:
            return 0, "no answer in time", ""
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return 0, _explain(error), ""

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
