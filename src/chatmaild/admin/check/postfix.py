"""Does each service of Postfix that takes chat mail ask our filter, and can nothing undo that?"""

from collections.abc import Iterator

from chatmaild.admin.check import exemptions
from chatmaild.admin.check.findings import Finding, failure, ok, warning
from chatmaild.admin.servers import localmail
from chatmaild.admin.servers.milters import INCOMING, LINE_INCOMING, LINE_OUTGOING, Milter, milters
from chatmaild.admin.servers.postconf import PROBE, Postfix, PostfixError, Service, split
from chatmaild.admin.wiring import reach
from chatmaild.admin.wiring.cleanup import received
from chatmaild.config.config import Config


def check(postfix: Postfix, config: Config) -> Iterator[Finding]:
    """Yield findings about smtpd(8) services, their milters and limits."""
    submission = postfix.submission_servers()
    if not submission:
        yield failure(
            "submission-missing", f"{postfix.directory}/master.cf",
            "no service lets clients log in, so nobody can send",
            "submission inet n - y - - smtpd\n"
            "  -o smtpd_sasl_auth_enable=yes -o smtpd_sasl_type=dovecot "
            "-o smtpd_sasl_path=private/auth\n  -o smtpd_tls_security_level=encrypt "
            "-o smtpd_milters=$chat_submission_milters",
        )
    for service in postfix.servers():
        if service.is_way_back:
            continue
        if not service.is_port_25 and takes_nothing(postfix, config, service):
            yield ok("refuses-chat", _place(postfix, service), "takes nothing from chat users")
            continue
        if service.is_port_25 or service not in submission and not service.is_loopback:
            yield from _incoming(postfix, config, service)
        elif service in submission:
            yield from _outgoing(postfix, service)
        if service in submission:
            yield from _submission(postfix, config, service)
    yield from _everywhere(postfix, submission)
    yield from _local_mail(postfix, config)


def takes_nothing(postfix: Postfix, config: Config, service: Service) -> bool:
    """Whether the service refuses every chat login, because chat has a service of its own."""
    words = postfix.words("smtpd_data_restrictions", service)
    tables = [table for word, table in zip(words, words[1:]) if word == "check_sasl_access"]
    try:
        return bool(tables) and all(
            any((postfix.ask(table, f"{PROBE}@{domain}") or "").startswith(("5", "REJECT"))
                for table in tables) for domain in config.mail_domains)
    except PostfixError:
        return False


def chat_servers(postfix: Postfix, config: Config) -> list[Service]:
    """Return the services where chat users log in and send."""
    return [service for service in postfix.submission_servers()
            if not takes_nothing(postfix, config, service)]


def _place(postfix: Postfix, service: Service) -> str:
    return f"{postfix.directory}/master.cf: {service.name}"


def _ours(postfix: Postfix, service: Service) -> list[Milter]:
    return [m for m in milters(postfix.get("smtpd_milters", service)) if m.is_ours]


def _outgoing(postfix: Postfix, service: Service) -> Iterator[Finding]:
    """Check a service for clients that log in; each of our filters knows both sets of rules."""
    place = _place(postfix, service)
    ours = _ours(postfix, service)
    if not ours:
        yield failure(
            "milter-missing", place,
            "clients log in here, but the outgoing filter is not asked: unencrypted mail of chat "
            "users passes",
            _cure_milters(postfix, "chat_submission_milters", LINE_OUTGOING),
        )
        return
    yield ok("milter", place, f"asks {ours[0].endpoint}")
    yield from _milter_settings(postfix, service, "chat_submission_milters", LINE_OUTGOING)


