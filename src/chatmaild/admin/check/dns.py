"""Does the DNS answer us? The incoming filter needs it for the keys of signatures."""

from collections.abc import Callable, Iterator

from chatmaild.admin.check.findings import Finding, failure, ok
from chatmaild.config.config import Config
from chatmaild.dkim.resolver import explain_trouble

Servers = tuple[tuple[str, int], ...]


def check(config: Config, trouble: Callable[[str, Servers], str] = explain_trouble
          ) -> Iterator[Finding]:
    """Ask for a key as the filter does; "no such name" is an answer too.

    Takes some seconds if nobody answers. `trouble` describes what each server did.
    """
    if not config.incoming_authenticity.startswith("dkim"):
        return
    place = f"{config.path}: dns_servers" if config.dns_servers else "/etc/resolv.conf"
    name = f"chatmaild-check._domainkey.{next(iter(config.mail_domains))}"
    if said := trouble(name, config.dns_servers):
        yield failure(
            "dns", place,
            f"asked for the TXT record {name}, no server could tell ({said}): as long as that is "
            "so, mail from outside to chat users has to wait (451)",
            "nameserver ADDRESS      in /etc/resolv.conf, or dns_servers in chatmaild.ini; a "
            "resolver of the host's own: apt install unbound")
    else:
        yield ok("dns", place, "answers questions for keys")
