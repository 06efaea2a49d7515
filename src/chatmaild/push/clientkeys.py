"""Answers clients that read a chat domain's keys by IMAP METADATA; the admin sets the values.

/shared/comment and /shared/admin are not here: Dovecot itself answers them, from the fields of the
Lua userdb.

A key that is not configured, or whose file cannot be used, does not exist for clients. They do
without it; a failure would cost them all the other keys they asked for.
"""

import asyncio
import json
import logging
import os
import time
from collections.abc import Awaitable
from pathlib import Path

from chatmaild.config.config import DomainConfig
from chatmaild.daemon import owners
from chatmaild.push import turn

TURN_LIFETIME = 5 * 86_400
"""Seconds for which TURN credentials are good; clients ask again 12 hours before the end."""

TURN_TIMEOUT = 2.0
"""Seconds to wait for an answer on turn_socket."""

MAX_FILE_SIZE = 65_536
"""Octets of turn_secret_file and app_versions_file."""

_VENDOR = b"vendor/deltachat/"

log = logging.getLogger(__name__)


class ClientKeys:
    """The keys of one domain. Reads the files that its configuration names at once."""

    def __init__(self, domain: DomainConfig):
        self._domain = domain
        self._turn_secret = self._read("turn_secret_file", domain.turn_secret_file)
        self._values = {
            _VENDOR + b"maxsmtprecipients": domain.max_smtp_recipients,
            _VENDOR + b"irohrelay": domain.iroh_relay,
            _VENDOR + b"appversions": self._read_json("app_versions_file",
                                                      domain.app_versions_file),
        }

    def value(self, key: bytes) -> bytes | None | Awaitable[bytes | None]:
        """Return the value of `key` (the part after ``/shared/``); None if it does not exist."""
        if key == _VENDOR + b"turn" and self._domain.turn_server:
            if self._domain.turn_socket:
                return self._ask(self._domain.turn_socket)
            if self._turn_secret:
                return self._turn(turn.credentials(self._turn_secret,
                                                   int(time.time()) + TURN_LIFETIME))
        value = self._values.get(key)
        return None if value is None else str(value).encode()

    def _turn(self, credentials: str) -> bytes:
        return f"{self._domain.turn_server}:{credentials}".encode()

    async def _ask(self, path: Path) -> bytes | None:
        """Ask another program for credentials: it writes one line to whoever connects."""
        try:
            async with asyncio.timeout(TURN_TIMEOUT):
                reader, writer = await asyncio.open_unix_connection(path, limit=1024)
                try:
                    line = await reader.readline()
                finally:
                    writer.close()
        except TimeoutError:
            reason = f"no answer within {TURN_TIMEOUT:g} s"
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "the answer is too long"
        else:
            credentials = line.decode("ascii", "replace").strip()
            if turn.is_credentials(credentials):
                return self._turn(credentials)
            reason = "its answer is not EXPIRES:PASSWORD"
        log.warning("turn_socket %s: %s; clients do without the TURN server", path, reason)
        return None

    def _read(self, key: str, path: Path | None) -> bytes | None:
        if path is None:
            return None
        try:
            with open(path, "rb") as file:
                content = file.read(MAX_FILE_SIZE + 1).strip()
        except OSError as error:
            self._complain(key, path, f"{error.strerror} for user "
                           f"{owners.user_name(os.geteuid())}")
            return None
        if not content or len(content) > MAX_FILE_SIZE:
            self._complain(key, path, f"it is empty, or larger than {MAX_FILE_SIZE} bytes")
            return None
        return content

    def _read_json(self, key: str, path: Path | None) -> str | None:
        content = self._read(key, path)
        if path is None or content is None:
            return None
        try:
            return json.dumps(json.loads(content), separators=(",", ":"))
        except (ValueError, RecursionError):
            self._complain(key, path, "it is not JSON")
            return None

    def _complain(self, key: str, path: Path, reason: str) -> None:
        log.error("%s of %s: %s: %s; clients do not see this key until the file is repaired and "
                  "chatmaild-metadata reloaded", key, self._domain.name, path, reason)
