"""What Dovecot's ``auth_username_format`` makes of an address."""

import re


def keeps_domain(username_format: str, domain: str) -> bool | None:
    """Whether an ``auth_username_format`` leaves an address of `domain` whole.

    None if that depends on a condition that does not name the domain.
    """
    if re.search(r"\bif\b|%\{if;", username_format):
        return True if domain and domain in username_format else None
    return bool(re.search(r"%[A-Z]*[ud](?![a-z])|%\{(user|domain)\}|%\{user\s*\|\s*(lower|domain)",
                          username_format))
