"""Authentication-Results fields (RFC 8601): the only importer of authres."""

import re
from dataclasses import dataclass

import authres  # type: ignore[import]    # comes without types

MAX_OCTETS = 3072
"""Octets read of all these fields of a message together. Real verifiers write far less. authres
copies the rest of the text at each token, so its time grows with the square of the length."""

_BEGINNING = re.compile(rb"[ \t\r\n]*([A-Za-z0-9._-]+)(?:[ \t\r\n]+1)?[ \t\r\n]*;")


@dataclass(frozen=True)
class DkimResult:
    """One result of the method ``dkim`` (RFC 8601 section 2.7.1)."""

    result: str
    """``pass``, ``fail``, ``none``, ``temperror`` and so on, lower case."""
    domain: str | None
    """`header.d`, lower case; None unless there is exactly one."""


def authserv_id(value: bytes) -> str:
    """The authserv-id of a field, lower case; "" unless it is written plainly, as verifiers do.

    RFC 8601 also allows comments and quotes around it. A stranger could use them to hide a forged
    field from the programs that should remove it.
    """
    match = _BEGINNING.match(value)
    return match[1].decode("ascii").lower() if match else ""


def dkim_results(value: bytes) -> tuple[DkimResult, ...] | None:
    """The results of DKIM at the beginning of a field, before any other method; None if the field
    cannot be read.

    Results of SPF quote what the client said in HELO and MAIL. rspamd puts it into a comment,
    which a parenthesis ends, so all that follows may be the client's invention.
    """
    if len(value) > MAX_OCTETS:
        return None
    text = value.decode("utf-8", "replace")
    try:
        header = authres.AuthenticationResultsHeader.parse(f"Authentication-Results: {text}")
    except (authres.AuthResError, RecursionError):
        return None
    found = []
    for result in header.results or ():
        if result.method.lower() != "dkim":
            break
        domains = {
            item.value.lower() for item in result.properties
            if (item.type.lower(), item.name.lower()) == ("header", "d")
        }
        found.append(DkimResult(result.result.lower(),
                                domains.pop() if len(domains) == 1 else None))
    return tuple(found)
