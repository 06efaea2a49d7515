"""Does mail to the ordinary users of the host still find them? `check --live` asks Dovecot's LMTP.

A setting for chat users that changes LMTP's lookup of users can lose ordinary mail (550), or give
it to somebody else. A dialogue that ends before DATA does the lookup and delivers nothing.
"""

import smtplib
from collections.abc import Iterator

from chatmaild.admin.check.findings import Finding, failure, ok
from chatmaild.admin.servers import hosttool
from chatmaild.admin.servers.doveconf import Dovecot, DovecotError
from chatmaild.admin.servers.postconf import Postfix
from chatmaild.config.config import Config

MOST = 50
"""Ordinary users that are asked about, of those that Dovecot lists first."""

MOST_DOMAINS = 5
"""Local domains with which each is asked about: Dovecot's user name format may know only one."""


def check(config: Config, postfix: Postfix, dovecot: Dovecot) -> Iterator[Finding]:
    """Yield findings about the ordinary recipients that Dovecot's LMTP has to know."""
    users = _users(config, dovecot)
    for parameter in ("virtual_transport", "mailbox_transport"):
        socket = postfix.lmtp_socket(postfix.get(parameter))
        recipients = [addresses for user in users[:MOST]
                      if (addresses := _addresses(user, parameter, postfix))]
        if socket and recipients:
            yield _asked(parameter, socket, recipients)


def _users(config: Config, dovecot: Dovecot) -> list[str]:
    """Return the names that Dovecot lists; none if its userdb cannot list."""
    done = hosttool.ask(["doveadm", "-c", dovecot.path, "user", "*"], "Dovecot", DovecotError)
    return [name for name in done.stdout.split()
            if name.rpartition("@")[2].lower() not in config.domains]


def _addresses(user: str, parameter: str, postfix: Postfix) -> list[str]:
    """Return the addresses of `user` that Postfix passes on by `parameter`."""
    domain = user.partition("@")[2]
    if parameter == "virtual_transport":
        return [user] if domain and postfix.lists("virtual_mailbox_domains", domain) else []
    if domain:
        return [user] if postfix.lists("mydestination", domain) else []
    local = [name for name in postfix.words("mydestination")
             if "." in name and not name.startswith(("/", "!")) and ":" not in name]
    return [f"{user}@{name}" for name in local[:MOST_DOMAINS] or [postfix.get("myhostname")]]


def _asked(parameter: str, socket: str, recipients: list[list[str]]) -> Finding:
    """Ask about users, each by all of their addresses: one that is found is enough."""
    place = f"LMTP at {socket}"
    try:
        with smtplib.LMTP(socket, local_hostname="localhost") as lmtp:
            lmtp.ehlo()     # LHLO, in fact
            lmtp.mail("")
            answers = [min(lmtp.rcpt(address)[0] for address in addresses)
                       for addresses in recipients]
            lmtp.rset()
    except (OSError, smtplib.SMTPException) as error:
        return failure("live-ordinary", place, f"cannot be asked: {error}", "journalctl -u dovecot")
    lost = [code for code in answers if code != 250]
    if lost:
        return failure("live-ordinary", place,
                       f"{len(lost)} of {len(answers)} ordinary users are not found ({lost[0]}): "
                       "mail to them is lost or waits",
                       "auth_username_format and userdb in doveconf -n, protocol lmtp")
    return ok("live-ordinary", place,
              f"finds {len(answers)} ordinary users (those of {parameter})")
