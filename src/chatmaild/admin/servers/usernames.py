"""Predicts the effect of Dovecot's ``auth_username_format`` on an address."""

import re

_LOCAL_PART = r"%\{user\s*(?:\|\s*lower\s*)?\|\s*username[^}]*\}"
_DOMAIN = (r"%\{user\s*\|\s*domain\s*(?:\|\s*lower\s*)?\|\s*if\(\s*['\"]eq['\"]\s*,\s*"
           r"['\"]([^'\"]+)['\"]\s*,\s*['\"]@\1['\"]\s*,\s*['\"]{2}\s*\)\s*\}")


def may_take_domains(username_format: str) -> bool:
    """Whether a condition of Dovecot 2.4 that adds the domain may follow `username_format`.

    It may if the format is the local part, followed only by such conditions for other domains.
    """
    rest = re.sub(_DOMAIN, "", username_format)
    return re.fullmatch(_LOCAL_PART, rest.strip()) is not None


def keeps_domain(username_format: str, domain: str) -> bool | None:
    """Whether an ``auth_username_format`` leaves an address of `domain` whole.

    None if that depends on a condition without the domain's name.
    """
    if re.search(r"\bif\b|%\{if;", username_format):
        return True if domain and domain in username_format else None
    return bool(re.search(r"%[A-Z]*[ud](?![a-z])|%\{domain\}", username_format)) or any(
        filters <= _KEEPING
        for filters in map(_filters, re.findall(r"%\{\s*user\b([^%}]*)\}", username_format)))


_KEEPING = frozenset(("domain", "lower", "upper"))
"""The filters of Dovecot 2.4 that take no domain off."""


def _filters(text: str) -> frozenset[str]:
    return frozenset(word.strip() for word in text.split("|") if word.strip())
