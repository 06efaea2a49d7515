"""``chatmaild dns``: prints the DNS rows that the chat domains of this host need."""

import argparse
from collections.abc import Iterable, Iterator

from chatmaild.admin.dns import observation, wanted
from chatmaild.admin.dns.addresses import parse
from chatmaild.admin.dns.questions import ADDRESSES, Answers
from chatmaild.admin.dns.wanted import Address, Group, Host, Row
from chatmaild.admin.servers import postconf
from chatmaild.config import inifile
from chatmaild.config.config import Config
from chatmaild.config.values import servers
from chatmaild.console import Console
from chatmaild.dkim import resolver
from chatmaild.errors import UsageError

HEADINGS = {
    Group.NEEDED: "Needed",
    Group.HOST: "In the zone of the host's name",
    Group.REVERSE: "Reverse: the provider of the address sets it",
    Group.OPTIONAL: "Optional: clients find the server without, some a little sooner with",
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("domain", nargs="?", metavar="DOMAIN",
                        help="a chat domain (default: all of them)")
    parser.add_argument("--plain", action="store_true",
                        help="print rows for a provider's form instead of a zone file: name, type "
                        "and value, separated by TAB")
    configure_host(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def configure_host(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that describe the host and its DNS."""
    parser.add_argument("--address", action="append", type=_address, default=[], metavar="ADDRESS",
                        help="a public address of this host, if it does not see them itself (NAT); "
                        "may be given several times")
    parser.add_argument("--server", type=_server, default=(), metavar="ADDRESS[@PORT]",
                        help="name server to ask (default: those of /etc/resolv.conf)")


def _address(text: str) -> Address:
    address = parse(text)
    if address is None:
        raise argparse.ArgumentTypeError(f"{text}: not an address such as 192.0.2.1 or 2001:db8::1")
    return address


def _server(text: str) -> tuple[tuple[str, int], ...]:
    try:
        return servers(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def run(args: argparse.Namespace, console: Console) -> int:
    """Print the rows. Returns the exit status."""
    config = inifile.load(args.config)
    domains = _domains(args.domain, config)
    host = observation.observe(postconf.observe(), domains, tuple(args.address))
    notes = list(host.unreadable)
    if not host.has_public_name:
        notes.append(f"Postfix calls itself {host.name}, which others cannot find: set myhostname "
                     "in main.cf to a name such as mail.example.org, and run this again")
    if not host.addresses:
        host = _as_published(host, args.server, notes)
    found = {domain: wanted.rows(domain, host) for domain in domains}
    notes += [f"{domain}: no key found that OpenDKIM or rspamd signs with, so no DKIM row; see "
              "other-milters.md" for domain in domains if not host.keys.get(domain)]
    if args.plain:
        for row in _each_once(found.values()):
            console.line("\t".join(row.plain()))
    else:
        for line in zone(found, notes):
            console.line(line)
    if args.plain and not args.json:
        for note in notes:
            console.error(note)
    console.result({"host": host.name, "notes": notes, "domains": {
        domain: [_described(row) for row in rows] for domain, rows in found.items()}})
    return 0


def _domains(name: str | None, config: Config) -> tuple[str, ...]:
    if name is None and not config.mail_domains:
        raise UsageError(f"{config.path}: mail_domains names no chat domain yet")
    if name is not None and name.lower() not in config.domains:
        raise UsageError(f"{name}: not a chat domain; those are "
                         f"{', '.join(config.mail_domains) or 'not configured yet'}")
    return (name.lower(),) if name else config.mail_domains


def _as_published(host: Host, server: tuple[tuple[str, int], ...], notes: list[str]) -> Host:
    """Return a host that sees no public address, with those that the DNS has for its name."""
    answers = Answers(resolver.ask_all([(host.name, kind) for kind in ADDRESSES], server))
    found = answers.addresses(host.name)
    notes.append(
        f"this host sees no public address of its own; the rows have those of {host.name} in DNS"
        if found else "this host sees no public address of its own, and the DNS has none for "
        f"{host.name}: give --address, or A, AAAA and PTR rows are missing below")
    return Host(host.name, found, host.keys, host.unreadable, host.relay)


def zone(found: dict[str, list[Row]], notes: Iterable[str]) -> Iterator[str]:
    """Yield the lines of a zone file, under headings."""
    for note in notes:
        yield f"; {note}"
    for group, heading in HEADINGS.items():
        rows = [row for row in _each_once(found.values()) if row.group is group]
        if rows:
            yield f"; {heading}"
            yield from (row.bind() for row in rows)


def _each_once(every: Iterable[list[Row]]) -> list[Row]:
    return list(dict.fromkeys(row for rows in every for row in rows))


def _described(row: Row) -> dict[str, str]:
    name, kind, value = row.plain()
    return {"name": name, "type": kind, "value": value, "group": str(row.group),
            "bind": row.bind()}
