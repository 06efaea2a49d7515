"""Which clients does smtpd_milter_maps exempt from our filter?

Postfix looks the client's address up there, in each table, and the result stands in for
smtpd_milters (postconf(5)). The tables are asked about addresses that chat users and strangers may
have, so that any form of table is understood.
"""

import ipaddress
import re
from collections.abc import Iterator

from chatmaild.admin.check.findings import Finding, failure, warning
from chatmaild.admin.servers.milters import milters
from chatmaild.admin.servers.postconf import Postfix, PostfixError, Service, split

ANYWHERE = ("192.0.2.77", "198.51.100.99", "203.0.113.201", "2001:db8::77",
            "10.77.77.77", "172.20.77.77", "192.168.77.77", "fd77::77")
"""Clients of the Internet (RFC 5737, RFC 3849) and of private networks (RFC 1918, RFC 4193)."""


_BETWEEN = re.compile(r"[\s,={}]")


def check(postfix: Postfix, service: Service, has_logins: bool) -> Iterator[Finding]:
    """Yield a failure if clients are exempt where users log in, or networks of clients elsewhere.

    For single clients that send without a login, such as another mail server, it is a warning.
    """
    tables = split(postfix.get("smtpd_milter_maps", service))
    if not tables:
        return
    place = f"{postfix.directory}/master.cf: {service.name}"
    try:
        named = written(tables, has_logins)
        trusted = _clients(" ".join(postfix.words("mynetworks", service)), False)
        answers = postfix.look_up_all("smtpd_milter_maps", [*ANYWHERE, *trusted, *named], service)
    except PostfixError as error:
        yield failure("milter-maps", place, f"smtpd_milter_maps cannot be asked: {error}",
                      "smtpd_milter_maps =")
        return
    exempt = [client for client, answer in answers.items()
              if not any(milter.is_ours for milter in milters(answer))]
    if exempt:
        yield failure("milter-maps", place,
                      f"smtpd_milter_maps takes our filter away from clients such as {exempt[0]}: "
                      "what they send passes unchecked",
                      "smtpd_milter_maps =")
    else:
        yield warning("milter-maps", place,
                      "smtpd_milter_maps takes the filter away from the clients that it lists; no "
                      "client that chat users come from may be in there")


def written(tables: list[str], with_single: bool = True) -> list[str]:
    """Return a client of each network that stands in the tables, where they can be read.

    Single addresses, and loopback, count `with_single`.
    """
    return [client for table in tables for client in _clients(_text(table), with_single)]


def _text(table: str) -> str:
    """The table itself if it is written in main.cf, or its source."""
    if "{" in table:
        return table
    try:
        with open(table.rpartition(":")[2], encoding="utf-8", errors="replace") as file:
            return "\n".join(line for line in file if not line.startswith("#"))
    except OSError:
        return ""


def _clients(text: str, with_single: bool) -> Iterator[str]:
    """Yield a client of each network in `text`; of one address, or of loopback, if asked to."""
    for word in _BETWEEN.split(text.replace("[", "").replace("]", "")):
        try:
            network = ipaddress.ip_network(word, strict=False)
        except ValueError:
            continue
        if with_single or not network.is_loopback and network.num_addresses > 1:
            yield str(network[network.num_addresses // 2])
