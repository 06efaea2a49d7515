"""Does mail to each chat address reach Dovecot's LMTP, and nobody else?"""

from collections.abc import Iterator

from chatmaild.admin.check.findings import Finding, failure, ok, warning
from chatmaild.admin.check.postfix import chat_servers
from chatmaild.admin.servers.doveconf import Dovecot
from chatmaild.admin.servers.postconf import PROBE, Postfix, PostfixError
from chatmaild.admin.wiring import listeners, rewriting, senders
from chatmaild.config.config import Config

LMTP_SOCKET = "lmtp:unix:private/dovecot-lmtp"

_INDEXED = ("hash:/", "btree:/", "cdb:/", "lmdb:/", "dbm:/")
"""Tables that postmap(1) makes from a text file of the same name."""


def check(postfix: Postfix, dovecot: Dovecot | None, config: Config) -> Iterator[Finding]:
    """Yield findings about routing, tables and delimiters of the chat domains."""
    for domain in config.mail_domains:
        try:
            yield from _domain(postfix, dovecot, domain, config)
        except PostfixError as error:
            yield failure("table", f"{postfix.directory}/main.cf", str(error),
                          "repair the table, or take it out of main.cf")
    yield from _delimiter(postfix, dovecot, config)
    if dovecot is not None:
        yield from _login_socket(postfix, dovecot)


def _domain(postfix: Postfix, dovecot: Dovecot | None, domain: str,
            config: Config) -> Iterator[Finding]:
    place = f"{postfix.directory}/main.cf"
    others = [name for name in ("mydestination", "virtual_alias_domains")
              if postfix.lists(name, domain)]
    for name in others:
        yield failure(
            "domain-elsewhere", f"{place}: {name}",
            f"{domain} is listed here, so its mail goes to "
            + ("system users" if name == "mydestination" else "aliases") + " instead of mailboxes",
            f"take {domain} out of {name}",
        )
    classes = [name for name in ("virtual_mailbox_domains", "relay_domains")
               if postfix.lists(name, domain)]
    if not classes:
        if not others:
            yield failure("domain-missing", f"{place}: virtual_mailbox_domains",
                          f"{domain} is missing: Postfix takes no mail for it",
                          _added(postfix, "virtual_mailbox_domains", domain))
        return
    yield ok("domain", f"{place}: {classes[0]}", f"has {domain}")
    yield from _transport(postfix, dovecot, domain, classes[0])
    yield from _recipients(postfix, domain, classes[0])
    yield from _aliases(postfix, domain)
    yield from _senders(postfix, domain, config)


def _added(postfix: Postfix, name: str, word: str) -> str:
    return f"{name} = " + ", ".join([*postfix.words(name), word])


def _transport(
    postfix: Postfix, dovecot: Dovecot | None, domain: str, domain_class: str
) -> Iterator[Finding]:
    key, transport = postfix.way(domain)
    name = (f"transport_maps ({key})" if key else
            "virtual_transport" if domain_class.startswith("virtual") else "relay_transport")
    place = f"{postfix.directory}/main.cf: {name}"
    path = postfix.lmtp_socket(transport)
    is_reached = dovecot is None or listeners.delivers(postfix, dovecot, transport)
    if path is None or not (path or is_reached):
        line = (f"virtual_transport = {LMTP_SOCKET}" if name == "virtual_transport"
                else f"transport_maps: {domain}  {LMTP_SOCKET}")
        yield failure("transport", place,
                      f"mail for {domain} goes to {transport or 'nowhere'}, not to Dovecot by LMTP",
                      line)
        return
    method = transport.partition(":")[0]
    if method in postfix.words("defer_transports"):
        yield failure("transport-deferred", f"{postfix.directory}/main.cf: defer_transports",
                      f"has {method}: mail for {domain} waits until somebody runs postqueue -f",
                      f"take {method} out of defer_transports")
    if method == "lmtp" and postfix.delays("lmtp_destination_rate_delay"):
        delay = postfix.get("lmtp_destination_rate_delay")
        yield failure("rate-delay", f"{postfix.directory}/main.cf: lmtp_destination_rate_delay",
                      f"each message to {domain} waits {delay} for the one before it, whoever "
                      "they are for", "postconf -e lmtp_destination_rate_delay=0s")
    if is_reached:
        yield ok("transport", place, f"{domain} goes to {transport}")
    else:
        yield failure(
            "transport-socket", place, f"Dovecot's LMTP does not listen at {path}",
            f"service lmtp {{\n  unix_listener {path} {{\n    mode = 0600\n"
            "    user = postfix\n    group = postfix\n  }\n}",
        )


def _login_socket(postfix: Postfix, dovecot: Dovecot) -> Iterator[Finding]:
    """Do Postfix and Dovecot agree on where logins are checked?"""
    known = [path for path, _ in listeners.listeners(dovecot, "auth")]
    for service in postfix.submission_servers():
        path = postfix.get("smtpd_sasl_path", service)
        if postfix.get("smtpd_sasl_type", service) != "dovecot" or path.startswith("inet:"):
            continue
        path = postfix.resolve(path.removeprefix("unix:"), service)
        if path not in known:
            yield failure(
                "sasl-socket", f"{postfix.directory}/master.cf: {service.name}",
                f"Dovecot checks no logins at {path} (smtpd_sasl_path)",
                f"service auth {{\n  unix_listener {path} {{\n    mode = 0660\n"
                "    user = postfix\n    group = postfix\n  }\n}",
            )


