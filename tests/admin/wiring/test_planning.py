"""The plan for hosts as they answered, and for changes that hosts have made to themselves."""

import dataclasses
import re
from pathlib import Path

import pytest
from captured import (
    CONFIG, DOMAIN, RELEASES, dovecot, postfix, tables, with_option, with_parameters,
)

from chatmaild.accounts.directoryrows import Node
from chatmaild.admin.servers.postconf import Service
from chatmaild.admin.wiring import planning
from chatmaild.admin.wiring.cleanup import received
from chatmaild.admin.wiring.dovecot import FIRST, LAST, extend
from chatmaild.admin.wiring.observation import HOSTS_FILE, NETWORK_UNITS, SYSCTL, Host
from chatmaild.admin.wiring.otherhosts import Known
from chatmaild.config import inifile

TREE = Path(__file__).parents[3]
MAIN = "# stock\n!include conf.d/*.conf\n!include_try local.conf\n"


def host(release, options=None, main=None, files=None, lines=None, postfix_host=None, **kwargs):
    """The ordinary host of that release, with changes."""
    its_postfix = postfix_host or postfix(release, "ordinary")
    version = "2.3" if release == "bookworm" else "2.4"
    templates = {path.name: path.read_text()
                 for path in (TREE / "dovecot" / version).glob("*.conf")}
    explicit = {"smtpd_milters": its_postfix.get("smtpd_milters"), **(main or {})}
    return Host(
        its_postfix, kwargs.pop("dovecot", None) or dovecot(release, "stock"),
        main={name: value for name, value in explicit.items() if value},
        defaults={"virtual_mailbox_domains": "$virtual_mailbox_maps",
                  "virtual_transport": "virtual", "cleanup_service_name": "cleanup",
                  "message_size_limit": "10240000", "smtpd_milters": "", "header_checks": ""},
        lines=lines or {"cleanup/unix": "cleanup unix n - y - 0 cleanup"},
        options={service.name: dict(service.options) for service in its_postfix.services}
        | (options or {}),
        files={"/etc/dovecot/dovecot.conf": MAIN, **(files or {})},
        templates=templates, inotify=kwargs.pop("inotify", 128), **kwargs)


def changes(a_host, **kwargs):
    plan = planning.plan(a_host, CONFIG, **kwargs)
    return {step.name or step.place: step.now for step in plan.steps}


@pytest.mark.parametrize("release", RELEASES)
def test_an_ordinary_host_needs_all_of_it(release):
    plan = planning.plan(host(release), CONFIG)
    found = {step.name or step.place: step.now for step in plan.steps}
    assert not plan.obstacles
    assert found["virtual_mailbox_domains"] == DOMAIN
    assert found["virtual_transport"] == "lmtp:unix:private/dovecot-lmtp"
    assert found["submission/inet/smtpd_milters"] == "$chat_submission_milters"
    assert found["chat-cleanup/unix"] == "chat-cleanup unix n - y - 0 cleanup"
    assert f"/etc/dovecot/conf.d/{FIRST}" in found


@pytest.mark.parametrize("release", RELEASES)
def test_the_hosts_own_milters_are_asked_after_ours(release):
    a_host = host(release)
    own = a_host.postfix.get("smtpd_milters")
    found = changes(a_host)
    assert found["chat_submission_milters"] == f"$chat_filter {own}"
    assert found["chat_incoming_milters"] == f"$chat_incoming_filter {own}"
    assert found["internal_mail_filter_classes"] == "bounce"


def test_a_service_with_milters_of_its_own_keeps_them():
    its_postfix = with_option(postfix("bookworm", "ordinary"), "submission/inet", "smtpd_milters",
                              "inet:localhost:1")
    found = changes(host("bookworm", postfix_host=its_postfix))
    assert found["chat_submission_service_milters"] == "$chat_filter inet:localhost:1"
    assert found["submission/inet/smtpd_milters"] == "$chat_submission_service_milters"
    assert found["submissions/inet/smtpd_milters"] == "$chat_submission_milters"


def test_domains_that_the_host_has_stay_and_go_where_they_went():
    its_postfix = with_parameters(postfix("bookworm", "ordinary"),
                                  virtual_mailbox_domains="example.net")
    found = changes(host("bookworm", postfix_host=its_postfix, main={
        "virtual_mailbox_domains": "example.net", "transport_maps": "inline:{ a=b: }"}))
    assert found["virtual_mailbox_domains"] == f"example.net, {DOMAIN}"
    assert "virtual_transport" not in found
    assert found["transport_maps"] == "$chat_transport, inline:{ a=b: }"
    assert DOMAIN in found["chat_transport"]


