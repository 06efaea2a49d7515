"""Lets each chat login own its address, on hosts where senders must own theirs."""

from collections.abc import Iterator

from chatmaild.admin.servers.postconf import PROBE, Postfix, Service
from chatmaild.admin.wiring import rewriting
from chatmaild.admin.wiring.changes import Changes
from chatmaild.admin.wiring.steps import Step
from chatmaild.config.config import Config

OWNERS = "smtpd_sender_login_maps"

_KNOWN = "reject_known_sender_login_mismatch"
"""Lets senders pass whom the tables do not know."""
_STRICT = frozenset(
    ("reject_sender_login_mismatch", "reject_authenticated_sender_login_mismatch", _KNOWN))


def refused_by(postfix: Postfix, service: Service, domain: str) -> list[str]:
    """Return the restrictions by which `service` lets no chat user send under their address.

    Postfix asks all tables for the address before it asks any for the domain, and the first answer
    counts. Raises `PostfixError` for a table that cannot be read.
    """
    used = _STRICT & {restriction.word for restriction in postfix.restrictions(service)}
    if not used:
        return []
    sender = f"{PROBE}@{domain}"
    owners = next((answer for key in (sender, f"@{domain}")
                   if (answer := postfix.look_up(OWNERS, key, service))), "")
    if sender in owners.replace(",", " ").split():
        return []
    return sorted(used if owners else used - {_KNOWN})


def plan(changes: Changes, config: Config, submission: list[Service]) -> Iterator[Step]:
    """Plan the table. Raises `PostfixError` for one of the host's that cannot be read."""
    host = changes.host
    why, codes = "each chat address belongs to its own login", ("sender-login",)
    for service in submission:
        if not any(refused_by(host.postfix, service, domain) for domain in config.mail_domains):
            continue
        yield from changes.parameter("chat_login_maps", rewriting.unchanged(config.mail_domains),
                                     why, codes)
        own = host.raw(OWNERS, service.name)
        value = ", ".join(["$chat_login_maps", *([own] if own else [])])
        if OWNERS in host.options.get(service.name, {}):
            yield from changes.option(service.name, OWNERS, value, why, codes)
        else:
            yield from changes.parameter(OWNERS, value, why, codes)
