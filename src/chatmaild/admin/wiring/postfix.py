"""Plans the changes to Postfix: it asks our filters and hands chat mail to Dovecot."""

from collections.abc import Iterator

from chatmaild.admin.servers import localmail
from chatmaild.admin.servers.milters import milters
from chatmaild.admin.servers.postconf import Service, split
from chatmaild.admin.wiring import cleanup, reach, routing
from chatmaild.admin.wiring.changes import Changes, identifier
from chatmaild.admin.wiring.observation import Host
from chatmaild.admin.wiring.steps import Obstacle, Step
from chatmaild.config.config import Config

FILTER = ("{{ unix:chatmaild/{}.sock, connect_timeout=5s, command_timeout=5s, "
          "content_timeout=60s, default_action=tempfail }}")

NO_SUBMISSION = """\
either give chat services of its own:
  chatmaild wire --own-submission ADDRESS
or give the host one, with its certificate, and run this again:
  postconf -e smtpd_tls_cert_file=FILE smtpd_tls_key_file=FILE
  postconf -e smtpd_sasl_type=dovecot smtpd_sasl_path=private/auth
  postconf -M 'submission/inet=submission inet n - y - - smtpd'
  postconf -P submission/inet/smtpd_sasl_auth_enable=yes
  postconf -P submission/inet/smtpd_tls_security_level=encrypt
  postconf -P submission/inet/smtpd_relay_restrictions=permit_sasl_authenticated,reject"""

OTHER_SASL = """\
either leave it, and give chat services of its own, which ask Dovecot:
  chatmaild wire --own-submission ADDRESS
or let it ask Dovecot, if that knows the passwords of your users:
  postconf -P {0}/smtpd_sasl_type=dovecot {0}/smtpd_sasl_path=private/auth"""


def plan(host: Host, config: Config, own_address: str = "") -> Iterator[Step | Obstacle]:
    """Yield the steps and obstacles for all services of this instance of Postfix.

    `own_address`: chat gets submission services there, and ordinary ones are left alone.
    """
    changes = Changes(host)
    yield from reach.options(host)
    servers = host.postfix.submission_servers()
    own = [service for service in servers if is_own(host, service)]
    submission = [service for service in servers if service not in own]
    has_own = bool(own_address or own)
    if not submission and not has_own:
        yield Obstacle(host.master_cf, "no service lets clients log in, so nobody can send",
                       NO_SUBMISSION)
    yield from reach.sockets(host)
    yield from _filters(changes)
    if has_own:
        yield from own_submission(changes, config, own_address)
    else:
        yield from _logins(host, submission)
    for service in host.postfix.servers():
        if service.is_way_back or is_own(host, service):
            continue
        if service.is_port_25 or service not in submission and not service.is_loopback:
            yield from _asks(changes, service, "chat_incoming_milters", "$chat_incoming_filter",
                             "milter-incoming-missing")
        elif service in submission and not has_own:
            yield from _asks(changes, service, "chat_submission_milters", "$chat_filter",
                             "milter-missing")
        else:
            continue
        yield from reach.overrides(host, service, service in submission)
        if service in submission:
            yield from cleanup.plan(changes, config, service)
    yield from _lists_of_milters(changes, config)
    if has_own:     # what is yet to be made has what main.cf says
        submission = own or [Service(own_address, "smtpd", False)]
    yield from routing.plan(changes, config, submission)
    yield from _size(changes, config)
    yield from _local_mail(changes, config)


def plan_other(host: Host, config: Config) -> Iterator[Step | Obstacle]:
    """Plan for another instance, which has no filter of ours: chat users may not send there."""
    if any(host.postfix.get("smtpd_sasl_type", service) == "dovecot"
           for service in host.postfix.submission_servers()):
        yield from refuse_chat(Changes(host), config)


def is_own(host: Host, service: Service) -> bool:
    """Whether `--own-submission` made it."""
    return host.raw("syslog_name", service.name).startswith("postfix/chat-")


def _logins(host: Host, submission: list[Service]) -> Iterator[Obstacle]:
    for service in submission:
        kind = host.postfix.get("smtpd_sasl_type", service)
        if kind != "dovecot":
            yield Obstacle(f"{host.master_cf}: {service.name}",
                           f"smtpd_sasl_type = {kind}: chat accounts are known to Dovecot only",
                           OTHER_SASL.format(service.name))


