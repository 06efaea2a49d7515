"""The ``turn`` metadata value and its time-limited credentials.

The scheme is coturn's ``use-auth-secret`` (draft-uberti-behave-turn-rest-00). The user name is the
time of expiry, the password a keyed hash of it; so we share only a secret with the TURN server.
Clients split the value at its first three colons.
"""

import base64
import hashlib
import hmac


def credentials(secret: bytes, expires: int) -> str:
    """Return ``EXPIRES:PASSWORD`` for a TURN server with this `secret`.

    `expires` is in seconds since the epoch.
    """
    password = hmac.new(secret, str(expires).encode(), hashlib.sha1).digest()
    return f"{expires}:{base64.b64encode(password).decode()}"


def is_credentials(text: str) -> bool:
    """Whether `text`, another program's answer, has the form that `credentials` returns."""
    expires, colon, password = text.partition(":")
    return (expires.isascii() and expires.isdigit() and len(expires) <= 12 and bool(colon)
            and 0 < len(password) <= 256 and password.isascii() and password.isprintable())
