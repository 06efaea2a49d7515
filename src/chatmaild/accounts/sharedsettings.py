"""What all hosts of a chat domain should have alike: each tells the directory its settings.

Of files only a digest is told, which takes the name of the host and long to calculate: nobody gets
at a secret by it.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from chatmaild.config.config import DOMAIN_KEYS, Config

Told = dict[str, dict[str, str]]
"""Values as text, by key, of each chat domain; of the host they are those of ""."""

_OF_THE_HOST = ("mail_domains", "recipient_delimiter", "push_gateway", "incoming_authenticity",
                "dkim_min_rsa_bits")
_FILES = ("turn_secret_file", "app_versions_file")
_OF_ONE_HOST = ("turn_socket",)
"""A key of a chat domain that says nothing about others."""

_MAX_SIZE = 65_536
_ROUNDS = 100_000


def of(config: Config, node: str) -> Told:
    """Return what the host `node` would tell if it had these settings."""
    told = {"": {key: _text(getattr(config, key)) for key in _OF_THE_HOST}}
    for name, domain in config.domains.items():
        told[name] = {key: _text(getattr(domain, key)) for key in DOMAIN_KEYS
                      if key not in (*_FILES, *_OF_ONE_HOST)}
        for key in _FILES:
            path: Path | None = getattr(domain, key)
            told[name][key] = _digest(path, f"{node} {name} {key}") if path else ""
    return told


def differences(here: Told, there: Told) -> Iterator[str]:
    """Yield what differs, as text; nothing of what only one of them knows, as another release."""
    for section in sorted(here.keys() & there.keys()):
        for key in sorted(here[section].keys() & there[section].keys()):
            ours, theirs = here[section][key], there[section][key]
            if ours != theirs:
                name = f"{key} of {section}" if section else key
                yield (f"what {name} names" if key in _FILES else
                       f"{name} ({ours or 'empty'} here, {theirs or 'empty'} there)")


def _text(value: Any) -> str:
    if isinstance(value, frozenset | tuple):
        return " ".join(sorted(value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else str(value)


def _digest(path: Path, salt: str) -> str:
    """Return a digest of the file's content; "" if clients get nothing of it."""
    try:
        with open(path, "rb") as file:
            content = file.read(_MAX_SIZE).strip()
    except OSError:
        return ""
    return hashlib.pbkdf2_hmac("sha256", content, salt.encode(), _ROUNDS, 16).hex()