def test_a_domain_that_is_local_stands_in_the_way():
    its_postfix = with_parameters(postfix("trixie", "ordinary"), mydestination=DOMAIN)
    obstacle, = planning.plan(host("trixie", postfix_host=its_postfix), CONFIG).obstacles
    assert obstacle.place == "/etc/postfix/main.cf: mydestination"


UNCHANGED = r"regexp:{ { /^(.*@(chat\.example\.org))$$/ $${1} } }"


def ask(table, key):
    """What the tables of the hosts below answer."""
    if table == "regexp:/everybody":
        return "admin@example.org" if "@" in key else None
    return tables(table, key)


@pytest.mark.parametrize("parameters, expected", [
    ({"transport_maps": "inline:{ .example.org=smtp:[192.0.2.1] }"},
     {"transport_maps": "$chat_transport, inline:{ .example.org=smtp:[192.0.2.1] }"}),
    ({"masquerade_domains": "example.org"}, {"masquerade_domains": f"!{DOMAIN} example.org"}),
    ({"masquerade_domains": f"!{DOMAIN} example.org"}, {}),
    ({"canonical_maps": "regexp:/everybody"},
     {"chat_unchanged": UNCHANGED, "canonical_maps": "$chat_unchanged, regexp:/everybody"}),
    ({"smtp_generic_maps": "regexp:/everybody"},
     {"chat_unchanged": UNCHANGED, "smtp_generic_maps": "$chat_unchanged, regexp:/everybody"}),
    ({"sender_canonical_maps": "inline:{ alice@example.org=a.l@example.org }"}, {}),
    ({"smtpd_restriction_classes": "owners", "owners": "reject_sender_login_mismatch"},
     {"chat_login_maps": UNCHANGED, "smtpd_sender_login_maps": "$chat_login_maps"}),
])
def test_chat_addresses_stay_out_of_what_the_host_does_to_others(parameters, expected):
    its_postfix = dataclasses.replace(with_parameters(postfix("bookworm", "ordinary"),
                                                      **parameters), ask=ask)
    found = changes(host("bookworm", postfix_host=its_postfix, main=parameters))
    beside = {"transport_maps", "masquerade_domains", "chat_unchanged", "chat_login_maps",
              "smtpd_sender_login_maps", *(name for name in parameters)}
    assert {name: value for name, value in found.items() if name in beside} == expected


@pytest.mark.parametrize("parameters, name, place", [
    ({"virtual_alias_maps": "regexp:/everybody"}, None, "main.cf: virtual_alias_maps"),
    ({"virtual_alias_maps": f"inline:{{ @{DOMAIN}=root }}"}, None, "main.cf: virtual_alias_maps"),
    ({"receive_override_options": "no_milters,no_address_mappings"}, "submission/inet",
     "master.cf: submission/inet"),
    ({"receive_override_options": "no_header_body_checks"}, "submission/inet",
     "master.cf: submission/inet"),
    ({"smtpd_proxy_filter": "127.0.0.1:10024"}, "smtp/inet", "master.cf: smtp/inet"),
    ({"queue_directory": "/srv/postfix"}, None, "main.cf: queue_directory"),
])
def test_what_only_people_can_mend_is_named(parameters, name, place):
    its_postfix = dataclasses.replace(postfix("trixie", "ordinary"), ask=ask)
    if name is None:
        its_postfix = with_parameters(its_postfix, **parameters)
    else:
        for key, value in parameters.items():
            its_postfix = with_option(its_postfix, name, key, value)
    a_host = host("trixie", postfix_host=its_postfix, has_sockets=False)
    obstacle, = planning.plan(a_host, CONFIG).obstacles
    assert obstacle.place == f"/etc/postfix/{place}" and obstacle.way_out


def test_a_queue_directory_with_our_sockets_stands_in_nobodys_way():
    elsewhere = with_parameters(postfix("trixie", "ordinary"), queue_directory="/srv/postfix")
    assert not planning.plan(host("trixie", postfix_host=elsewhere), CONFIG).obstacles


@pytest.mark.parametrize("delay, now", [("5s", "0s"), ("1m", "0s"), ("0s", None), ("0", None)])
def test_chat_mail_does_not_wait_for_one_another(delay, now):
    """Postfix takes all recipients behind one socket for one destination."""
    its_postfix = with_parameters(postfix("bookworm", "ordinary"),
                                  lmtp_destination_rate_delay=delay)
    found = changes(host("bookworm", postfix_host=its_postfix))
    assert found.get("lmtp_destination_rate_delay") == now


def test_mailbox_size_limit_stands_in_the_way_of_large_messages():
    found = planning.plan(host("trixie", main={"mailbox_size_limit": "20000000"}), CONFIG)
    assert ["mailbox_size_limit" in o.place for o in found.obstacles] == [True]


