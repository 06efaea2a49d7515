"""Does a table of access(5) hold, redirect, copy or drop the mail of chat users?

Tables are asked as smtpd(8) asks them where a client has logged in as a chat user, and elsewhere
where a stranger writes to one.
"""

import ipaddress
from collections.abc import Iterator, Mapping

from chatmaild.admin.check.findings import Finding, failure, warning
from chatmaild.admin.check.postfix import chat_servers
from chatmaild.admin.servers.postconf import PROBE, Postfix, PostfixError, has_patterns
from chatmaild.config.config import Config

_DELIVERED = {
    "BCC": "copies of it go to {}",
    "FILTER": "is given to {} first",
}
_LOST = {
    "DISCARD": "is thrown away without a word",
    "HOLD": "waits until somebody lets it go with postsuper -H",
    "REDIRECT": "goes to {} instead",
}

_STRANGER = ("check_recipient_access",)
_LOGGED_IN = (*_STRANGER, "check_sender_access", "check_sasl_access")


def check(postfix: Postfix, config: Config) -> Iterator[Finding]:
    """Yield a finding for each table that does something to chat mail."""
    submission = chat_servers(postfix, config)
    found: dict[str, Finding] = {}
    for service in postfix.servers():
        for _, word, table in postfix.restrictions(service, service in submission):
            for domain in config.mail_domains:
                words = _LOGGED_IN if service in submission else _STRANGER
                keys = asked(postfix, word, table, dict.fromkeys(words, f"{PROBE}@{domain}"))
                if keys and (finding := _finding(
                        postfix, f"{postfix.directory}/master.cf: {service.name}: {word}", table,
                        keys, domain)):
                    found.setdefault(table, finding)
    yield from found.values()


def effect(postfix: Postfix, answer: str) -> str:
    """Return what the action `answer` does with a message, if that is one of the above; or ""."""
    action, _, argument = answer.strip().partition(" ")
    if action.upper() == "FILTER" and _is_here(postfix, argument.strip()):
        return ""
    return {**_DELIVERED, **_LOST}.get(action.upper(), "").format(argument.strip())


def _finding(postfix: Postfix, place: str, table: str, keys: list[str],
             domain: str) -> Finding | None:
    try:
        answers = postfix.ask_all(table, keys)
    except PostfixError as error:
        return failure("access-table", place, f"cannot be asked, so mail is refused for now: "
                       f"{error}", "repair the table, or take it out")
    key = next((key for key in keys if key in answers), "")
    text = effect(postfix, answers.get(key, ""))
    if not text:
        return None
    lost = answers[key].partition(" ")[0].upper() in _LOST
    return (failure if lost else warning)(
        "diverted", place, f"{table} answers {answers[key]} to {key}: mail of {domain} {text}",
        f"take {key} out of the table, or narrow what matches it")


def asked(postfix: Postfix, word: str, table: str, addresses: Mapping[str, str]) -> list[str]:
    """Return what the table after the restriction `word` is asked about, in order.

    `addresses`: the one that each restriction is about.
    """
    address = addresses.get(word, "")
    if not address or word == "check_sasl_access" or has_patterns(table):
        return [address] if address else []
    domain = address.partition("@")[2]
    return [address, *postfix.domain_keys("smtpd_access_maps", domain)]


def _is_here(postfix: Postfix, destination: str) -> bool:
    """Whether a content filter, ``transport:nexthop``, is a program or a neighbour of this host."""
    transport, _, nexthop = destination.partition(":")
    service = postfix.service(f"{transport}/unix")
    if service is None or service.command not in ("smtp", "lmtp"):
        return service is not None and service.command == "pipe"
    host = (nexthop[1:].partition("]") if nexthop.startswith("[") else nexthop.partition(":"))[0]
    try:
        return ipaddress.ip_address(host.removeprefix("ipv6:")).is_private
    except ValueError:
        return "." not in host
