"""The hosts of the network, their names and addresses, and what the DNS says about them."""

import ipaddress
from dataclasses import dataclass

from rig.site import Site

NETWORK, NETWORK6 = 24, 64
"""Lengths of the prefixes: all hosts are on one wire."""
RESOLVER, RESOLVER6 = "192.0.2.53", "2001:db8::53"
PHONES, PHONES6 = "192.0.2.100", "2001:db8::100"
"""Where clients connect from, and strangers who have no host."""
SELECTOR = "s1"


@dataclass(frozen=True)
class NetworkSite(Site):
    """A host among others. `suite` is the Debian release that it runs, `mx` the name that the MX
    of its chat domain leads to; a host without chat has the chat domain ""."""

    address6: str
    suite: str
    mx: str = ""
    kind: str = "network"
    """The package of tests that has its agent."""

    @property
    def key(self) -> str:
        return self.domain.partition(".")[0]

    @property
    def domains(self) -> list[str]:
        """The mail domains that it serves."""
        return [domain for domain in (self.domain, self.chat_domain) if domain]

    @property
    def names(self) -> list[str]:
        more = [self.chat_domain, f"_{self.chat_domain}", self.mx] if self.chat_domain else []
        return list(dict.fromkeys([self.name, self.domain, *more]))


ONE = NetworkSite("mail.one.example", "one.example", "chat.one.example", "192.0.2.10",
                  "2001:db8::10", "bookworm", "mx.chat.one.example")
TWO = NetworkSite("mail.two.example", "two.example", "chat.two.example", "192.0.2.20",
                  "2001:db8::20", "trixie", "mail.two.example")
PLAIN = NetworkSite("mail.plain.example", "plain.example", "", "192.0.2.30",
                    "2001:db8::30", "bookworm")
LEFT = NetworkSite("mail.left.example", "left.example", "chat.cluster.example", "192.0.2.40",
                   "2001:db8::40", "bookworm", "mail.left.example", "cluster")
RIGHT = NetworkSite("mail.right.example", "right.example", "chat.cluster.example", "192.0.2.50",
                    "2001:db8::50", "trixie", "mail.right.example", "cluster")
SINGLE = NetworkSite("mail.single.example", "single.example", "chat.single.example", "192.0.2.60",
                     "2001:db8::60", "bookworm", "mail.single.example", "cluster")
SITES = {site.key: site for site in (ONE, TWO, PLAIN, LEFT, RIGHT, SINGLE)}


def zone(sites: list[NetworkSite], keys: dict[str, str]) -> str:
    """The whole DNS as one zone, in master format. `keys` has a DKIM record for each domain."""
    lines = ["$ORIGIN .", "$TTL 60", ". SOA ns.example. hostmaster.example. 1 3600 600 86400 1",
             ". NS ns.example.", f"ns.example. A {RESOLVER}", f"ns.example. AAAA {RESOLVER6}",
             *_pointer(PHONES, "phones.example"), *_pointer(PHONES6, "phones.example"),
             f"phones.example. A {PHONES}", f"phones.example. AAAA {PHONES6}"]
    # cores such as 2.35 find their default relays for calls by name, or never come online
    lines += [f"{name}. A {PHONES}" for name in ("nine.testrun.org", "turn.delta.chat")]
    for site in sites:
        for name in site.names:
            lines += [f"{name}. A {site.address}", f"{name}. AAAA {site.address6}"]
        for domain in site.domains:
            mx = site.mx if domain == site.chat_domain else site.name
            lines += [f"{domain}. MX 10 {mx}.", f'{domain}. TXT "v=spf1 mx -all"',
                      f'_dmarc.{domain}. TXT "v=DMARC1; p=reject; adkim=s; aspf=s"']
        lines += [*_pointer(site.address, site.name), *_pointer(site.address6, site.name)]
    for domain, record in keys.items():
        text = " ".join(f'"{record[at:at + 200]}"' for at in range(0, len(record), 200))
        lines.append(f"{SELECTOR}._domainkey.{domain}. TXT ( {text} )")
    return "\n".join(lines) + "\n"


def _pointer(address: str, name: str) -> list[str]:
    return [f"{ipaddress.ip_address(address).reverse_pointer}. PTR {name}."]
