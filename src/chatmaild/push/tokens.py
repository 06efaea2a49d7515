"""The device tokens of the accounts: one small file per account, in a directory of its own (0700).

DIRECTORY/REF.json holds ``{"tokens": {TOKEN: SECONDS_SINCE_THE_EPOCH_WHEN_LAST_SET}}``.
REF is a keyed hash of the address. So the notifier can name an account without knowing its address,
and cannot find it by trying addresses. The key is in DIRECTORY/.key; without it the files are
useless, and the devices set their tokens anew.
A corrupt file is set aside under another name and reported. The account then has no tokens until
its devices connect, and so set them again.

All calls block; a change waits for the disk.
"""

import contextlib
import hmac
import json
import logging
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from chatmaild.disk import atomic
from chatmaild.disk.directories import is_there
from chatmaild.errors import StoreError
from chatmaild.push.protocol import MAX_TOKENS, is_token

LIFETIME = 90 * 86_400
"""Seconds for which a token counts after it was last set."""

SETTLED = 86_400
"""Seconds within which the repetition of a token is not written again."""

MAX_FILE_SIZE = 1 << 20
"""Octets; what we write is half of that at most."""

MAX_AHEAD = 60
"""Seconds by which a token's time may lie in the future (another clock) and still count."""

RELAY_FILE = "metadata.json"
"""Where a chatmail relay keeps the tokens, in the mailbox."""

KEY = ".key"
KEY_SIZE = 32
"""Octets of a random key."""

log = logging.getLogger(__name__)


class DeviceTokens:
    """The tokens of all accounts. `now` is in seconds since the epoch throughout."""

    def __init__(self, directory: Path):
        self._directory = os.fspath(directory)
        self._key = b""

    def ref(self, address: str) -> str:
        """Return the name of the account `address` in file names and for the notifier.

        Makes the key if there is none yet. Raises `StoreError`.
        """
        try:
            self._key = self._key or self._read_key() or self._make_key()
        except OSError as error:
            raise StoreError(f"{self._directory}/{KEY}: {error.strerror}") from None
        return _keyed(self._key, address)

    def _read_key(self) -> bytes:
        """Return the key; empty if there is no usable one."""
        try:
            key = _read_file(f"{self._directory}/{KEY}")
        except FileNotFoundError:
            return b""
        return key if len(key) == KEY_SIZE else b""

    def _make_key(self) -> bytes:
        with atomic.locked(self._directory):
            key = self._read_key()
            if not key:
                key = os.urandom(KEY_SIZE)
                atomic.write_file(f"{self._directory}/{KEY}", key)
        return key

    def prepare(self) -> None:
        """Make the directory if it is missing. Raises `StoreError` if it cannot be used."""
        try:
            with contextlib.suppress(FileExistsError):
                os.mkdir(self._directory, 0o700)
            if os.stat(self._directory).st_mode & 0o077:
                os.chmod(self._directory, 0o700)
            with atomic.locked(self._directory):
                pass
        except OSError as error:
            raise StoreError(f"{self._directory}: {error.strerror}; it must be a directory of the "
                             "user that chatmaild-metadata runs as, mode 0700") from None

    def current(self, account: str, now: float) -> tuple[str, ...]:
        """Return the valid tokens of the account with this `ref`, the one set last first."""
        tokens = _valid(self._read(account), now)
        return tuple(sorted(tokens, key=tokens.__getitem__, reverse=True))

    def add(self, account: str, token: str, now: float) -> None:
        """Store `token`, durably. Beyond `MAX_TOKENS` the oldest ones go. Raises `StoreError`."""
        known = self._read(account)
        if len(known) <= MAX_TOKENS and 0 <= now - known.get(token, 0) < SETTLED:
            return
        with self._changed(account) as tokens:
            tokens[token] = int(now)
            _trim(tokens, now)

    def remove(self, account: str, token: str) -> None:
        """Forget `token`. Raises `StoreError`."""
        with self._changed(account) as tokens:
            tokens.pop(token, None)

    def clear(self, account: str) -> None:
        """Forget all tokens of the account. Raises `StoreError`."""
        with self._changed(account) as tokens:
            tokens.clear()

    def as_relay_file(self, address: str, now: float) -> bytes:
        """Return the valid tokens of `address` as `take_over` reads them. Raises `StoreError`."""
        tokens = _valid(self._read(self.ref(address)), now)
        return json.dumps({"devicetoken": tokens}).encode()

    @staticmethod
    def is_from_relay(mailbox: str) -> bool:
        """Whether `take_over` has something to do in the directory `mailbox`."""
        try:
            return is_there(f"{mailbox}/{RELAY_FILE}")
        except OSError:
            return True     # `take_over` says what is wrong

    def take_over(self, account: str, mailbox: str, now: float) -> int:
        """Import the tokens that a chatmail relay left in the directory `mailbox`, if any.

        Removes the relay's file. Returns the number of tokens. Raises `StoreError`.
        """
        path = f"{mailbox}/{RELAY_FILE}"
        try:
            found = _parse_relay(_read_file(path), now)
        except FileNotFoundError:
            return 0
        except ValueError as error:
            log.error("a chatmail relay's %s cannot be read (%s): kept as %s in its mailbox",
                      RELAY_FILE, error, os.path.basename(_set_aside(path)))
            return 0
        except OSError as error:
            raise StoreError(f"{RELAY_FILE} in a mailbox: {error.strerror}") from None
        with self._changed(account) as tokens:
            tokens.update({token: when for token, when in found.items() if token not in tokens})
            _trim(tokens, now)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        return len(found)

    def expire(self, now: float) -> int:
        """Remove the files whose tokens have all expired; returns how many. Raises `StoreError`."""
        removed = 0
        try:
            with os.scandir(self._directory) as entries:
                for entry in entries:
                    if entry.name == KEY:
                        continue
                    with contextlib.suppress(FileNotFoundError):
                        if entry.stat(follow_symlinks=False).st_mtime < now - LIFETIME - SETTLED:
                            os.unlink(entry.path)
                            removed += 1
        except OSError as error:
            raise StoreError(f"{self._directory}: {error.strerror}") from None
        return removed

    def forget(self, address: str) -> None:
        """Delete the tokens of the deleted account `address`. Raises `StoreError`."""
        path = self._directory
        try:
            if key := self._key or self._read_key():
                path = self._path(_keyed(key, address))
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path)
        except OSError as error:
            raise StoreError(f"{path}: {error.strerror}; the push tokens of a deleted account stay "
                             "there: remove this file") from None

    def _path(self, account: str) -> str:
        return f"{self._directory}/{account}.json"

    def _read(self, account: str) -> dict[str, int]:
        path = self._path(account)
        try:
            return _parse(_read_file(path))
        except FileNotFoundError:
            return {}
        except ValueError as error:
            log.error("%s cannot be read (%s): kept as %s; the devices of this account ring again "
                      "after they have connected once", path, error, _set_aside(path))
            return {}
        except OSError as error:
            raise StoreError(f"{path}: {error.strerror}") from None

    @contextlib.contextmanager
    def _changed(self, account: str) -> Iterator[dict[str, int]]:
        """Yield the tokens for changes, then write them if they differ. Raises `StoreError`."""
        path = self._path(account)
        try:
            with atomic.locked(self._directory):
                before = self._read(account)
                after = dict(before)
                yield after
                if after == before:
                    return
                atomic.write_file(path, json.dumps({"tokens": after}).encode())
        except OSError as error:
            raise StoreError(f"{path}: {error.strerror}") from None


