"""Mail addresses as they stand in an envelope or in an account's name.

Source: RFC 5321 section 4.1.2 (Mailbox), with the limits of section 4.5.3.1.
"""

import re

MAX_LOCAL_PART = 64
"""Octets in a local part, RFC 5321 section 4.5.3.1.1."""

MAX_DOMAIN = 253
"""Octets in a domain name without the final dot, RFC 1035 section 2.3.4."""

_DOMAIN = re.compile(rb"(?!-)[a-z0-9_-]{1,63}(?<!-)(?:\.(?!-)[a-z0-9_-]{1,63}(?<!-))*\Z", re.I)


def is_domain(name: bytes) -> bool:
    """Whether `name` is a domain name in letters, digits, hyphens (and underscores)."""
    return len(name) <= MAX_DOMAIN and _DOMAIN.match(name) is not None
