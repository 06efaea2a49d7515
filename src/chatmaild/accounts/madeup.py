"""Makes up what people may have to type: names, passwords, tokens."""

import secrets

_ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"
"""32 characters, none of which is easily taken for another."""


def text(length: int) -> str:
    """Return `length` random characters, of 5 bits each."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))