def _incoming(postfix: Postfix, config: Config, service: Service) -> Iterator[Finding]:
    """Check a service for everybody: only the incoming filter treats them as strangers."""
    place = _place(postfix, service)
    ours = _ours(postfix, service)
    cure = _cure_milters(postfix, "chat_incoming_milters", LINE_INCOMING)
    if not ours:
        yield failure("milter-incoming-missing", place,
                      "takes mail from outside, but the incoming filter is not asked: neither "
                      "authenticity nor encryption of mail to chat users is checked", cure)
        return
    if any(m.socket_name == INCOMING for m in ours):
        yield ok("milter-incoming", place, f"asks {ours[0].endpoint}")
    else:
        yield failure("milter-direction", place,
                      f"takes mail from outside but asks {ours[0].endpoint}, the outgoing filter",
                      cure)
    believes = config.incoming_authenticity.startswith("authentication-results")
    yield from _milter_settings(postfix, service, "chat_incoming_milters", LINE_INCOMING, believes)


def _submission(postfix: Postfix, config: Config, service: Service) -> Iterator[Finding]:
    yield from _login(postfix, service)
    yield from _message_size(postfix, config, service)
    word = "no_header_body_checks"
    if word in postfix.words("receive_override_options", service):
        yield failure("received", f"{_place(postfix, service)}: receive_override_options",
                      f"has {word}: {reach.HINDERING[word]}",
                      f"receive_override_options = {_without(postfix, service, word)}")
        return
    for name in config.mail_domains:
        yield from _received(postfix, service, name)


def _cure_milters(postfix: Postfix, name: str, line: str) -> str:
    """Return the lines that put our filter before the host's own, if it has any."""
    own = postfix.get("smtpd_milters")
    if own and not any(m.is_ours for m in milters(own)):
        return (f"main.cf:    host_milters = {own}\n"
                "            smtpd_milters = $host_milters\n"
                f"            {name} = {line}, $host_milters\n"
                f"master.cf:  -o smtpd_milters=${name}")
    return f"main.cf:    {name} = {line}\nmaster.cf:  -o smtpd_milters=${name}"


def _milter_settings(
    postfix: Postfix, service: Service, name: str, line: str, believes_another: bool = False
) -> Iterator[Finding]:
    """Find settings that let mail evade our filter although the service names it.

    `believes_another`: our filter reads the result of a verifier before it.
    """
    for milter in _ours(postfix, service):
        yield from _default_action(postfix, service, milter)
        yield from _endpoint(postfix, service, milter)
    yield from _milter_order(postfix, service, name, line, believes_another)
    yield from _milter_overrides(postfix, service)
    yield from _milter_protocol(postfix, service)


def _milter_order(
    postfix: Postfix, service: Service, name: str, line: str, believes_another: bool
) -> Iterator[Finding]:
    """Check that each milter of the host still sees the mail, and in a sensible order."""
    place = _place(postfix, service)
    entries = milters(postfix.get("smtpd_milters", service))
    ours = _ours(postfix, service)
    host = [m for m in milters(postfix.get("smtpd_milters")) if not m.is_ours]
    lost = [m.endpoint for m in host if m.endpoint not in {e.endpoint for e in entries}]
    if lost:
        yield failure(
            "milter-lost", place,
            f"the host's own {', '.join(lost)} (smtpd_milters in main.cf) is not asked here any "
            "more: mail of all users leaves without it",
            _cure_milters(postfix, name, line),
        )
    elif believes_another and entries[0].is_ours:
        yield warning(
            "milter-order", place,
            "incoming_authenticity is authentication-results, but no verifier comes before our "
            "filter, which sees the results of those before it only",
            f"{name} = {postfix.get('smtpd_milters')} {line}",
        )
    elif not entries[0].is_ours and not believes_another:
        yield warning(
            "milter-order", place,
            f"{entries[0].endpoint} comes before our filter, so it sees, and may sign, what ours "
            f"then changes; put {ours[0].endpoint} first", f"{name} = {line}, $host_milters",
        )