def test_cleanup_of_chat_is_confined_as_the_hosts_own():
    a_host = host("bookworm", lines={"cleanup/unix": "cleanup unix n - n - 0 cleanup -v"},
                  options={"cleanup/unix": {"always_bcc": "archive"}})
    found = changes(a_host)
    assert found["chat-cleanup/unix"] == "chat-cleanup unix n - n - 0 cleanup -v"
    assert found["chat-cleanup/unix/always_bcc"] == "archive"


def submissions(name, value):
    its_postfix = postfix("trixie", "ordinary")
    for service in ("submission/inet", "submissions/inet"):
        its_postfix = with_option(its_postfix, service, name, value)
    return its_postfix


def test_a_value_with_blanks_gets_a_parameter_of_its_own():
    """postconf takes no blanks in an option."""
    owners = "inline:{ a@example.org=a }"
    its_postfix = with_parameters(submissions("smtpd_sender_login_maps", owners),
                                  smtpd_sender_restrictions="reject_sender_login_mismatch")
    found = changes(host("trixie", postfix_host=its_postfix,
                         options={"cleanup/unix": {"always_bcc": "a b"}}))
    assert found["submission/inet/smtpd_sender_login_maps"] == (
        "$chat_submission_smtpd_sender_login_maps")
    assert found["chat_submission_smtpd_sender_login_maps"] == f"$chat_login_maps, {owners}"
    assert found["chat_chat_cleanup_always_bcc"] == "a b"
    assert not [name for name, now in found.items() if "/inet/" in name and " " in now]


def test_an_option_that_postconf_misreads_stands_in_the_way():
    for text, obstacles in (("a unix n - n - - smtp -ox=/post -v", 1), ("#a -ox=y\nb -o x=y", 0),
                            ("a unix n - n - - smtp\n  -o { x = y }\n", 0)):
        plan = planning.plan(host("trixie", files={"/etc/postfix/master.cf": text}), CONFIG)
        assert len(plan.obstacles) == obstacles


@pytest.mark.parametrize("pattern, key", [
    ("/^.*@(.*)$/", "chat_transport"), (r"/@chat\.example\.org$/", None)])
def test_a_pattern_of_transport_maps_that_catches_everybody(pattern, key):
    table = f"regexp:{{ {pattern} smtp:[192.0.2.1] }}"
    its_postfix = with_parameters(postfix("trixie", "ordinary"), transport_maps=table)
    plan = planning.plan(host("trixie", postfix_host=its_postfix, main={"transport_maps": table}),
                         CONFIG)
    found = {step.name: step.now for step in plan.steps}
    assert bool(plan.obstacles) is (key is None)
    if key:
        assert found["transport_maps"] == f"$chat_transport, {table}"
        assert found[key] == (r"regexp:{ { /@(chat\.example\.org)$$/ "
                              "lmtp:unix:private/dovecot-lmtp } }")


def test_a_cleanup_service_that_submissions_share_is_copied():
    its_postfix = with_option(submissions("cleanup_service_name", "pre-cleanup"), "smtp/inet",
                              "cleanup_service_name", "pre-cleanup")
    lines = {f"{name}/unix": f"{name} unix n - y - 0 cleanup"
             for name in ("cleanup", "pre-cleanup")}
    options = {"pre-cleanup/unix": {"header_checks": "regexp:/own", "virtual_alias_maps": ""}}
    a_host = host("trixie", postfix_host=its_postfix, lines=lines, options=options)
    found = changes(a_host)
    assert found["submission/inet/cleanup_service_name"] == "chat-pre-cleanup"
    assert found["chat-pre-cleanup/unix"] == "chat-pre-cleanup unix n - y - 0 cleanup"
    assert found["chat-pre-cleanup/unix/virtual_alias_maps"] == ""
    assert found["chat_pre_cleanup_header_checks"].startswith("$chat_received regexp:/own")
    assert "chat-cleanup/unix" not in found and "pre-cleanup/unix/header_checks" not in found

    again = with_option(submissions("cleanup_service_name", "chat-pre-cleanup"), "smtp/inet",
                        "cleanup_service_name", "pre-cleanup")
    lines["chat-pre-cleanup/unix"] = found["chat-pre-cleanup/unix"]
    options["chat-pre-cleanup/unix"] = {"header_checks": "$chat_pre_cleanup_header_checks",
                                        "virtual_alias_maps": ""}
    a_host = host("trixie", postfix_host=again, lines=lines, options=options)
    assert not [name for name in changes(a_host) if "cleanup/unix" in name]
    given_back = changes(a_host, own_address="192.0.2.7")
    assert given_back["submission/inet/cleanup_service_name"] == "pre-cleanup"


