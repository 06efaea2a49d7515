"""The ``turn`` metadata value and its time-limited credentials.

The scheme is coturn's ``use-auth-secret`` (draft-uberti-behave-turn-rest-00): the user name is
the time of expiry, the password a keyed hash of it, so that this side and the TURN server need
only share a secret. Clients split the value at its first three colons.
"""

import base64
import hashlib
import hmac


def credentials(secret: bytes, expires: int) -> str:
    """``EXPIRES:PASSWORD`` for a TURN server that knows `secret`; `expires` is in epoch seconds."""
    password = hmac.new(secret, str(expires).encode(), hashlib.sha1).digest()
    return f"{expires}:{base64.b64encode(password).decode()}"


def is_credentials(text: str) -> bool:
    """Whether `text`, the answer of another program, has the form that `credentials` makes."""
    expires, colon, password = text.partition(":")
    return (expires.isascii() and expires.isdigit() and len(expires) <= 12 and bool(colon)
            and 0 < len(password) <= 256 and password.isascii() and password.isprintable())
