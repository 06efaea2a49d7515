"""Is this host ready to share its chat domains with other hosts?"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from chatmaild.accounts import directoryschema, sharedsettings
from chatmaild.accounts.directoryrows import Node
from chatmaild.accounts.mailboxes import Mailboxes
from chatmaild.admin.check import hostfiles, packetfilter, peers
from chatmaild.admin.check.findings import Finding, failure, ok, warning
from chatmaild.admin.servers.doveconf import Dovecot
from chatmaild.admin.servers.postconf import HOMES, Postfix, Service
from chatmaild.admin.wiring import listeners, otherhosts
from chatmaild.admin.wiring.otherhosts import Known
from chatmaild.admin.wiring.severalhosts import (
    CLIENT_CERTIFICATES, JOIN_AGAIN, LMTP_PORT, NO_ADDRESS, SERVICE, listens,
)
from chatmaild.config.config import Config
from chatmaild.console import counted
from chatmaild.errors import StoreError

GUIDE = "see several-hosts.md"
SKEW = 10
"""Seconds by which clocks may differ: one that NTP sets is within a fraction of one."""


def check(known: Known, packets: str, postfix: Postfix | None, dovecot: Dovecot | None,
          config: Config) -> Iterator[Finding]:
    """Yield findings about the directory and the other hosts; none on a host that is alone.

    `packets`: the rules of the packet filter, see `packetfilter.rules`.
    """
    if config.directory is None:
        return
    yield from _secret(config.directory, config.mail_user)
    if known.trouble:
        yield failure("directory", str(config.directory), known.trouble, GUIDE)
    else:
        yield _tables(config, known.version)
        yield _joined(config, known, dovecot)
        yield from _entered(config, known)
        yield _clock(known.ahead)
        yield _versions(known)
    others = [node for node in known.nodes if node.name != config.node]
    for node in others if known.version == directoryschema.VERSION else ():
        yield _alike(config, node, known.told.get(node.name, {}))
    if postfix:
        yield from check_postfix(postfix)
        authorities = postfix.get("lmtp_tls_CAfile", postfix.service(SERVICE))
        yield from peers.check(others, int(LMTP_PORT), authorities)
    if dovecot:
        yield from check_dovecot(dovecot, others, packets)


def _secret(path: Path, user: str) -> Iterator[Finding]:
    who = hostfiles.identity(user)
    if who and (obstacle := hostfiles.obstacle(who, str(path), hostfiles.READ)):
        yield failure("directory-file", str(path), f"our services cannot read it: {obstacle}",
                      f"chgrp {user} {path}; chmod g+r {path}")
    with contextlib.suppress(OSError):      # that of opening it is told in any case
        if os.stat(path).st_mode & 0o007:
            yield failure("directory-file", str(path), "everybody may read the password in it",
                          f"chmod o-rwx {path}")


def _tables(config: Config, version: int | None) -> Finding:
    if version == directoryschema.VERSION:
        return ok("directory", str(config.directory), "answers")
    if version and version > directoryschema.VERSION:
        return warning("directory-version", str(config.directory), f"its tables are of version "
                       f"{version}, and of a later release than this host", "apt upgrade")
    return failure("directory-version", str(config.directory),
                   f"its tables are of version {version}, not {directoryschema.VERSION}",
                   "chatmaild directory init, as the owner of the database")


def _joined(config: Config, known: Known, dovecot: Dovecot | None) -> Finding:
    own = [node for node in known.nodes if node.name == config.node]
    if own and not (known.is_here or dovecot and listens(dovecot, own[0].ip)):
        return failure("directory-node", f"{config.node}, {own[0].ip} in the directory",
                       NO_ADDRESS, JOIN_AGAIN)
    if own:
        return ok("directory-node", config.node, f"is in the directory, at {own[0].ip}")
    return failure("directory-node", config.node, "is not in the directory",
                   "chatmaild directory join IP")


def _entered(config: Config, known: Known) -> Iterator[Finding]:
    """Does the directory know the accounts here? Counts suffice: it knows each before its disk."""
    mailboxes = Mailboxes(config)
    with contextlib.suppress(StoreError):       # of a disk, which is told elsewhere
        here = sum(mailbox.exists() for domain in config.domains
                   for mailbox in mailboxes.of_domain(domain))
        if here > _own_accounts(config, known) and (
                here > (entered := _own_accounts(config, otherhosts.ask(config)))):
            yield failure("directory-accounts", config.node, f"{counted(here, 'account')} here, "
                          f"and the directory knows {entered:,}: logins at another host make the "
                          "others anew", "chatmaild directory import")


def _own_accounts(config: Config, known: Known) -> int:
    return sum(node.accounts for node in known.nodes if node.name == config.node)


def _clock(ahead: float) -> Finding:
    place = "clock"
    if abs(ahead) <= SKEW:
        return ok("directory-clock", place, f"within {SKEW} s of the database's")
    return failure("directory-clock", place, f"{abs(ahead):,.0f} s "
                   f"{'behind' if ahead > 0 else 'ahead of'} the database's; invitations and "
                   "inactive accounts end by each host's own",
                   "timedatectl set-ntp true     (on whichever of the two is wrong)")


def _versions(known: Known) -> Finding:
    """Compare by who is connected: the services of each host, and this command."""
    place = "versions of chatmaild"
    found = {node.name: sorted({session.version for session in known.sessions
                                if session.is_of(node.name)}) for node in known.nodes}
    text = ", ".join(f"{name} {' and '.join(versions) or '(not connected to the directory now)'}"
                     for name, versions in found.items())
    if len({version for versions in found.values() for version in versions}) <= 1:
        return ok("directory-versions", place, text)
    return warning("directory-versions", place, text,
                   "upgrade the hosts one after the other, soon; a service that was not restarted "
                   "has its old one:\nsystemctl restart chatmaild.target")


def _alike(config: Config, node: Node, told: sharedsettings.Told) -> Finding:
    """Compare by what the services of the other host told when they read their configuration."""
    if not told:
        return warning("directory-settings", node.name, "has not told its settings yet",
                       "there, with this release: systemctl reload chatmaild-doveauth")
    if found := list(sharedsettings.differences(sharedsettings.of(config, node.name), told)):
        return warning("directory-settings", node.name, "has other settings, so that accounts there"
                       f" are treated differently: {', '.join(found)}", "the same in both "
                       "chatmaild.ini, and: systemctl reload 'chatmaild-*.service'")
    return ok("directory-settings", node.name, "has the same settings")


def check_postfix(postfix: Postfix) -> Iterator[Finding]:
    """Does mail for accounts elsewhere find its way?"""
    if not any(table.endswith(f"/{HOMES}") for table in postfix.words("transport_maps")):
        yield failure("directory-transport", "main.cf: transport_maps",
                      "does not ask us where an account lives",
                      f"chatmaild wire --apply, or {GUIDE}: {HOMES} and postfix.sh")
    service = postfix.service(SERVICE)
    if service is None:
        yield failure("directory-transport", "master.cf: chat-node",
                      "is missing, so that mail reaches no other host", f"{GUIDE}: postfix.sh")
    elif postfix.get("lmtp_tls_security_level", service) not in ("secure", "verify",
                                                                 "fingerprint"):
        yield failure("directory-tls", "master.cf: chat-node",
                      "does not verify whom it gives the mail to",
                      "postconf -P chat-node/unix/lmtp_tls_security_level=secure")
    else:
        yield ok("directory-transport", "master.cf: chat-node", "leads to the other hosts")
        yield from _connections(postfix, service)


def _connections(postfix: Postfix, service: Service) -> Iterator[Finding]:
    """Do many messages go through one connection, and may who holds it see whom to trust?"""
    cure = f"chatmaild wire --apply, or {GUIDE}: postfix.sh"
    if not postfix.is_on("lmtp_tls_connection_reuse", service):
        if not any(postfix.get(name, service) for name in CLIENT_CERTIFICATES):
            yield warning("directory-connections", "master.cf: chat-node",
                          "opens a TLS connection for each message", cure)
        return
    name = postfix.get("tlsproxy_service_name", service)
    proxy = postfix.service(f"{name}/unix")
    if proxy is None:
        yield failure("directory-connections", f"master.cf: {name}",
                      "is missing, so that mail for other hosts waits", cure)
        return
    who = hostfiles.identity(postfix.get("mail_owner"))
    path = postfix.get("lmtp_tls_CAfile", service)
    if who and path and (obstacle := hostfiles.obstacle(
            who, postfix.resolve(path, proxy), hostfiles.READ)):
        yield failure("directory-connections", f"master.cf: {name}",
                      f"cannot read {path}, so that mail for other hosts waits: {obstacle}",
                      f"let {who.name} read it, with no chroot for {name}")


def check_dovecot(dovecot: Dovecot, others: list[Node], packets: str) -> Iterator[Finding]:
    """Do the other hosts get in, and nobody else?"""
    found = [block for block in dovecot.service("lmtp").all("inet_listener")
             if block.get("port") == LMTP_PORT]
    where = f"service lmtp, port {LMTP_PORT}"
    if not found:
        yield failure("directory-lmtp", where, "no other host can give its mail here",
                      f"{GUIDE}: 06-chatmaild-hosts.conf")
    else:
        yield _closed([address for block in found
                       for address in listeners.addresses(dovecot, block)], where, packets)
    trusted = dovecot.get("login_trusted_networks").replace(",", " ").split()
    strangers = [node.ip for node in others if node.ip not in trusted]
    if strangers and not any("/" in network for network in trusted):
        yield warning("directory-trusted", "login_trusted_networks",
                      "lacks other hosts, so that their users all seem to come from one address",
                      f"login_trusted_networks = {' '.join([*trusted, *strangers])}")


def _closed(addresses: list[str], where: str, packets: str) -> Finding:
    text = f"listens on {' '.join(addresses)}"
    if packetfilter.closes(packets, LMTP_PORT):
        return ok("directory-lmtp", where, f"{text}; a rule of the packet filter closes it")
    if not any(packetfilter.is_public(address) for address in addresses):
        return ok("directory-lmtp", where, f"{text}, which the internet does not reach")
    return failure("directory-lmtp", where, f"{text}, and no rule of a packet filter on this host "
                   "closes it: whoever reaches it passes by the filter",
                   f"{GUIDE} for the lines; try from outside: nc -vz "
                   f"{addresses[0]} {LMTP_PORT}")