def test_logins_are_hidden_whatever_name_a_service_gives_itself():
    table = changes(host("trixie", postfix_host=submissions("myhostname", "out.example.net")))[
        "chat_ordinary_received"]
    pattern = table.partition("/")[2].rpartition("/")[0].replace("[:space:]", r"\s")
    for name in ("out.example.net", postfix("trixie", "ordinary").get("myhostname")):
        line = received("alice").replace("mail.invalid", name)
        assert re.search(pattern, line, re.DOTALL)
    assert not re.search(pattern, received("alice"), re.DOTALL)


def test_services_of_chat_do_not_inherit_what_hides_mail_from_the_filter():
    hindered = with_parameters(postfix("trixie", "stock"), inet_interfaces="192.0.2.1",
                               receive_override_options="no_milters, no_address_mappings")
    found = changes(host("trixie", postfix_host=hindered), own_address="192.0.2.7")
    assert found["192.0.2.7:587/inet/receive_override_options"] == "no_address_mappings"


def test_a_milter_keeps_its_options_for_local_mail():
    own = "{ inet:[::1]:1, default_action=accept } inet:[::1]:2"
    its_postfix = with_parameters(postfix("trixie", "ordinary"), smtpd_milters=own,
                                  non_smtpd_milters="inet:[::1]:2")
    found = changes(host("trixie", postfix_host=its_postfix,
                         main={"non_smtpd_milters": "inet:[::1]:2"}))
    assert found["non_smtpd_milters"] == (
        "$chat_incoming_filter inet:[::1]:2 { inet:[::1]:1, default_action=accept }")


def test_a_service_behind_a_proxy_takes_mail_from_outside_wherever_it_listens():
    service = Service("127.0.0.1:10024/inet", "smtpd", False,
                      {"smtpd_upstream_proxy_protocol": "haproxy"})
    its_postfix = postfix("trixie", "ordinary")
    its_postfix = dataclasses.replace(its_postfix, services=(*its_postfix.services, service))
    found = changes(host("trixie", postfix_host=its_postfix))
    assert found["127.0.0.1:10024/inet/smtpd_milters"] == "$chat_incoming_milters"


@pytest.mark.parametrize("transport, is_dovecots", [
    ("lmtp:unix:/run/dovecot/lmtp", True), ("lmtp:unix:/var/run/dovecot/lmtp", True),
    ("lmtp:inet:127.0.0.1:2003", False)])
def test_only_dovecots_lmtp_delivers_chat_mail(transport, is_dovecots):
    parameters = {"virtual_mailbox_domains": "example.net", "virtual_transport": transport}
    its_postfix = with_parameters(postfix("trixie", "ordinary"), **parameters)
    its_postfix = dataclasses.replace(its_postfix, services=tuple(
        dataclasses.replace(service, chroot=False) for service in its_postfix.services))
    found = changes(host("trixie", postfix_host=its_postfix, main=parameters))
    assert ("chat_transport" not in found) is is_dovecots


@pytest.mark.parametrize("main", ["passdb {\n}\n" + MAIN, "passdb {\n}\n"])
def test_a_single_file_is_told_to_load_ours_before_its_databases(main):
    found = planning.plan(host("bookworm", files={"/etc/dovecot/dovecot.conf": main}), CONFIG)
    lines = [(step.name, step.now) for step in found.steps if step.kind == "line"]
    assert ("first", "!include /etc/dovecot/chatmaild.conf") in lines


@pytest.mark.parametrize("files", [
    {"/etc/dovecot/conf.d/01-auth.conf": "!include auth-sql.conf.ext\n",
     "/etc/dovecot/conf.d/auth-sql.conf.ext": "passdb {\n  driver = sql\n}\n"},
    {"/etc/dovecot/dovecot.conf": "!include_try early.conf\n" + MAIN,
     "/etc/dovecot/early.conf": "passdb {\n}\n"},
])
def test_ours_comes_before_databases_in_files_that_others_include(files):
    found = planning.plan(host("trixie", files=files), CONFIG).steps
    assert "/etc/dovecot/chatmaild.conf" in {step.place for step in found}


def test_files_without_databases_may_come_before_ours():
    files = {"/etc/dovecot/dovecot.conf": "!include_try tls.conf\n" + MAIN,
             "/etc/dovecot/tls.conf": "ssl = required\n"}
    found = planning.plan(host("trixie", files=files), CONFIG).steps
    assert f"/etc/dovecot/conf.d/{FIRST}" in {step.place for step in found}