def _milter_overrides(postfix: Postfix, service: Service) -> Iterator[Finding]:
    """Find settings that take mail past our filter."""
    place = _place(postfix, service)
    if "no_milters" in postfix.words("receive_override_options", service):
        yield failure("milter-overridden", place,
                      "receive_override_options has no_milters: no filter is asked here",
                      f"receive_override_options = {_without(postfix, service, 'no_milters')}")
    yield from exemptions.check(postfix, service, service in postfix.submission_servers())
    if postfix.get("smtpd_proxy_filter", service):
        yield failure("milter-proxy", place,
                      "with smtpd_proxy_filter Postfix shows milters neither headers nor body, so "
                      "our filter cannot tell what is encrypted", "-o smtpd_proxy_filter=")


def _milter_protocol(postfix: Postfix, service: Service) -> Iterator[Finding]:
    """Find settings that hide from our filter what it has to know."""
    place = _place(postfix, service)
    protocol = postfix.get("milter_protocol", service)
    if protocol.isdigit() and int(protocol) < 6:
        yield failure("milter-protocol", place, f"milter_protocol is {protocol}, but must be 6",
                      "milter_protocol = 6")
    if "{auth_authen}" not in postfix.get("milter_mail_macros", service):
        yield failure("milter-macros", place,
                      "milter_mail_macros lacks {auth_authen}: the filter does not learn who has "
                      "logged in, and refuses all chat users",
                      "postconf -X milter_mail_macros")


def _without(postfix: Postfix, service: Service, word: str) -> str:
    kept = [w for w in postfix.words("receive_override_options", service) if w != word]
    return ", ".join(kept)


def _default_action(postfix: Postfix, service: Service, milter: Milter) -> Iterator[Finding]:
    action = milter.options.get("default_action",
                                postfix.get("milter_default_action", service)) or "tempfail"
    cure = f"{{ {milter.endpoint}, default_action=tempfail }}"
    place = _place(postfix, service)
    if action == "accept":
        yield failure("milter-default-action", place,
                      f"default_action of {milter.endpoint} is accept: while the filter is down, "
                      "everything passes unchecked", cure)
    elif action not in ("tempfail", "shutdown"):
        yield warning("milter-default-action", place,
                      f"default_action of {milter.endpoint} is {action}: a restart of the filter "
                      "costs mail; tempfail makes clients try again", cure)


def _endpoint(postfix: Postfix, service: Service, milter: Milter) -> Iterator[Finding]:
    path = milter.endpoint.partition(":")[2]
    queue = postfix.get("queue_directory")
    if service.chroot and path.startswith(f"{queue}/"):
        yield failure(
            "milter-path", _place(postfix, service),
            f"{milter.endpoint}: this service runs with {queue} as its root directory and finds "
            f"nothing there", "unix:" + path.removeprefix(f"{queue}/"),
        )


def _login(postfix: Postfix, service: Service) -> Iterator[Finding]:
    place = _place(postfix, service)
    if postfix.get("smtpd_sasl_type", service) != "dovecot":
        yield failure("sasl-type", place,
                      "smtpd_sasl_type is not dovecot: chat accounts are known to Dovecot only",
                      "-o smtpd_sasl_type=dovecot -o smtpd_sasl_path=private/auth")
    if not postfix.is_on("smtpd_tls_wrappermode", service) and (
        postfix.get("smtpd_tls_security_level", service) in ("", "none")
    ):
        yield failure("submission-tls", place, "no TLS: no client logs in without it",
                      "-o smtpd_tls_security_level=encrypt")


def _message_size(postfix: Postfix, config: Config, service: Service) -> Iterator[Finding]:
    limit = int(postfix.get("message_size_limit", service) or 0)
    wanted = max((d.max_message_size for d in config.domains.values()), default=0)
    place = f"{_place(postfix, service)}: message_size_limit"
    if 0 < limit < wanted:
        yield failure("message-size", place,
                      f"{limit} is less than max_message_size of chatmaild.ini ({wanted}): larger "
                      "messages are refused", f"message_size_limit = {wanted}")
    else:
        yield ok("message-size", place, str(limit) if limit else "no limit")


