"""Finds what the host does in a chat user's session although no userdb field can turn it off.

That is a script after each login, or a copy of the dialogue.
"""

import re
from collections.abc import Callable, Iterator

from chatmaild.admin.check.findings import Finding, failure, ok, warning
from chatmaild.admin.servers.doveconf import Block, Dovecot
from chatmaild.config.config import Config

READS = 65_536
"""Octets of a script that are looked at."""


def read(path: str) -> str:
    """Return the beginning of a script; "" if it cannot be read."""
    try:
        with open(path, errors="replace") as file:
            return file.read(READS)
    except OSError:
        return ""


def check(dovecot: Dovecot, config: Config,
          text: Callable[[str], str] = read) -> Iterator[Finding]:
    """Yield findings about scripts after a login, and about sessions that are written down."""
    for service in _after_login(dovecot):
        yield from _script(dovecot, service, config, text)
    yield from _folders(dovecot)
    for key in ("lmtp_rawlog_dir", "lmtp_proxy_rawlog_dir"):
        directory = dovecot.for_protocol("lmtp", key)
        if directory:
            yield warning("rawlog", f"{dovecot.path}: {key}",
                          f"each delivery is kept in {directory}, which chatmaild does not delete",
                          f"take {key} out when you have seen enough")


def _folders(dovecot: Dovecot) -> Iterator[Finding]:
    """Check for folders made by deliveries: on 2.3 our userdb prevents them; 2.4 does not ask."""
    if (not dovecot.is_23 and dovecot.for_protocol("lmtp", "lmtp_save_to_detail_mailbox") == "yes"
            and dovecot.for_protocol("lmtp", "lda_mailbox_autocreate") == "yes"):
        yield warning("detail-folders", f"{dovecot.path}: lmtp_save_to_detail_mailbox",
                      "anybody can make folders in chat mailboxes, by mail to name+folder, into "
                      "which chat clients do not look",
                      "protocol lmtp {\n  lda_mailbox_autocreate = no\n}")


def _after_login(dovecot: Dovecot) -> Iterator[Block]:
    """Yield the services that imap hands each login to first (Dovecot: PostLogin scripting)."""
    sockets = [word for word in dovecot.service("imap").get("executable").split()[1:]
               if not word.startswith("-")]
    for service in dovecot.tree.all("service"):
        names = {service.name, *(block.name for block in service.all("unix_listener"))}
        if names & set(sockets) and "script-login" in service.get("executable"):
            yield service


def _script(dovecot: Dovecot, service: Block, config: Config,
            text: Callable[[str], str]) -> Iterator[Finding]:
    place = f"{dovecot.path}: service {service.name}"
    paths = re.findall(r"(?:^|\s)(/\S+)", service.get("executable"))
    scripts = [path for path in paths if not path.endswith("/script-login")]
    known = "".join(text(path) for path in scripts)
    strange = [domain for domain in config.mail_domains if domain not in known]
    name = scripts[0] if scripts else service.get("executable")
    if not strange:
        yield ok("post-login", place, f"{name} knows of chat users")
        return
    patterns = "|".join(f"*@{domain}" for domain in config.mail_domains)
    yield failure("post-login", place,
                  f"{name} runs after each login of a chat user too, and may change where their "
                  "mail is, or keep them out", f"{name}, first of all:\n"
                  f'case "$USER" in {patterns}) exec "$@" ;; esac')