def _filters(changes: Changes) -> Iterator[Step]:
    for name, socket in (("chat_filter", "filtermail"),
                         ("chat_incoming_filter", "filtermail-incoming")):
        own = changes.host.main.get(name, "")
        if not any(milter.is_ours for milter in milters(own)):
            yield from changes.parameter(name, FILTER.format(socket), "our filter, tempfail "
                                         "while it is down", ("milter-default-action",))


def _asks(changes: Changes, service: Service, common: str, ours: str,
          code: str) -> Iterator[Step]:
    """Have `service` ask our filter beside those that it asks already."""
    host = changes.host
    yield from _protocol(changes, service)
    if any(m.is_ours for m in milters(host.postfix.get("smtpd_milters", service))):
        return
    value = f"${common}"
    own = host.options.get(service.name, {}).get("smtpd_milters")
    if own is not None and own != value:
        name = f"chat_{identifier(service.name)}_service_milters"
        yield from changes.parameter(name, f"{ours} {own}".strip(),
                                     f"what {service.name} asks now, ours first", (code,))
        value = f"${name}"
    yield from changes.option(service.name, "smtpd_milters", value,
                              "asks our filter about every message", (code,))


def _protocol(changes: Changes, service: Service) -> Iterator[Step]:
    """Use the latest protocol version; older filters negotiate theirs with Postfix."""
    for where, values in (("", changes.host.main), (service.name, service.options)):
        version = values.get("milter_protocol", "")
        if version.isdigit() and int(version) < 6:
            why, cures = "our filter needs it; others agree on less", ("milter-protocol",)
            yield from (changes.option(where, "milter_protocol", "6", why, cures) if where else
                        changes.parameter("milter_protocol", "6", why, cures))


def _lists_of_milters(changes: Changes, config: Config) -> Iterator[Step]:
    """Copy the host's own milters: an option that refers to its own parameter is fatal."""
    host = changes.host
    own = host.raw("smtpd_milters")
    if any(milter.is_ours for milter in milters(host.postfix.get("smtpd_milters"))):
        return
    behind = (config.incoming_authenticity.startswith("authentication-results")
              or host.main.get("chat_incoming_milters", "").endswith(" $chat_incoming_filter"))
    incoming = f"{own} $chat_incoming_filter" if behind else f"$chat_incoming_filter {own}"
    for name, value in (("chat_submission_milters", f"$chat_filter {own}"),
                        ("chat_incoming_milters", incoming)):
        if any(f"${name}" == step.now for step in changes.made) or host.is_used(name):
            yield from changes.parameter(
                name, value.strip(), "the host's own milters see, and sign, what ours has passed",
                ("milter-lost", "milter-order"))


def _size(changes: Changes, config: Config) -> Iterator[Step | Obstacle]:
    host = changes.host
    wanted = max((d.max_message_size for d in config.domains.values()), default=0)
    limit = int(host.postfix.get("message_size_limit") or 0)
    if 0 < limit < wanted:
        for name in ("mailbox_size_limit", "virtual_mailbox_limit"):
            other = host.raw(name)
            if other.isdigit() and 0 < int(other) < wanted:
                yield Obstacle(f"{host.main_cf}: {name}",
                               f"is {other}, and Postfix wants it to be no less than "
                               f"message_size_limit, which must be {wanted}",
                               f"{name} = 0, or a smaller max_message_size in {config.path}")
        yield from changes.parameter("message_size_limit", str(wanted),
                                     "as large as max_message_size", ("message-size",))
    for service in host.postfix.submission_servers():
        own = host.options.get(service.name, {}).get("message_size_limit", "")
        if own.isdigit() and 0 < int(own) < wanted:
            yield from changes.option(service.name, "message_size_limit", str(wanted),
                                      "as large as max_message_size", ("message-size",))


def _local_mail(changes: Changes, config: Config) -> Iterator[Step]:
    """Plan for mail that passes no smtpd.

    Our filter sees it, and the host's signer signs its bounces, as chatmail servers demand.
    """
    host = changes.host
    why, cures, value = [], [], [host.raw("non_smtpd_milters")]
    if not localmail.is_filtered(host.postfix) and not any(
            localmail.obstacle(host.postfix, config.domains)):
        value.insert(0, "$chat_incoming_filter")
        why.append("no program of this host writes from a chat address")
        cures.append("local-mail")
    own = host.postfix.get("smtpd_milters")     # each entry may have options
    signers = [(m.endpoint, entry) for m, entry in zip(milters(own), split(own)) if not m.is_ours]
    asked = {m.endpoint for m in milters(host.postfix.get("non_smtpd_milters")) if not m.is_ours}
    missing = [entry for endpoint, entry in signers if endpoint not in asked]
    if missing:     # the present ones stay, and none is named twice
        value.append(" ".join(missing) if asked else host.raw("smtpd_milters"))
        why.append("bounces of this host are signed like its mail")
        cures.append("bounces-unsigned")
    if why:
        yield from changes.parameter("non_smtpd_milters", " ".join(filter(None, value)),
                                     "; ".join(why), tuple(cures))
    if signers and "bounce" not in host.postfix.words("internal_mail_filter_classes"):
        classes = f"{host.raw('internal_mail_filter_classes')} bounce".strip()
        yield from changes.parameter("internal_mail_filter_classes", classes,
                                     "bounces are shown to the milters", ("bounces-unsigned",))