def _received(postfix: Postfix, service: Service, domain: str) -> Iterator[Finding]:
    """Check that chat users' mail loses the Received line with the client's address."""
    cleanup = postfix.service((postfix.get("cleanup_service_name", service) or "cleanup") + "/unix")
    place = f"{_place(postfix, service)}: header_checks"
    login = (f"{PROBE}@{domain}"
             if postfix.is_on("smtpd_sasl_authenticated_header", service) else "")
    header = received(login)
    try:
        answers = (postfix.ask(table, header) for table in split(
            postfix.get("header_checks", cleanup)))
        action = next((answer for answer in answers if answer), "").split(" ", 1)[0].upper()
    except PostfixError as error:
        yield failure("received", place, str(error), "repair the table")
        return
    if action == "IGNORE":
        yield ok("received", place, f"the address of {domain}'s clients is taken out of their mail")
        return
    if action == "REPLACE":
        yield warning("received", place,
                      "REPLACE writes the original line to the mail log; IGNORE does not")
        return
    escaped = domain.replace(".", r"\.")
    line = rf"/^Received: .*\(Authenticated sender: [^)]*@{escaped}\)/ IGNORE"
    wrong = (f"the Received header shows the client address of {domain}'s users to everybody they "
             "write to")
    option = f"master.cf, {service.name}:  -o smtpd_sasl_authenticated_header=yes"
    if postfix.get("cleanup_service_name", service) == "chat-cleanup":
        yield failure("received", place, wrong, option if not login else
                      f"main.cf, within the braces of chat_received:  {{ {line} }}")
        return
    own = postfix.get("header_checks", cleanup)
    yield failure(
        "received", place, wrong,
        f"main.cf:    chat_received = regexp:{{ {{ {line} }} }}\n"
        f"            chat_header_checks = $chat_received {own}".rstrip() + "\n"
        "master.cf:  chat-cleanup unix n - y - 0 cleanup -o header_checks=$chat_header_checks\n"
        f"{option} -o cleanup_service_name=chat-cleanup",
    )


def _everywhere(postfix: Postfix, submission: list[Service]) -> Iterator[Finding]:
    for text in postfix.warnings:
        if ": overriding earlier entry: " in text:
            where, _, earlier = text.partition(": overriding earlier entry: ")
            yield failure("overridden", where.rpartition("warning: ")[2],
                          f"takes the place of an earlier line ({earlier}), which is now without "
                          "effect", "make one line of the two")
    if postfix.is_on("soft_bounce"):
        yield warning("soft-bounce", f"{postfix.directory}/main.cf: soft_bounce",
                      "turns each refusal into a temporary one: clients try again for days what "
                      "can never be sent, and people do not learn why", "soft_bounce = no")
    for service in postfix.servers():
        words = [met.word for met in postfix.restrictions(service, service in submission)]
        if "reject_unverified_recipient" in words and not service.is_way_back:
            yield warning("unverified-recipient", _place(postfix, service),
                          "reject_unverified_recipient remembers for hours that an address does "
                          "not exist; chat addresses are born at a login",
                          "take it out of smtpd_recipient_restrictions")


def _local_mail(postfix: Postfix, config: Config) -> Iterator[Finding]:
    where, text, way_out = localmail.obstacle(postfix, config.domains)
    filtered = localmail.is_filtered(postfix)
    place = f"{postfix.directory}/main.cf: non_smtpd_milters"
    if filtered and where:
        yield failure("local-mail-refused", f"{postfix.directory}/{where}",
                      f"{text}: our filter in non_smtpd_milters refuses it",
                      f"take ours out of non_smtpd_milters, or {way_out}")
    elif where:
        yield warning("local-mail", f"{postfix.directory}/{where}",
                      f"{text}. So our filter cannot be asked about local mail, and any program of "
                      "this host can write from a chat address", way_out)
    elif filtered:
        yield ok("local-mail", place, "no program of this host writes from a chat address")
    else:
        own = f"$chat_incoming_filter {postfix.get('non_smtpd_milters')}".strip()
        yield failure("local-mail", place, "any program of this host can write from a chat "
                      "address by sendmail(1)",
                      f"non_smtpd_milters = {own}")