def _keyed(key: bytes, address: str) -> str:
    return hmac.digest(key, address.encode(), "sha256").hex()[:32]


def _valid(tokens: Mapping[str, int], now: float) -> dict[str, int]:
    return {token: when for token, when in tokens.items()
            if now - LIFETIME < when < now + MAX_AHEAD}


def _trim(tokens: dict[str, int], now: float) -> None:
    """Keep only valid ones, and of these the `MAX_TOKENS` that were set last."""
    valid = _valid(tokens, now)
    newest = sorted(valid, key=valid.__getitem__, reverse=True)[:MAX_TOKENS]
    for token in tokens.keys() - set(newest):
        del tokens[token]


def _read_file(path: str) -> bytes:
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    with open(os.open(path, flags), "rb") as file:
        content = file.read(MAX_FILE_SIZE + 1)
    if len(content) > MAX_FILE_SIZE:
        raise ValueError(f"larger than {MAX_FILE_SIZE} octets")
    return content


def _parse(content: bytes) -> dict[str, int]:
    """Parse the tokens in a file of ours. Raises ValueError."""
    found = _json_object(content).get("tokens")
    if not isinstance(found, dict) or not all(
        is_token(token) and type(when) is int for token, when in found.items()
    ):
        raise ValueError("no table of tokens")
    return found


def _parse_relay(content: bytes, now: float) -> dict[str, int]:
    """Parse the tokens in a relay's file; older relays wrote a list, without times."""
    found = _json_object(content).get("devicetoken", {})
    if isinstance(found, list):
        found = dict.fromkeys(found, int(now)) if all(map(is_token, found)) else None
    if not isinstance(found, dict) or not all(
        isinstance(when, (int, float)) for when in found.values()
    ):
        raise ValueError("no table of tokens")
    return _valid({token: int(when) for token, when in found.items() if is_token(token)}, now)


def _json_object(content: bytes) -> dict[str, Any]:
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        raise ValueError("not JSON") from None
    if not isinstance(value, dict):
        raise ValueError("no JSON object")
    return value


def _set_aside(path: str) -> str:
    """Move a corrupt file out of the way; returns its new path."""
    aside = f"{path}.corrupt-{os.urandom(4).hex()}"
    with contextlib.suppress(FileNotFoundError):
        os.rename(path, aside)
    return aside