@pytest.mark.parametrize("value", ["%{user | regexp('@.*$', '')}", "%{user | lower}",
                                   "%{user | lower | username}"])
def test_user_names_of_deliveries_that_nobody_foresaw(value):
    stock = dovecot("trixie", "stock")
    own = stock.tree.block("protocol", "lmtp").get("auth_username_format")
    changed = dovecot("trixie", "stock", lambda text: text.replace(own, value))
    plan = planning.plan(host("trixie", dovecot=changed), CONFIG)
    written = "".join(step.now or "" for step in plan.steps if step.place.endswith(LAST))
    assert bool(plan.obstacles) is ("regexp" in value)
    assert (f"{value}%{{user | domain" in written) is value.endswith("username}")


def test_user_names_of_deliveries_are_extended_and_the_base_is_remembered():
    stock = dovecot("trixie", "stock")
    own = stock.tree.block("protocol", "lmtp").get("auth_username_format")
    assert own
    found = changes(host("trixie"))[f"/etc/dovecot/conf.d/{LAST}"]
    assert f"# the host's own lmtp: {own}\n" in found
    assert f"auth_username_format = {own}%{{user | domain | lower | if('eq', '{DOMAIN}'" in found


def test_user_names_are_extended_again_for_a_second_domain():
    """What our own file says for one domain does not stand in the way of another."""
    own = dovecot("trixie", "stock").tree.block("protocol", "lmtp").get("auth_username_format")
    path = f"/etc/dovecot/conf.d/{LAST}"
    written = changes(host("trixie"))[path]
    wired = dovecot("trixie", "stock",
                    lambda text: text.replace(own, extend(own, (DOMAIN,), False)))
    two = inifile.parse(f"[chatmaild]\nmail_domains = {DOMAIN} talk.example.org\n".encode(),
                        CONFIG.path)
    plan = planning.plan(host("trixie", dovecot=wired, files={path: written}), two)
    assert not plan.obstacles
    found, = (step.now for step in plan.steps if step.place == path)
    assert extend(own, two.mail_domains, False) in found and f"own lmtp: {own}\n" in found


def test_extended_user_names():
    assert extend("%Ln", ("a", "b"), True) == "%{if;%Ld;eq;b;%Lu;%{if;%Ld;eq;a;%Lu;%Ln}}"
    assert extend("%{user}", ("a",), False).startswith("%{user}%{user | domain")


@pytest.mark.parametrize("inotify, written", [(128, True), (100_000, False), (None, False)])
def test_the_kernel_is_asked_for_as_much_as_dovecot_serves(inotify, written):
    assert (SYSCTL in changes(host("bookworm", inotify=inotify))) is written


def test_a_dovecot_listener_open_to_all_is_closed():
    text = changes(host("bookworm"))[f"/etc/dovecot/conf.d/{LAST}"]
    assert "unix_listener lmtp {\n    mode = 0660" in text


@pytest.mark.parametrize("local, where", [
    ("service lmtp {\n  unix_listener /var/spool/postfix/private/dovecot-lmtp {\n",
     f"conf.d/{LAST}"),
    ("service lmtp {\n  unix_listener lmtp {\n", "chatmaild-last.conf"),
    ("protocol lmtp {\n  auth_username_format = %{user}\n", "chatmaild-last.conf"),
])
@pytest.mark.parametrize("name", ["local.conf", "conf.d/99-local.conf"])
def test_the_last_file_is_read_after_what_the_host_sets_last(local, where, name):
    files = {f"/etc/dovecot/{name}": local}
    found = planning.plan(host("trixie", files=files), CONFIG).steps
    assert f"/etc/dovecot/{where}" in {step.place for step in found}
    assert any(step.kind == "line" for step in found) is (where == "chatmaild-last.conf")


def test_another_instance_takes_nothing_from_chat_users():
    second = dataclasses.replace(postfix("bookworm", "ordinary"), directory="/etc/postfix-second")
    other = host("bookworm", postfix_host=second)
    plan = planning.plan(host("bookworm", others=(other,)), CONFIG)
    there = {step.name: step.now for step in plan.steps if "postfix-second" in step.place}
    assert there["submission/inet/smtpd_data_restrictions"] == "$chat_data_restrictions"
    assert not plan.obstacles


def test_a_host_without_submission_is_told_the_lines():
    nobody = with_parameters(postfix("trixie", "stock"), smtpd_sasl_auth_enable="no")
    obstacle, = planning.plan(host("trixie", postfix_host=nobody), CONFIG).obstacles
    assert "postconf -M 'submission/inet=" in obstacle.way_out
    assert "chatmaild wire --own-submission" in obstacle.way_out


