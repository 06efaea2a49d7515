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


def check(config: Config, postfix: Postfix, dovecot: Dovecot) -> Iterator[Finding]:
    """Yield findings about the ordinary recipients that Dovecot's LMTP has to know."""
    users = _users(config, dovecot)
    for parameter in ("virtual_transport", "mailbox_transport"):
        socket = postfix.lmtp_socket(postfix.get(parameter))
        recipients = [address for user in users[:MOST]
                      if (address := _address(user, parameter, postfix))]
        if socket and recipients:
            yield _asked(parameter, socket, recipients)


def _users(config: Config, dovecot: Dovecot) -> list[str]:
    """Return the names that Dovecot lists; none if its userdb cannot list."""
    done = hosttool.ask(["doveadm", "-c", dovecot.path, "user", "*"], "Dovecot", DovecotError)
    return [name for name in done.stdout.split()
            if name.rpartition("@")[2].lower() not in config.domains]


def _address(user: str, parameter: str, postfix: Postfix) -> str:
    """Return the address of `user` that Postfix passes on by `parameter`; "" if none."""
    domain = user.partition("@")[2]
    if parameter == "virtual_transport":
        return user if domain and postfix.lists("virtual_mailbox_domains", domain) else ""
    if not domain:
        return f"{user}@{postfix.get('myhostname')}"
    return user if postfix.lists("mydestination", domain) else ""


def _asked(parameter: str, socket: str, recipients: list[str]) -> Finding:
    place = f"LMTP at {socket}"
    try:
        with smtplib.LMTP(socket, local_hostname="localhost") as lmtp:
            lmtp.ehlo()     # LHLO, in fact
            lmtp.mail("")
            answers = {address: lmtp.rcpt(address) for address in recipients}
            lmtp.rset()
    except (OSError, smtplib.SMTPException) as error:
        return failure("live-ordinary", place, f"cannot be asked: {error}", "journalctl -u dovecot")
    lost = [code for code, _ in answers.values() if code != 250]
    if lost:
        return failure("live-ordinary", place,
                       f"{len(lost)} of {len(answers)} ordinary users are not found ({lost[0]}): "
                       "mail to them is lost or waits",
                       "auth_username_format and userdb in doveconf -n, protocol lmtp")
    return ok("live-ordinary", place,
              f"finds {len(answers)} ordinary users (those of {parameter})")
