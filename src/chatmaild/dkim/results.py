"""Authentication-Results fields (RFC 8601): the only importer of authres."""

import re
from dataclasses import dataclass

import authres  # type: ignore[import]    # comes without types

MAX_OCTETS = 3072
"""Of all fields of a message that are read. What a verifier writes is far shorter, and authres,
which copies what is left for each token, takes a time that grows with the square of the length."""

_BEGINNING = re.compile(rb"[ \t\r\n]*([A-Za-z0-9._-]+)(?:[ \t\r\n]+1)?[ \t\r\n]*;")


@dataclass(frozen=True)
class DkimResult:
    result: str
    """``pass``, ``fail``, ``none``, ``temperror`` and so on, lower case."""
    domain: str | None
    """`header.d`, lower case."""


def authserv_id(value: bytes) -> str:
    """The authserv-id of a field, lower case, where it stands as verifiers write it; else "".

    Comments and quotes around it, which RFC 8601 allows, hide the field of a stranger from
    whatever should remove it.
    """
    match = _BEGINNING.match(value)
    return match[1].decode("ascii").lower() if match else ""


def dkim_results(value: bytes) -> tuple[DkimResult, ...] | None:
    """What a field says of DKIM before it comes to speak of anything else; None if unreadable.

    Results of SPF quote what the client said in HELO and MAIL. rspamd puts it in a comment where
    a parenthesis ends it, so that everything behind may be the client's invention.
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
