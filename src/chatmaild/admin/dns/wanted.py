"""Makes the DNS rows that a chat domain on this host needs."""

import enum
import ipaddress
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

MAX_STRING = 255
"""Octets in one character string of a TXT record (RFC 1035 section 3.3)."""

GUESSED = ("imap", "smtp")
"""Labels below a mail domain that clients try after the domain itself."""

SERVICES = {"_imaps._tcp": 993, "_submissions._tcp": 465}
"""SRV records by which clients find servers (RFC 6186 section 3, RFC 8314 section 5.1)."""


_PRIVATE = (".local", ".localdomain", ".localhost", ".lan", ".internal", ".home.arpa", ".invalid")
"""Names below these are known on one network only (RFC 6761, 6762, 8375)."""


class Group(enum.StrEnum):
    """The zone that a row belongs to, and who needs it."""

    NEEDED = "needed"
    HOST = "host"
    """In the zone of the host's own name."""
    REVERSE = "reverse"
    """In the reverse zone, which the provider of the address keeps."""
    OPTIONAL = "optional"
    """Clients find the server without it."""


@dataclass(frozen=True)
class Row:
    """One record to publish."""

    name: str
    """Without a dot at its end."""
    kind: str
    """The type: ``MX``, ``TXT`` and so on."""
    value: str
    """As in a zone file, names with a dot at their end; the bare text of a TXT record."""
    group: Group = Group.NEEDED

    def bind(self) -> str:
        """Return the row as a line of a zone file (RFC 1035 section 5)."""
        value = quoted(self.value) if self.kind == "TXT" else self.value
        return f"{self.name}. IN {self.kind} {value}"

    def plain(self) -> tuple[str, str, str]:
        """Return name, type and value as the web forms of most providers want them."""
        return self.name, self.kind, (
            self.value if self.kind == "TXT" else self.value.removesuffix("."))


def quoted(text: str) -> str:
    """Return the text of a TXT record as quoted character strings, for a zone file."""
    text = text.replace("\\", "\\\\").replace('"', '\\"')
    parts = [text[at:at + MAX_STRING] for at in range(0, len(text), MAX_STRING)] or [""]
    if len(parts) == 1:
        return f'"{text}"'
    return "( " + " ".join(f'"{part}"' for part in parts) + " )"


@dataclass(frozen=True)
class SigningKey:
    """A DKIM key that this host signs with."""

    selector: str
    record: str
    """The TXT record that its public half makes."""
    source: str
    """The file of the private key."""


@dataclass(frozen=True)
class Host:
    """A mail host as others have to find it."""

    name: str
    """With which its Postfix greets (`myhostname`)."""
    addresses: tuple[Address, ...] = ()
    """Public ones; none if they cannot be seen from here (NAT)."""
    keys: Mapping[str, tuple[SigningKey, ...]] = field(default_factory=dict)
    """By chat domain."""
    unreadable: tuple[str, ...] = ()
    """Why other keys could not be read, a sentence each."""
    relay: str = ""
    """Through which its mail leaves (`relayhost`), if not by itself."""

    @property
    def has_public_name(self) -> bool:
        """Whether others can find the name in the DNS."""
        return "." in self.name and not self.name.endswith(_PRIVATE)


def rows(domain: str, host: Host) -> list[Row]:
    """Return all rows of the domain, in the order in which people write them."""
    return [
        mx(domain, host), *addresses(domain, host), spf(domain),
        *(dkim(domain, key) for key in host.keys.get(domain, ())), dmarc(domain),
        *(row for label in GUESSED
          for row in addresses(f"{label}.{domain}", host, Group.OPTIONAL)),
        *(srv(label, domain) for label in SERVICES),
        *(addresses(host.name, host, Group.HOST) if host.name != domain else ()),
        *(pointer(address, host) for address in host.addresses if not host.relay),
    ]


def mx(domain: str, host: Host) -> Row:
    """Return the MX row (RFC 5321 section 5)."""
    return Row(domain, "MX", f"10 {host.name}.")


def addresses(name: str, host: Host, group: Group = Group.NEEDED) -> Iterator[Row]:
    """Yield an A or AAAA row of `name` for each address of the host."""
    for address in host.addresses:
        yield Row(name, address_type(address), str(address), group)


def address_type(address: Address) -> str:
    """Return the type of the record that holds `address`."""
    return "A" if address.version == 4 else "AAAA"


def spf(domain: str) -> Row:
    """Allow the hosts that receive the domain's mail to send it (RFC 7208)."""
    return Row(domain, "TXT", "v=spf1 mx -all")


def dkim(domain: str, key: SigningKey) -> Row:
    """Return the TXT row of a DKIM key (RFC 6376 section 3.6.2)."""
    return Row(f"{key.selector}._domainkey.{domain}", "TXT", key.record)


def dmarc(domain: str) -> Row:
    """Have others refuse mail that the domain itself has not signed (RFC 7489)."""
    return Row(f"_dmarc.{domain}", "TXT", "v=DMARC1; p=reject; adkim=s; aspf=s")


def srv(label: str, domain: str) -> Row:
    """Return the SRV row of a service in `SERVICES` (RFC 2782)."""
    return Row(f"{label}.{domain}", "SRV", f"0 1 {SERVICES[label]} {domain}.", Group.OPTIONAL)


def pointer(address: Address, host: Host, alias: str = "") -> Row:
    """Return the PTR row of an address (RFC 1035 section 3.5).

    `alias` is the name that its own is an alias of, where the provider has delegated a part of the
    reverse zone (RFC 2317).
    """
    return Row(alias or address.reverse_pointer, "PTR", f"{host.name}.", Group.REVERSE)