def test_chat_gets_services_of_its_own_where_there_are_none():
    nobody = with_parameters(postfix("trixie", "stock"), inet_interfaces="all",
                             smtpd_sasl_type="cyrus")
    plan = planning.plan(host("trixie", postfix_host=nobody), CONFIG, "192.0.2.7")
    found = {step.name or step.place: step.now for step in plan.steps}
    assert not plan.obstacles and "chat_logins" not in found
    assert found["192.0.2.7:587/inet/smtpd_sasl_path"] == "private/auth"
    assert "/private/auth {" in found[f"/etc/dovecot/conf.d/{FIRST}"]


def test_who_logs_in_at_chats_own_services_owns_the_address():
    """What main.cf demands holds there too; what one ordinary service demands does not."""
    strict = {"smtpd_sender_restrictions": "reject_sender_login_mismatch"}
    nobody = with_parameters(postfix("trixie", "stock"), smtpd_sasl_auth_enable="no", **strict)
    found = changes(host("trixie", postfix_host=nobody, main=strict), own_address="192.0.2.7")
    assert found["smtpd_sender_login_maps"] == "$chat_login_maps"
    ordinary = with_option(postfix("trixie", "ordinary"), "submission/inet", *strict.popitem())
    found = changes(host("trixie", postfix_host=ordinary), own_address="192.0.2.7")
    assert "smtpd_sender_login_maps" not in found


@pytest.mark.parametrize("address", ["2001:db8::7", "[2001:db8::7]"])
def test_services_of_its_own_at_an_ipv6_address_are_named_in_brackets(address):
    plan = planning.plan(host("trixie"), CONFIG, address)
    lines = {step.name: step.now for step in plan.steps}
    assert lines["[2001:db8::7]:465/inet"].startswith("[2001:db8::7]:465 inet n ")
    assert lines["[2001:db8::7]:465/inet/smtpd_tls_wrappermode"] == "yes"


def test_other_ways_to_log_in_stay_and_chat_gets_its_own():
    cyrus = with_parameters(postfix("bookworm", "ordinary"), smtpd_sasl_type="cyrus",
                            inet_interfaces="192.0.2.8")
    obstacles = planning.plan(host("bookworm", postfix_host=cyrus), CONFIG).obstacles
    assert {"smtpd_sasl_type=dovecot" in o.way_out for o in obstacles} == {True}
    found = changes(host("bookworm", postfix_host=cyrus), own_address="192.0.2.7")
    assert found["192.0.2.7:465/inet/smtpd_sasl_type"] == "dovecot"
    assert "submission/inet/smtpd_sasl_type" not in found


@pytest.mark.parametrize("own, extended", [
    ("%{user | username | lower}%{user | domain | lower | if('eq', 'a.example', '@a.example', '')}",
     True),
    ("%{user | if('=', 'postmaster', 'root', user)}", False),
])
def test_user_names_with_a_condition_of_the_hosts_own(own, extended):
    stock = dovecot("trixie", "stock")
    stock.tree.block("protocol", "lmtp").values["auth_username_format"] = own
    plan = planning.plan(host("trixie", dovecot=stock), CONFIG)
    added = f"auth_username_format = {own}%{{user | domain | lower | if('eq', '{DOMAIN}'"
    if extended:
        assert added in {step.place: step.now for step in plan.steps}[f"/etc/dovecot/conf.d/{LAST}"]
    else:
        assert added in plan.obstacles[0].way_out


def test_local_mail_is_shown_to_our_filter_before_the_hosts_own():
    found = changes(host("bookworm", main={"non_smtpd_milters": "$smtpd_milters"}))
    assert found["non_smtpd_milters"].startswith("$chat_incoming_filter $smtpd_milters")
    chat_host = with_parameters(postfix("bookworm", "ordinary"), myorigin=DOMAIN)
    assert "filter" not in changes(host("bookworm", postfix_host=chat_host))["non_smtpd_milters"]


def test_an_old_milter_protocol_is_replaced():
    found = changes(host("bookworm", main={"milter_protocol": "2"}))
    assert found["milter_protocol"] == "6"


# ---- several hosts -------------------------------------------------------------------------------

SEVERAL = dataclasses.replace(CONFIG, directory=Path("/etc/chatmaild/directory.conf"),
                              node="one.example")
NODES = (Node("one.example", "192.0.2.10", True, 0), Node("two.example", "192.0.2.20", True, 0))
TABLE = "/etc/postfix/chatmaild-homes.cf"
HOSTS = f"/etc/dovecot/conf.d/99-{HOSTS_FILE}"


def joined(release, files=None, **kwargs):
    return host(release, files=files, known=Known(NODES), **kwargs)


