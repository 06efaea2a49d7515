"""Is this host ready to share its chat domains with other hosts?"""

from collections.abc import Iterator
from dataclasses import dataclass

from chatmaild.accounts import directoryschema
from chatmaild.accounts.directory import PATIENCE, Directory, Node
from chatmaild.accounts.directorylines import conninfo
from chatmaild.admin.check import peers
from chatmaild.admin.check.findings import Finding, failure, ok, warning
from chatmaild.admin.servers.doveconf import Dovecot
from chatmaild.admin.servers.postconf import Postfix
from chatmaild.admin.wiring.severalhosts import LMTP_PORT, SERVICE
from chatmaild.config.config import Config
from chatmaild.errors import ChatmaildError

GUIDE = "see several-hosts.md"


@dataclass(frozen=True)
class Known:
    """What the directory says."""

    version: int | None = None
    """Of its tables."""
    nodes: tuple[Node, ...] = ()
    trouble: str = ""
    """Why it says nothing."""


def ask(config: Config) -> Known:
    """Ask the directory, if this host has one."""
    if config.directory is None:
        return Known()
    try:
        with Directory(conninfo(config.directory), config.node, lines=1,
                       patience=PATIENCE) as directory:
            return Known(directory.version(), tuple(directory.nodes()))
    except ChatmaildError as error:
        return Known(trouble=str(error))


def check(known: Known, postfix: Postfix | None, dovecot: Dovecot | None, config: Config
          ) -> Iterator[Finding]:
    """Yield findings about the directory and the other hosts; none on a host that is alone."""
    if config.directory is None:
        return
    if known.trouble:
        yield failure("directory", str(config.directory), known.trouble, GUIDE)
    else:
        yield _tables(config, known.version)
        yield _joined(config, known.nodes)
    others = [node for node in known.nodes if node.name != config.node]
    if postfix:
        yield from check_postfix(postfix)
        authorities = postfix.get("lmtp_tls_CAfile", postfix.service(SERVICE))
        yield from peers.check(others, int(LMTP_PORT), authorities)
    if dovecot:
        yield from check_dovecot(dovecot, others)


def _tables(config: Config, version: int | None) -> Finding:
    if version == directoryschema.VERSION:
        return ok("directory", str(config.directory), "answers")
    return failure("directory-version", str(config.directory),
                   f"its tables are of version {version}, not {directoryschema.VERSION}",
                   "chatmaild directory init, as the owner of the database")


def _joined(config: Config, nodes: tuple[Node, ...]) -> Finding:
    own = [node for node in nodes if node.name == config.node]
    if own:
        return ok("directory-node", config.node, f"is in the directory, at {own[0].ip}")
    return failure("directory-node", config.node, "is not in the directory",
                   "chatmaild directory join IP")


def check_postfix(postfix: Postfix) -> Iterator[Finding]:
    """Does mail for accounts elsewhere find its way?"""
    if not any(word.partition(":")[0] in ("pgsql", "proxy") and "pgsql:" in word
               for word in postfix.words("transport_maps")):
        yield failure("directory-transport", "main.cf: transport_maps",
                      "does not ask the directory where an account lives",
                      f"{GUIDE}: chat-home.cf and postfix.sh")
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


def check_dovecot(dovecot: Dovecot, others: list[Node]) -> Iterator[Finding]:
    """Do the other hosts get in, and nobody else?"""
    listeners = [block for block in dovecot.service("lmtp").all("inet_listener")
                 if block.get("port") == LMTP_PORT]
    where = f"service lmtp, port {LMTP_PORT}"
    address = listeners[0].get("address") or listeners[0].get("listen") if listeners else ""
    if not listeners:
        yield failure("directory-lmtp", where, "no other host can give its mail here",
                      f"{GUIDE}: 06-chatmaild-hosts.conf")
    elif not address or "*" in address or "::" in address.split():
        yield warning("directory-lmtp", where, "listens on every address; whoever reaches it "
                      "passes by the filter", f"{GUIDE}, and close it to everybody but the others")
    else:
        yield ok("directory-lmtp", where, f"listens on {address}; close it to everybody but the "
                 "other hosts")
    trusted = dovecot.get("login_trusted_networks").replace(",", " ").split()
    strangers = [node.ip for node in others if node.ip not in trusted]
    if strangers and not any("/" in network for network in trusted):
        yield warning("directory-trusted", "login_trusted_networks",
                      "lacks other hosts, so that their users all seem to come from one address",
                      f"login_trusted_networks = {' '.join([*trusted, *strangers])}")
