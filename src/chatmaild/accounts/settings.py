"""The settings in which one account differs from its domain: the file `settings` in its mailbox.

Each line is ``key = value``, with names and values as in chatmaild.ini. dovecot/chatmaild.lua reads
the quota from it too. No client can write it: folders made over IMAP have names with a dot.
"""

import dataclasses
import os
from collections.abc import Mapping
from typing import Any

from chatmaild.accounts.layout import explain
from chatmaild.config.config import DOMAIN_KEYS, DomainConfig
from chatmaild.errors import StoreError

SETTINGS = "settings"

MAX_SIZE = 4096
"""Octets in the file."""

KEYS = ("max_mailbox_size", "max_user_send_per_minute", "max_user_send_burst_size",
        "delete_mails_after", "delete_large_after")
"""The settings that an account can have of its own."""

DAYS = ("delete_mails_after", "delete_large_after")
"""Those that can only be shorter than the domain's: users are promised that nothing stays longer.
"""

Settings = Mapping[str, int]
"""By key: octets for a size, days for `DAYS`."""


def value(key: str, text: str) -> int:
    """Parse the value of `key`, one of `KEYS`, as in chatmaild.ini. Raises `ValueError`."""
    found: int = DOMAIN_KEYS[key].metadata["parse"](text)
    return found


def load(home: str) -> Settings:
    """Read the settings of the account in `home`; usually empty.

    Raises `StoreError` if the file cannot be read or understood.
    """
    return _load(f"{home}/{SETTINGS}", None)


def load_at(mailbox: int, home: str) -> Settings:
    """Like `load`, from the open directory `mailbox`, whose path is `home`."""
    try:
        return _load(SETTINGS, mailbox)
    except StoreError as error:
        raise StoreError(f"{home}/{error}") from None


def _load(path: str, directory: int | None) -> Settings:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK,
                     dir_fd=directory)
        with open(fd, "rb") as file:
            content = file.read(MAX_SIZE + 1)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise explain(path, error) from None
    try:
        return parse(content)
    except ValueError as error:
        raise StoreError(f"{path}: {error}; write it anew with: chatmaild accounts set") from None


def parse(content: bytes) -> Settings:
    """Parse the content of the file. Raises `ValueError` for what `render` does not write."""
    if len(content) > MAX_SIZE:
        raise ValueError(f"larger than {MAX_SIZE} octets")
    found = {}
    for line in content.decode("ascii").splitlines():
        key, equals, text = map(str.strip, line.partition("="))
        if not equals or key not in KEYS:
            raise ValueError(f"{key!r} is not a setting that an account can have of its own")
        try:
            found[key] = value(key, text)
        except ValueError as error:
            raise ValueError(f"{key} = {text}: {error}") from None
    return found


def render(settings: Settings) -> bytes:
    """Return the content of the file."""
    return "".join(f"{key} = {settings[key]}\n" for key in KEYS if key in settings).encode("ascii")


def applied(domain: DomainConfig, settings: Settings) -> DomainConfig:
    """Return the settings of `domain` with those of one account in their place.

    Large messages are never kept longer than the others.
    """
    if not settings:
        return domain
    changes: dict[str, Any] = dict(settings)
    for key in DAYS:
        days = [changes[name] for name in DAYS[:1] + (key,) if name in changes]
        changes[key] = min([getattr(domain, key), *days])
    return dataclasses.replace(domain, **changes)