def steps(a_host):
    plan = planning.plan(a_host, SEVERAL)
    assert not plan.obstacles
    return {step.name or step.place: step.now for step in plan.steps}


@pytest.mark.parametrize("release", RELEASES)
def test_the_other_hosts_are_let_in_and_found(release):
    found = steps(joined(release))
    assert "login_trusted_networks = 192.0.2.20\n" in found[HOSTS]
    assert "= 192.0.2.10\n    port = 24\n" in found[HOSTS]
    assert found["transport_maps"].endswith(f"memcache:{TABLE}")
    assert f"\ndomain = {DOMAIN}\n" in found[TABLE]
    assert found["chat-node/unix"].endswith("lmtp")
    assert found["chat-node/unix/lmtp_tls_secure_cert_match"] == "one.example:two.example"
    assert {path for path in found if "systemd" in path} == set(NETWORK_UNITS)


def test_nothing_is_wired_to_an_address_that_this_host_does_not_have():
    """Dovecot goes on as before, until it starts again: then it does not start."""
    plan = planning.plan(host("bookworm", known=Known(NODES, is_here=False)), SEVERAL)
    obstacle, = plan.obstacles
    assert "192.0.2.10" in obstacle.place and "directory join" in obstacle.way_out


@pytest.mark.parametrize("release", RELEASES)
def test_a_host_that_is_alone_meets_none_of_it(release):
    found = changes(host(release))
    assert not found.keys() & {HOSTS, TABLE, "chat-node/unix", *NETWORK_UNITS}


@pytest.mark.parametrize("release, version", [("bookworm", "2.3"), ("trixie", "2.4")])
def test_the_lines_by_hand_are_those_that_wire_writes(release, version):
    def settings(text):
        text = text.replace(" chatmaild-hosts {", " lmtp {")
        return sorted(line.strip() for line in text.splitlines() if line and line[0] != "#")
    example = TREE / "several-hosts" / version / "06-chatmaild-hosts.conf"
    without = dovecot(release, "stock")
    without.tree.values.pop("ssl_ca", None)
    assert settings(steps(joined(release, dovecot=without))[HOSTS]) == settings(example.read_text())
    by_hand = (TREE / "several-hosts/network.conf").read_text()
    table = (TREE / "several-hosts/chatmaild-homes.cf").read_text().replace(
        "chat.example.org", DOMAIN)
    found = steps(joined(release, {TABLE: table, **{path: by_hand for path in NETWORK_UNITS}}))
    assert not found.keys() & {TABLE, *NETWORK_UNITS}


@pytest.mark.parametrize("release", RELEASES)
def test_a_host_of_an_older_version_gets_what_is_new(release):
    """Many messages go through one connection, and what the host has itself stays."""
    older = {"lmtp_connect_timeout": "9s", "lmtp_tls_security_level": "verify",
             "lmtp_tls_CAfile": "/etc/own", "lmtp_tls_secure_cert_match": "one.example:two.example"}
    line = "chat-node unix - - y - - lmtp"
    found = steps(joined(release, options={"chat-node/unix": older}, lines={
        "chat-node/unix": line, "cleanup/unix": "cleanup unix n - y - 0 cleanup"}))
    assert {name: value for name, value in found.items() if name.startswith("chat-node")} == {
        "chat-node/unix/lmtp_tls_connection_reuse": "yes",
        "chat-node/unix/tlsproxy_service_name": "chat-node-tls",
        "chat-node/unix/lmtp_connection_cache_destinations": "static:all",
        "chat-node-tls/unix": "chat-node-tls unix - - n - 0 tlsproxy",
        "chat-node-tls/unix/tlsproxy_client_security_level": "secure",
        "chat-node-tls/unix/max_idle": "1d"}


def test_a_host_that_shows_a_certificate_shows_it_to_the_others_too():
    """By a connection for each message: nobody but root reads its key."""
    found = steps(joined("bookworm", main={"lmtp_tls_cert_file": "/etc/own.pem"}))
    assert "chat-node/unix" in found and "chat-node-tls/unix" not in found
    assert "chat-node/unix/lmtp_tls_connection_reuse" not in found


@pytest.mark.parametrize("release", RELEASES)
def test_the_commands_by_hand_set_what_wire_sets_in_postfix(release):
    by_hand = (TREE / "several-hosts/postfix.sh").read_text()
    found = {name: value for name, value in steps(joined(release)).items()
             if name.startswith("chat-node")}
    found.pop("chat-node/unix/lmtp_tls_secure_cert_match")     # the names of the hosts
    assert [name for name, value in found.items() if f"{name}={value}" not in by_hand] == []
    assert by_hand.count("chat-node/unix/") + by_hand.count("chat-node-tls/unix/") == 9