def _recipients(postfix: Postfix, domain: str, domain_class: str) -> Iterator[Finding]:
    """Find tables of recipients: they refuse addresses that a first login has yet to create."""
    name = "virtual_mailbox_maps" if domain_class.startswith("virtual") else "relay_recipient_maps"
    tables = postfix.get(name)
    if not tables or not postfix.is_on("smtpd_reject_unlisted_recipient"):
        return
    place = f"{postfix.directory}/main.cf: {name}"
    if any(postfix.look_up(name, key) for key in (f"{PROBE}@{domain}", f"@{domain}")):
        yield ok("recipients", place, f"lets every address of {domain} pass")
    else:
        yield failure("recipients", place,
                      f"the table does not know addresses of {domain}, so mail to them is refused "
                      "(User unknown)", f"{name} = {tables}, inline:{{ @{domain}=chat }}")


def _aliases(postfix: Postfix, domain: str) -> Iterator[Finding]:
    for name in ("virtual_alias_maps", *rewriting.TABLES):
        key, target = rewriting.rewritten(postfix, name, domain)
        if key:
            place = f"{postfix.directory}/main.cf: {name}"
            yield _rewritten(name, place, key, domain, target)
    if entry := rewriting.masquerade(postfix, domain):
        yield failure("masquerade", f"{postfix.directory}/main.cf: masquerade_domains",
                      f"{entry} makes the sender somebody@{domain} somebody@{entry}",
                      f"masquerade_domains = !{domain} {postfix.get('masquerade_domains')}")
    if not postfix.look_up("virtual_alias_maps", f"postmaster@{domain}"):
        yield _postmaster(postfix, domain)


def _postmaster(postfix: Postfix, domain: str) -> Finding:
    """Name a table to which the address may be added: one with a source, or a new one."""
    tables = postfix.words("virtual_alias_maps")
    address = f"postmaster@{domain}"
    editable = next((table for table in tables if table.startswith(_INDEXED)), "")
    if editable:
        path = editable.partition(":")[2]
        cure = f"echo '{address} root' >>{path}; postmap {editable}"
    else:
        value = ", ".join([*tables, f"inline:{{ {{ {address} = root }} }}"])
        cure = f"postconf -e 'virtual_alias_maps = {value}'; postfix reload"
    return warning("postmaster", f"{postfix.directory}/main.cf: virtual_alias_maps",
                   f"{', '.join(tables) or 'is empty: it'} has no {address}, so mail to it reaches "
                   "nobody, but every mail domain must have that address (RFC 5321)", cure)


def _rewritten(name: str, place: str, key: str, domain: str, target: str) -> Finding:
    if name in ("lmtp_generic_maps", "sender_canonical_maps", "smtp_generic_maps"):
        return failure("aliases", place, f"the sender of chat mail becomes {target}",
                       f"keep {domain} out of the table; postsrsd has SRS_EXCLUDE_DOMAINS in "
                       "/etc/default/postsrsd, or domains in postsrsd.conf")
    return failure("aliases", place, f"all mail to {domain} is redirected to {target}",
                   f"take {key} out of the table")


def _senders(postfix: Postfix, domain: str, config: Config) -> Iterator[Finding]:
    """May a chat user who has logged in send under their address?"""
    for service in chat_servers(postfix, config):
        if used := senders.refused_by(postfix, service, domain):
            escaped = domain.replace(".", r"\.")
            yield failure(
                "sender-login", f"{postfix.directory}/master.cf: {service.name}",
                f"{', '.join(used)} refuses chat users: smtpd_sender_login_maps does not "
                f"say that the addresses of {domain} belong to their own logins",
                rf"a regexp table in smtpd_sender_login_maps: /^(.*@{escaped})$/ ${{1}}",
            )


def _delimiter(
    postfix: Postfix, dovecot: Dovecot | None, config: Config
) -> Iterator[Finding]:
    ours = config.recipient_delimiter
    if dovecot is not None:
        theirs = dovecot.for_protocol("lmtp", "recipient_delimiter", "+")
        if theirs != ours:
            yield failure("delimiter", f"{config.path}: recipient_delimiter",
                          f"is '{ours}', but Dovecot delivers by '{theirs}': name+tag would be "
                          "checked as one mailbox and delivered to another",
                          f"recipient_delimiter = {theirs}")
        else:
            yield ok("delimiter", f"{config.path}: recipient_delimiter", "as in Dovecot")
    postfixs = postfix.get("recipient_delimiter")
    if postfixs and postfixs != ours:
        yield warning("delimiter", f"{postfix.directory}/main.cf: recipient_delimiter",
                      f"is '{postfixs}', in chatmaild.ini '{ours}'")
