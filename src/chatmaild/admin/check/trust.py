"""Do our filter and Postfix trust the same clients? Clients in mynetworks need no signature."""

import ipaddress
from collections.abc import Iterable, Iterator

from chatmaild.admin.check.findings import Finding, ok, warning
from chatmaild.admin.servers.postconf import Postfix
from chatmaild.config.config import Config
from chatmaild.config.values import Network


def check(postfix: Postfix, config: Config) -> Iterator[Finding]:
    """Yield findings about trusted_networks; tables in mynetworks cannot be compared."""
    if config.incoming_authenticity == "off":
        return
    place = f"{config.path}: trusted_networks"
    theirs, has_tables = networks(postfix.words("mynetworks"))
    untrusted = [network for network in theirs if not _within(network, config.trusted_networks)]
    unknown = [network for network in config.trusted_networks
               if network.version in postfix.ip_versions and not _within(network, theirs)]
    wanted = "trusted_networks = " + " ".join(map(str, theirs))
    if untrusted:
        yield warning("trusted-networks", place,
                      f"lacks {_names(untrusted)} of Postfix's mynetworks: mail that these hosts "
                      "pass on to chat users is refused unless it is signed", wanted)
    if unknown and not has_tables:
        yield warning("trusted-networks-more", place,
                      f"has {_names(unknown)}, which Postfix's mynetworks lacks: mail from there "
                      "may bear anybody's name", wanted)
    if not untrusted and (not unknown or has_tables):
        yield ok("trusted-networks", place, "agrees with Postfix's mynetworks")


def networks(words: Iterable[str]) -> tuple[list[Network], bool]:
    """Return the networks that are written out, and whether there is anything else."""
    found, others = [], False
    for word in words:
        try:
            network = ipaddress.ip_network(word.replace("[", "").replace("]", ""), strict=False)
        except ValueError:
            others = True
            continue
        found.append(_plain(network))
    return list(dict.fromkeys(found)), others


def _plain(network: Network) -> Network:
    """Return an IPv4-mapped IPv6 network as IPv4; Postfix sees IPv4 clients so on IPv6 sockets."""
    if isinstance(network, ipaddress.IPv6Network) and network.prefixlen >= 96:
        if mapped := network.network_address.ipv4_mapped:
            return ipaddress.ip_network(f"{mapped}/{network.prefixlen - 96}")
    return network


def _within(network: Network, others: Iterable[Network]) -> bool:
    if isinstance(network, ipaddress.IPv4Network):
        return any(isinstance(other, ipaddress.IPv4Network) and network.subnet_of(other)
                   for other in others)
    return any(isinstance(other, ipaddress.IPv6Network) and network.subnet_of(other)
               for other in others)


def _names(networks: Iterable[Network]) -> str:
    return ", ".join(map(str, networks))
