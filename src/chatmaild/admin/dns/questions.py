"""Asks the DNS about a chat domain. Each round of answers may lead to further names."""

from collections.abc import Callable, Iterable, Iterator

from chatmaild.admin.dns import spf
from chatmaild.admin.dns.addresses import parse
from chatmaild.admin.dns.wanted import GUESSED, SERVICES, Address, Host
from chatmaild.dkim.resolver import DnsQuestion
from chatmaild.errors import ChatmaildError

Told = tuple[str, ...] | ChatmaildError

ADDRESSES = ("A", "AAAA")

TRIED = (*GUESSED, "mail", "autoconfig", "mta-sts")
"""Labels below a mail domain that clients and servers look for."""

MAX_ROUNDS = 5
MAX_NAMES = 10
"""MX and SPF names of one domain that are looked at (RFC 7208 section 4.6.4)."""


class Answers(dict[DnsQuestion, Told]):
    """All answers so far. Names have no dot at their end."""

    def of(self, name: str, kind: str) -> tuple[str, ...]:
        """Return the records of this type; empty also if the question failed, see `trouble`."""
        told = self.get((name, kind), ())
        return told if isinstance(told, tuple) else ()

    def trouble(self, name: str, *kinds: str) -> str:
        """Return why a question of one of these types failed; "" if none did."""
        told = (self.get((name, kind)) for kind in kinds)
        return next((str(one) for one in told if isinstance(one, ChatmaildError)), "")

    def addresses(self, name: str) -> tuple[Address, ...]:
        """Return the A and AAAA records of `name`."""
        return tuple(address for kind in ADDRESSES for text in self.of(name, kind)
                     if (address := parse(text)))

    def mx(self, domain: str) -> list[tuple[int, str]]:
        """Return preferences and names, best first.

        The name is "" for a domain that takes no mail (RFC 7505).
        """
        found = [value.split() for value in self.of(domain, "MX")]
        return sorted((int(preference), name.rstrip(".").lower()) for preference, name in found)

    def srv(self, name: str) -> list[tuple[int, str]]:
        """Return ports and targets; the target is "" if there is no such service (RFC 2782)."""
        found = [value.split() for value in self.of(name, "SRV")]
        return [(int(port), target.rstrip(".").lower()) for _, _, port, target in found]

    def spf(self, domain: str) -> list[str]:
        """Return the SPF records of `domain`; more than one is a mistake (RFC 7208 section 4.5)."""
        return [text for text in self.of(domain, "TXT") if spf.is_spf(text)]


Ask = Callable[[Iterable[DnsQuestion]], dict[DnsQuestion, Told]]


def gather(domains: Iterable[str], host: Host, ask: Ask) -> Answers:
    """Ask about the domains, and about the names in the answers, until nothing new comes up."""
    answers = Answers()
    names = list(domains)
    for _ in range(MAX_ROUNDS):
        new = {question for domain in names for question in _questions(domain, host, answers)}
        if not new - answers.keys():
            break
        answers |= ask(new - answers.keys())
    return answers


def _questions(domain: str, host: Host, answers: Answers) -> Iterator[DnsQuestion]:
    """Yield all questions about `domain` that follow from the answers so far."""
    for kind in ("MX", "TXT"):
        yield domain, kind
    for label in ("_dmarc", "_mta-sts", "_smtp._tls",
                  *(f"{key.selector}._domainkey" for key in host.keys.get(domain, ()))):
        yield f"{label}.{domain}", "TXT"
    for label in SERVICES:
        yield f"{label}.{domain}", "SRV"
    names = {domain, host.name, *(f"{label}.{domain}" for label in TRIED)}
    names |= {target for label in SERVICES for _, target in answers.srv(f"{label}.{domain}")}
    for _, name in answers.mx(domain)[:MAX_NAMES]:
        names.add(name)
        yield name, "CNAME"
    for record in answers.spf(domain)[:1]:
        for name, kind in list(spf.hosts(record, domain))[:MAX_NAMES]:
            if kind == "MX":
                yield name, "MX"
                names |= {target for _, target in answers.mx(name)[:MAX_NAMES]}
            else:
                names.add(name)
    for address in host.addresses or answers.addresses(host.name):
        yield address.reverse_pointer, "PTR"
        yield address.reverse_pointer, "CNAME"
        names |= {name.rstrip(".").lower() for name in answers.of(address.reverse_pointer, "PTR")}
    yield from ((name, kind) for name in names if name for kind in ADDRESSES)


def gather_mx(domain: str, ask: Ask) -> Answers:
    """Find the mail exchangers of another domain, with their addresses."""
    answers = Answers(ask([(domain, "MX")]))
    targets = [name for _, name in answers.mx(domain)[:MAX_NAMES] if name]
    return Answers(answers | ask([(name, kind) for name in targets for kind in ADDRESSES]))