def own_submission(changes: Changes, config: Config, address: str) -> Iterator[Step | Obstacle]:
    """Plan services for chat on its own address; the ordinary ones refuse chat users."""
    host = changes.host
    taken = [name for name in ("submission/inet", "587/inet", "submissions/inet", "smtps/inet",
                               "465/inet") if name in host.options or name in host.lines]
    if address and taken and host.postfix.get("inet_interfaces") in ("", "all"):
        yield Obstacle(f"{host.main_cf}: inet_interfaces",
                       f"is all, so the ordinary services listen at {address} too",
                       f"name the other addresses there, without {address}, and restart Postfix")
    where = f"[{address.strip('[]')}]" if ":" in address else address   # as master(5) wants IPv6
    for port, tls in (("587", ("smtpd_tls_security_level", "encrypt")),
                      ("465", ("smtpd_tls_wrappermode", "yes"))) if address else ():
        name = f"{where}:{port}/inet"
        yield from changes.service(name, f"{where}:{port} inet n - {host.chroot('cleanup/unix')} "
                                   "- - smtpd", "submission for chat alone")
        for key, value in (("smtpd_milters", "$chat_submission_milters"),
                           ("smtpd_sasl_auth_enable", "yes"), ("smtpd_tls_auth_only", "yes"),
                           ("smtpd_relay_restrictions", "permit_sasl_authenticated,reject"),
                           ("syslog_name", f"postfix/chat-{port}"), tls, *_sasl(host),
                           *_unhindered(host)):
            yield from changes.option(name, key, value, "submission for chat alone")
        yield from cleanup.own_service(changes, config, name)
    yield from refuse_chat(changes, config)


def _sasl(host: Host) -> list[tuple[str, str]]:
    """Return the options by which a service asks Dovecot, unless main.cf sets that for all."""
    if host.postfix.get("smtpd_sasl_type") == "dovecot":
        return []
    path = next((host.postfix.get("smtpd_sasl_path", service)
                 for service in host.postfix.submission_servers()
                 if host.postfix.get("smtpd_sasl_type", service) == "dovecot"), "private/auth")
    return [("smtpd_sasl_type", "dovecot"), ("smtpd_sasl_path", path)]


def _unhindered(host: Host) -> list[tuple[str, str]]:
    """Return the option that undoes what main.cf says for all services, if that is in the way."""
    words = host.postfix.words("receive_override_options")
    left = [word for word in words if word not in reach.HINDERING]
    return [("receive_override_options", ",".join(left))] if left != words else []


def refuse_chat(changes: Changes, config: Config) -> Iterator[Step]:
    """Close the ordinary submission services to chat users, who could evade our filter there."""
    host = changes.host
    if not host.postfix.submission_servers():
        return
    names = "|".join(domain.replace(".", r"\.") for domain in config.mail_domains)
    refusal = f"554 5.7.1 Use the server of {config.mail_domains[0]}"
    why = "ordinary services take nothing from chat users"
    yield from changes.parameter(
        "chat_logins", f"check_sasl_access regexp:{{ {{ /@({names})$$/ {refusal} }} }}", why)
    senders = " ".join(f"{{ {domain} = {refusal} }}" for domain in config.mail_domains)
    yield from changes.parameter("chat_senders", f"check_sender_access inline:{{ {senders} }}", why)
    yield from changes.parameter(
        "chat_data_restrictions",
        f"$chat_logins $chat_senders {host.raw('smtpd_data_restrictions')}".strip(), why)
    for service in host.postfix.submission_servers():
        if not is_own(host, service) and not service.is_port_25:
            yield from changes.option(service.name, "smtpd_data_restrictions",
                                      "$chat_data_restrictions", why)
            yield from changes.no_option(service.name, "smtpd_milters", "$chat_submission_milters",
                                         "ordinary mail does not meet our filter")
            yield from cleanup.give_back(changes, service.name)
