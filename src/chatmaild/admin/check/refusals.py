"""Do the host's own restrictions refuse chat mail, whoever writes it?

The lists are walked as smtpd(8) does, see SMTPD_ACCESS_README, for a stranger who writes to a chat
user and for a chat user who has logged in. What may let some client pass ends a list, so that only
what is certain is told.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby

from chatmaild.admin.check import diversions, trust
from chatmaild.admin.check.findings import Finding, failure
from chatmaild.admin.check.postfix import chat_servers
from chatmaild.admin.servers.postconf import (
    PROBE, RESTRICTIONS, Postfix, PostfixError, Restriction, Service,
)
from chatmaild.config.config import Config

REFUSAL = re.compile(r"(?:[45][0-9]{2}\s+\S|(?:DEFER|DEFER_IF_PERMIT|REJECT)(?:\s|$))",
                     re.IGNORECASE)
"""The actions of access(5) that refuse a message, or put it off; digits alone let it pass."""

_PASSES = re.compile(r"(?:DUNNO|WARN|INFO|PREPEND|BCC|FILTER|HOLD|REDIRECT|DEFER_IF_REJECT)"
                     r"(?:\s|$)", re.IGNORECASE)
_ENDS = ("reject", "defer", "defer_if_permit")
_RELAYING = ("reject_unauth_destination", "defer_unauth_destination")
_GOES_ON = re.compile(r"reject_.*|defer_if_reject|defer_unauth_destination|permit_inet_interfaces"
                      r"|sleep")
_HAS_ARGUMENT = re.compile(r"check_|reject_rbl_|reject_rhsbl_|sleep$")
_FILE = re.compile(r"(?:proxy:)?(?:hash|btree|lmdb|cdb|dbm|sdbm|texthash|inline|regexp|pcre|static)"
                   r":")
"""Tables that an admin writes; a database may know accounts, but not the one that nobody has."""

_FOREIGN = f"{PROBE}@{PROBE}.{PROBE}"
"""Only what matches every domain matches this one; example.com stands in many a list."""


@dataclass(frozen=True)
class Mail:
    """A message of which it is asked whether anything refuses it."""

    name: str
    addresses: Mapping[str, str]
    """The address that each restriction is about; "" for one that does nothing here."""
    cure: str
    """What to put before a restriction that refuses it."""
    logged_in: bool = False
    goes_out: bool = False


def check(postfix: Postfix, config: Config) -> Iterator[Finding]:
    """Yield a failure where each service refuses mail to chat users, and where each theirs."""
    outside = [service for service in postfix.servers() if service.is_port_25]
    users = [service for service in chat_servers(postfix, config) if not service.is_port_25]
    for services, kinds in ((outside, _from_outside), (users, _from_users)):
        open_to_others = [service for service in services if not service.is_loopback]
        findings = (_everywhere(postfix, open_to_others, mail)
                    for domain in config.mail_domains for mail in kinds(domain))
        yield from (finding for finding in [next(filter(None, findings), None)] if finding)


def _from_outside(domain: str) -> list[Mail]:
    return [Mail(f"mail from outside to users of {domain}",
                 {"check_recipient_access": f"{PROBE}@{domain}", "check_sasl_access": ""},
                 f"check_recipient_access inline:{{ {domain}=OK }}")]


def _from_users(domain: str) -> list[Mail]:
    user, cure = f"{PROBE}@{domain}", "permit_sasl_authenticated"
    sender = {"check_sender_access": user, "check_sasl_access": user}
    return [Mail(f"what users of {domain} send each other",
                 {**sender, "check_recipient_access": user}, cure, logged_in=True),
            Mail(f"what users of {domain} send to others",
                 {**sender, "check_recipient_access": _FOREIGN}, cure,
                 logged_in=True, goes_out=True)]


def _everywhere(postfix: Postfix, services: list[Service], mail: Mail) -> Finding | None:
    """Return a failure if each of `services` refuses `mail`."""
    found = [_refusal(postfix, service, mail) for service in services]
    return found[0] if found and all(found) else None


def _refusal(postfix: Postfix, service: Service, mail: Mail) -> Finding | None:
    if postfix.get("smtpd_delay_reject", service) == "no":      # then less is known when it decides
        return None
    for where, words in groupby(postfix.restrictions(service, mail.logged_in),
                                lambda restriction: restriction.where):
        if where in RESTRICTIONS and (finding := _in_list(postfix, service, mail, words)):
            return finding
    return None


def _in_list(postfix: Postfix, service: Service, mail: Mail,
             words: Iterator[Restriction]) -> Finding | None:
    for met in words:
        try:
            key, answer = _answer(postfix, service, mail, met)
        except PostfixError:        # which `diversions` tells
            return None
        if REFUSAL.match(answer):
            place = (f"master.cf: {service.name}" if met.where in service.options else "main.cf")
            return failure(
                "refused", f"{postfix.directory}/{place}: {met.where}",
                f"{met.argument} answers {answer} to {key}: {mail.name} is refused" if key else
                f"{mail.name} is refused by {met.word}",
                f"take {key} out of the table, or put before it:\n{mail.cure}" if key else
                f"put before {met.word}:\n{mail.cure}")
        if not _PASSES.match(answer):
            return None
        if _HAS_ARGUMENT.match(met.word):
            next(words, None)
    return None


def _answer(postfix: Postfix, service: Service, mail: Mail, met: Restriction) -> tuple[str, str]:
    """Return what `met` does with `mail`, as an action of access(5), and for which key.

    "" if it may let a client pass.
    """
    if met.word in _ENDS or met.word in _RELAYING and mail.goes_out:
        return "", "REJECT"
    if met.word in mail.addresses:
        return _of_table(postfix, mail, met)
    goes_on = (_GOES_ON.fullmatch(met.word)
               or met.word == "permit_sasl_authenticated" and not mail.logged_in
               or met.word == "permit_mynetworks" and _trusts_itself_alone(postfix, service))
    return "", "DUNNO" if goes_on else ""


def _of_table(postfix: Postfix, mail: Mail, met: Restriction) -> tuple[str, str]:
    keys = diversions.asked(postfix, met.word, met.argument, mail.addresses)
    if keys and not _FILE.match(met.argument):
        return "", ""
    answers = postfix.ask_all(met.argument, keys) if keys else {}
    return next(((key, answers[key]) for key in keys if key in answers), ("", "DUNNO"))


def _trusts_itself_alone(postfix: Postfix, service: Service) -> bool:
    """Whether no other host, such as one that takes mail for this one, is in mynetworks."""
    networks, has_others = trust.networks(postfix.words("mynetworks", service))
    return not has_others and all(network.is_loopback for network in networks)
