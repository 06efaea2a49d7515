"""Does Dovecot deliver to chat mailboxes and serve them, and do others notice nothing?"""

import re
from collections.abc import Callable, Iterator

from chatmaild.admin.check import hostfiles, processes
from chatmaild.admin.check.findings import Finding, failure, ok, warning
from chatmaild.admin.servers.doveconf import Block, Dovecot
from chatmaild.admin.servers.usernames import keeps_domain
from chatmaild.admin.wiring import kernel as limits, listeners
from chatmaild.admin.wiring.observation import INOTIFY, SYSCTL, granted_inotify
from chatmaild.admin.wiring.severalhosts import LMTP_PORT
from chatmaild.config.config import Config

EVERY_ADDRESS = frozenset({"*", "::", "[::]", "0.0.0.0"})
"""What has Dovecot listen on all addresses of the host."""

MANY_CLIENTS = 1000
"""Connections that imap-login should be able to hold: phones stay connected."""


def check(
    dovecot: Dovecot,
    config: Config,
    granted: Callable[[], int | None] = granted_inotify,
    entries: Callable[[str], list[str]] = hostfiles.entries,
) -> Iterator[Finding]:
    """Yield findings about delivery, capabilities and limits."""
    for domain in config.mail_domains:
        yield from _lmtp_user(dovecot, domain)
    yield from _capabilities(dovecot)
    yield from _lmtp_sockets(dovecot)
    yield from _lmtp_ports(dovecot, config.directory is not None)
    yield from _sessions(dovecot)
    yield from _chroot(dovecot)
    yield from processes.check(dovecot, config)
    yield from _login_processes(dovecot)
    yield from _imap_processes(dovecot, sum(
        len(entries(f"{config.mailboxes_dir}/{domain}")) for domain in config.mail_domains))
    yield from _inotify(granted(), limits.wanted(dovecot))


def _inotify(granted: int | None, wanted: int) -> Iterator[Finding]:
    if granted is None:
        return
    if granted >= wanted:
        yield ok("inotify", INOTIFY, f"{granted}, enough for all IMAP sessions")
        return
    yield failure("inotify", INOTIFY,
                  f"{granted}: all chat users share one uid, so beyond that many clients at once "
                  "mail comes half a minute late",
                  f"{SYSCTL}: fs.inotify.max_user_instances = {wanted}, then: sysctl --system")


def _lmtp_user(dovecot: Dovecot, domain: str) -> Iterator[Finding]:
    default = "%Lu" if dovecot.is_23 else "%{user | lower}"
    value = dovecot.for_protocol("lmtp", "auth_username_format", default) or default
    place = f"{dovecot.path}: protocol lmtp: auth_username_format"
    if dovecot.is_23:
        good = f"%{{if;%Ld;eq;{domain};%Lu;%Ln}}"
        wrong_operator = False
    else:
        good = ("%{user | username | lower}%{user | domain | lower | "
                f"if('eq', '{domain}', '@{domain}', '')}}")
        wrong_operator = re.search(r"if\(\s*['\"]?=", value) is not None
    cure = f"protocol lmtp {{\n  auth_username_format = {good}\n}}"
    keeps = keeps_domain(value, domain)
    if wrong_operator:
        yield failure("lmtp-username", place, "the operator must be eq; = bounces all mail", cure)
    elif keeps:
        yield ok("lmtp-username", place, f"leaves addresses of {domain} whole")
    elif keeps is None:
        added = good.removeprefix("%{user | username | lower}")
        yield failure("lmtp-username", place,
                      f"{value} has a condition that does not name {domain}",
                      cure if dovecot.is_23 else
                      f"protocol lmtp {{\n  auth_username_format = {value}{added}\n}}")
    else:
        yield failure("lmtp-username", place,
                      f"{value} cuts the domain off: mail for alice@{domain} lands in the mailbox "
                      "of the system user alice", cure)


def _capabilities(dovecot: Dovecot) -> Iterator[Finding]:
    for scope, where in ((dovecot.tree, "imap_capability"),
                         (dovecot.tree.block("protocol", "imap"),
                          "protocol imap: imap_capability")):
        if "XCHATMAIL" in _advertised(scope):
            yield failure("xchatmail", f"{dovecot.path}: {where}",
                          "XCHATMAIL is advertised to ordinary users too: a chat client of theirs "
                          "deletes what it has downloaded", "take XCHATMAIL out")


