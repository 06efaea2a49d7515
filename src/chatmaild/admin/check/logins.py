"""Does the host turn logins of chat users away before our passdb is asked about them?"""

from collections.abc import Iterable, Iterator

from chatmaild.admin.check import exemptions
from chatmaild.admin.check.dovecot import NAMES, is_ours
from chatmaild.admin.check.findings import Finding, failure, warning
from chatmaild.admin.check.postfix import chat_servers
from chatmaild.admin.servers.doveconf import Block, Dovecot
from chatmaild.admin.servers.postconf import Postfix, PostfixError, Service, split
from chatmaild.config.config import Config

PROTOCOLS = {"passdb": ("imap", "smtp"), "userdb": ("imap", "lmtp")}
"""For which of Dovecot's protocols we answer; Postfix checks logins as smtp."""

CLIENTS = 10
"""Connections of one user from one address: Dovecot's default."""

SMTPD_PROCESSES = 100
"""How many processes of Postfix are connected to auth, by its default_process_limit."""


def of_dovecot(dovecot: Dovecot) -> Iterator[Finding]:
    """Yield a failure for each thing that keeps chat users out."""
    for block in dovecot.tree.all("protocol"):
        for kind in PROTOCOLS:
            yield from _databases(dovecot, block, kind)
    if dovecot.get("auth_ssl_require_client_cert") == "yes":
        yield failure("client-certificate", f"{dovecot.path}: auth_ssl_require_client_cert",
                      "chat clients have no certificate: they cannot log in",
                      "auth_ssl_require_client_cert = no")
    separators = dovecot.get("auth_master_user_separator")
    if found := "".join(letter for letter in separators if letter in NAMES):
        yield failure("master-separator", f"{dovecot.path}: auth_master_user_separator",
                      f"{found} occurs in chat addresses, which are then taken for two names",
                      "auth_master_user_separator = *")
    yield from _connections(dovecot)
    clients = dovecot.for_protocol("imap", "mail_max_userip_connections", "0")
    if clients.isdigit() and 0 < int(clients) < CLIENTS:
        yield warning("imap-connections", f"{dovecot.path}: mail_max_userip_connections",
                      f"is {clients}: a chat user has a connection for each device and folder, "
                      "often from one address",
                      f"protocol imap {{\n  mail_max_userip_connections = {CLIENTS}\n}}")


def _databases(dovecot: Dovecot, protocol: Block, kind: str) -> Iterator[Finding]:
    """Find databases for one protocol alone, which Dovecot asks before those for all of them."""
    excluded = protocol.name.removeprefix("!")
    used = [name for name in PROTOCOLS[kind] if (name == protocol.name) or (
        excluded != protocol.name and name != excluded)]
    for database in protocol.all(kind):
        if (used and not is_ours(database) and not database.get("username_filter")
                and database.get("master") != "yes"):
            name = database.get("driver", database.name)
            yield failure(f"{kind}-order", f"{dovecot.path}: protocol {protocol.name}: {kind}",
                          f"{name} is asked before ours about chat users in {', '.join(used)}",
                          f"move it out of the protocol block, to where it sorts after {kind} "
                          "of ours")


def _connections(dovecot: Dovecot) -> Iterator[Finding]:
    """Compare the connections that auth takes with the processes that connect to it."""
    limit = dovecot.service("auth").limit("client_limit",
                                          dovecot.get("default_client_limit") or "1000")
    logins = dovecot.service("imap-login").limit("process_limit",
                                                 dovecot.get("default_process_limit") or "100")
    wanted = logins + SMTPD_PROCESSES
    if limit < wanted:
        yield failure("auth-clients", f"{dovecot.path}: service auth: client_limit",
                      f"{limit} processes at once may ask about logins; when more do, nobody gets "
                      "in, ordinary users included",
                      f"service auth {{\n  client_limit = {wanted}\n}}")


def of_postfix(postfix: Postfix, dovecot: Dovecot | None, config: Config) -> Iterator[Finding]:
    """Yield findings about services that let clients log in, but not with a password, or not all.
    """
    for service in chat_servers(postfix, config):
        place = f"{postfix.directory}/master.cf: {service.name}"
        options = postfix.words("smtpd_sasl_tls_security_options", service)
        if "noplaintext" in options:
            yield failure("sasl-plain", f"{place}: smtpd_sasl_tls_security_options",
                          "noplaintext also forbids PLAIN within TLS, by which chat clients log in",
                          "smtpd_sasl_tls_security_options = noanonymous")
        if networks := postfix.get("smtpd_sasl_exceptions_networks", service):
            yield warning("sasl-exceptions", f"{place}: smtpd_sasl_exceptions_networks",
                          f"chat users whose clients are in {networks} cannot send",
                          "-o smtpd_sasl_exceptions_networks=")
        is_wrapped = postfix.is_on("smtpd_tls_wrappermode", service)
        if postfix.is_on("smtpd_tls_req_ccert", service) and (
                is_wrapped or postfix.get("smtpd_tls_security_level", service) == "encrypt"):
            yield failure("client-certificate", f"{place}: smtpd_tls_req_ccert",
                          "chat clients have no certificate: they are cut off",
                          "smtpd_tls_ask_ccert = yes, which does without, instead")
        try:
            yield from _mechanisms(postfix, service, dovecot, place)
            yield from _keywords(postfix, service, place, ("auth",) if is_wrapped else
                                 ("auth", "starttls"))
        except PostfixError as error:
            yield failure("table", place, str(error), "repair the table, or take it out")


def _mechanisms(postfix: Postfix, service: Service, dovecot: Dovecot | None,
                place: str) -> Iterator[Finding]:
    """Find a filter that leaves none of the mechanisms of Dovecot's that chat clients have."""
    name = "smtpd_sasl_mechanism_filter"
    offered = [word.lower() for word in dovecot.tree.words("auth_mechanisms")] if dovecot else []
    known = [word for word in ("plain", "login") if word in (offered or ["plain"])]
    if postfix.get(name, service) and known and not any(
            postfix.lists(name, word, service) for word in known):
        yield failure("sasl-filter", f"{place}: {name}",
                      "leaves no mechanism by which chat clients log in; where it leaves none at "
                      "all, Postfix serves nobody",
                      "smtpd_sasl_mechanism_filter = !external, static:rest")


def _keywords(postfix: Postfix, service: Service, place: str,
              needed: Iterable[str]) -> Iterator[Finding]:
    """Find extensions that clients are not told of; a table by address has the first word."""
    tables, for_others = "smtpd_discard_ehlo_keyword_address_maps", "smtpd_discard_ehlo_keywords"
    clients = [*exemptions.ANYWHERE, *exemptions.written(postfix.words(tables, service))]
    answers = postfix.look_up_all(tables, clients, service)
    for client in clients:
        name = tables if client in answers else for_others
        words = split(answers.get(client, postfix.get(for_others, service)).lower())
        if hidden := [word.upper() for word in needed if word in words]:
            whom = f" from clients such as {client}" if client in answers else ""
            yield failure("ehlo-keywords", f"{place}: {name}",
                          f"hides {', '.join(hidden)}{whom}: chat clients do not log in where they "
                          "are not told that they can", f"take it out of {name}")
            return
