"""Do Dovecot's processes that open mailboxes run as the right user, and for one client each?

Chat mailboxes belong to mail_user. A process becomes the user of the mailbox that it opens. An imap
process does so once and can serve nobody else afterwards. (The `user` of service imap does not
matter: its processes start as root anyway, tried on 2.3 and 2.4.)
"""

from collections.abc import Iterator

from chatmaild.admin.check.findings import Finding, failure
from chatmaild.admin.servers.doveconf import Block, Dovecot
from chatmaild.config.config import Config


def check(dovecot: Dovecot, config: Config) -> Iterator[Finding]:
    """Yield findings about the users and the client limits of lmtp and imap processes."""
    yield from _lmtp_user(dovecot, config.mail_user)
    yield from _reuse(dovecot, dovecot.service("imap"))


def _lmtp_user(dovecot: Dovecot, mail_user: str) -> Iterator[Finding]:
    user = dovecot.service("lmtp").get("user") or "root"
    if user not in ("root", "0", mail_user):
        yield failure("lmtp-process-user", f"{dovecot.path}: service lmtp",
                      f"runs as {user}, to whom Dovecot tells nothing of {mail_user}'s mailboxes: "
                      "mail to chat users has to wait (451)",
                      f"take the line user = {user} out of service lmtp: as root it becomes the "
                      "user of each mailbox")


def _reuse(dovecot: Dovecot, service: Block) -> Iterator[Finding]:
    """Find processes that serve several clients: setresgid fails, and all of them are cut off."""
    reuse = "service_count" if dovecot.is_23 else "restart_request_count"
    for key, what in (("client_limit", "at once"), (reuse, "one after another")):
        value = service.get(key) or "1"
        if value != "1":
            yield failure("imap-reuse", f"{dovecot.path}: service imap: {key}",
                          f"is {value}: a process that serves several clients {what} can be of one "
                          "system user only, so chat users and others disconnect each other",
                          f"service imap {{\n  {key} = 1\n}}")