def _lmtp_sockets(dovecot: Dovecot) -> Iterator[Finding]:
    """Find sockets that let others write into every mailbox, past Postfix and the filters."""
    for _, listener in listeners.listeners(dovecot, "lmtp"):
        if listeners.is_open(listener):
            yield failure("lmtp-mode", f"{dovecot.path}: service lmtp: unix_listener "
                          f"{listener.name}", f"mode {listeners.mode(listener)}: every user of "
                          "this host can write into any mailbox, in anybody's name",
                          f"service lmtp {{\n  unix_listener {listener.name} {{\n    mode = 0600\n"
                          "  }\n}")


def _lmtp_ports(dovecot: Dovecot, is_one_of_several: bool) -> Iterator[Finding]:
    """Find ports of lmtp: no password or filter stands between those and the mailboxes."""
    for listener in dovecot.service("lmtp").all("inet_listener"):
        port = listener.get("port", "0")
        if port == "0" or is_one_of_several and port == LMTP_PORT:
            continue
        place = f"{dovecot.path}: service lmtp: inet_listener {listener.name}".rstrip()
        addresses = listeners.addresses(dovecot, listener)
        text = (f"port {port} at {', '.join(addresses)}: whoever reaches it can write into any "
                "mailbox, in anybody's name")
        cure = ("# Postfix delivers by lmtp:unix:private/dovecot-lmtp instead\n"
                f"service lmtp {{\n  inet_listener {listener.name or 'lmtp'} {{\n"
                "    port = 0\n  }\n}")
        level = failure if EVERY_ADDRESS & set(addresses) else warning
        yield level("lmtp-port", place, text, cure)


def _sessions(dovecot: Dovecot) -> Iterator[Finding]:
    listener = dovecot.service("chatmaild-sessions").block("unix_listener", "chatmaild-sessions")
    if not listener.values:
        yield failure("sessions", f"{dovecot.path}: service chatmaild-sessions", "is missing: "
                      "whoever is connected stays so when their account is deleted or blocked",
                      "take it from 05-chatmaild.conf among the examples, then: doveadm reload")


def _chroot(dovecot: Dovecot) -> Iterator[Finding]:
    """Find a chroot for mail processes: on 2.3 no userdb can unset it."""
    if dovecot.is_23 and dovecot.get("mail_chroot"):
        yield failure("mail-chroot", f"{dovecot.path}: mail_chroot", "is for chat users too, who "
                      "do not find their mailboxes there",
                      "take the line out; return chroot from the userdb of your own users instead")


def _advertised(scope: Block) -> set[str]:
    words = scope.get("imap_capability").upper().replace("+", " ").split()
    return set(words) | {name.upper() for block in scope.all("imap_capability")
                         for name, value in block.values.items() if value == "yes"}


def _login_processes(dovecot: Dovecot) -> Iterator[Finding]:
    service = dovecot.service("imap-login")
    key = "service_count" if dovecot.is_23 else "restart_request_count"
    processes = service.limit("process_limit", dovecot.get("default_process_limit") or "100")
    clients = service.limit("client_limit", dovecot.get("default_client_limit") or "1000")
    capacity = processes * (1 if service.get(key, "1") == "1" else clients)
    place = f"{dovecot.path}: service imap-login"
    if capacity >= MANY_CLIENTS:
        yield ok("imap-login", place, f"holds {capacity} clients")
        return
    unlimited = "0" if dovecot.is_23 else "unlimited"
    yield failure("imap-login", place,
                  f"holds {capacity} clients at once; chat clients stay connected, so then nobody "
                  "logs in any more, ordinary users included",
                  f"service imap-login {{\n  {key} = {unlimited}\n  process_min_avail = 2\n}}")


def _imap_processes(dovecot: Dovecot, accounts: int) -> Iterator[Finding]:
    """Compare the limit of imap processes with the accounts; ordinary users share it."""
    limit = dovecot.service("imap").limit("process_limit", "1024")
    if limit >= max(MANY_CLIENTS, accounts):
        return
    wanted = 4096
    while wanted < 2 * accounts:
        wanted *= 2
    yield warning("imap-processes", f"{dovecot.path}: service imap",
                  f"at most {limit} clients are served at once, ordinary users included; there "
                  f"are {accounts} chat accounts",
                  f"service imap {{\n  process_limit = {wanted}\n}}\n"
                  "chatmaild wire --apply     (the kernel has to grant as much)")
