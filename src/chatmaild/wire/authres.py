"""Authentication-Results fields (RFC 8601): the only importer of authres."""

from dataclasses import dataclass

import authres

MAX_FIELD = 16384
"""Octets; a verifier's own field is far shorter."""


@dataclass(frozen=True)
class DkimResult:
    result: str
    """``pass``, ``fail``, ``none``, ``temperror`` and so on, lower case."""
    domain: str | None
    """`header.d`, lower case."""


def parse(value: bytes) -> tuple[str, tuple[DkimResult, ...]] | None:
    """The authserv-id of a field and what it says of DKIM; None for what is no such field."""
    if len(value) > MAX_FIELD:
        return None
    text = value.decode("utf-8", "replace")
    try:
        header = authres.AuthenticationResultsHeader.parse(f"Authentication-Results: {text}")
    except (authres.AuthResError, RecursionError):
        return None
    found = []
    for result in header.results or ():
        if result.method.lower() == "dkim":
            domains = {
                item.value.lower() for item in result.properties
                if (item.type.lower(), item.name.lower()) == ("header", "d")
            }
            found.append(DkimResult(result.result.lower(),
                                    domains.pop() if len(domains) == 1 else None))
    return header.authserv_id, tuple(found)