def test_a_table_of_homes_that_postfix_asks_already_stays():
    found = steps(joined("bookworm", main={"transport_maps": f"memcache:{TABLE}"}))
    assert "transport_maps" not in found


def test_networks_that_the_host_trusts_stay_and_a_host_that_left_does_not():
    trusting = dovecot("trixie", "stock")
    trusting.tree.values["login_trusted_networks"] = "10.0.0.0/8"
    text = steps(joined("trixie", dovecot=trusting))[HOSTS]
    assert "\nlogin_trusted_networks = 10.0.0.0/8 192.0.2.20\n" in text
    trusting.tree.values["login_trusted_networks"] = "10.0.0.0/8 192.0.2.20 192.0.2.30"
    old = text.replace("8 192.0.2.20", "8 192.0.2.20 192.0.2.30")
    assert steps(joined("trixie", {HOSTS: old}, dovecot=trusting))[HOSTS] == text


def test_a_single_file_loads_the_lines_for_other_hosts():
    path = f"/etc/dovecot/{HOSTS_FILE}"
    files = {"/etc/dovecot/dovecot.conf": "passdb {\n  driver = pam\n}\n"}
    found = planning.plan(joined("bookworm", files), SEVERAL).steps
    assert {step.place for step in found} >= {path}
    assert ("last", f"!include {path}") in {(step.name, step.now) for step in found}
    assert HOSTS not in {step.place for step in found}


def test_a_later_line_that_takes_the_other_hosts_out_is_named():
    stock = dovecot("trixie", "stock")
    written = steps(joined("trixie", dovecot=stock))[HOSTS]
    stock.tree.values["login_trusted_networks"] = "10.0.0.0/8"
    obstacle, = planning.plan(joined("trixie", {HOSTS: written}, dovecot=stock), SEVERAL).obstacles
    assert "192.0.2.20" in obstacle.way_out and HOSTS in obstacle.text


@pytest.mark.parametrize("release, name, group, key", [
    ("bookworm", "ssl_ca", "", "ssl_ca"), ("trixie", "ssl_client_ca_file", "ssl_client", "ca_file"),
    ("trixie", "ssl_client_ca_dir", "ssl_client", "ca_dir")])
def test_the_authority_that_the_host_trusts_stays(release, name, group, key):
    own = dovecot(release, "stock", lambda text: text + (
        f"{group} {{\n  {key} = /etc/own\n}}\n" if group else f"{key} = </etc/own\n"))
    found = steps(joined(release, dovecot=own, main={"lmtp_tls_CAfile": "/etc/own"}))
    assert name not in found[HOSTS] and "chat-node/unix/lmtp_tls_CAfile" not in found


def test_a_host_that_is_not_in_the_directory_joins_first():
    obstacle, = planning.plan(host("trixie", known=Known()), SEVERAL).obstacles
    assert obstacle.place.endswith("node") and "directory join" in obstacle.way_out


@pytest.mark.parametrize("release", RELEASES)
def test_a_plan_goes_as_far_as_it_can_while_the_directory_does_not_answer(release):
    silent = dataclasses.replace(joined(release), known=Known(trouble="connection refused"))
    plan = planning.plan(silent, SEVERAL)
    obstacle, = plan.obstacles
    assert obstacle.place == str(SEVERAL.directory) and "connection refused" in obstacle.text
    places = {step.place for step in plan.steps}
    assert places > set(NETWORK_UNITS) and HOSTS not in places


@pytest.mark.parametrize("release, version", [("bookworm", "2.3"), ("trixie", "2.4")])
def test_what_was_written_by_hand_stays_as_it_is(release, version):
    """By the lines of doc/wiring-by-hand.md, which have other comments, and dots in a pattern."""
    by_hand = {f"/etc/dovecot/conf.d/{path.name}": path.read_text()
               for path in (TREE / "dovecot" / version).glob("*.conf")}
    by_hand[SYSCTL] = "fs.inotify.max_user_instances = 1280\n"
    received = rf"regexp:{{ {{ /^Received: .*\(Authenticated sender: [^)]*@{DOMAIN}\)/ IGNORE }} }}"
    found = changes(host(release, main={"chat_received": received}, files=by_hand,
                         dovecot=dovecot(release, "wired")))
    assert not found.keys() & {"chat_received", *by_hand}
    other = changes(host(release, main={"chat_received": received.replace(DOMAIN, "x.example")},
                         files={**by_hand, SYSCTL: "fs.inotify.max_user_instances = 512\n"},
                         dovecot=dovecot(release, "wired")))
    assert {"chat_received", SYSCTL} <= other.keys()
