"""Findings about Postfix, on the configurations that real hosts gave."""

import dataclasses

import pytest
from captured import (
    CONFIG, DOMAIN, RELEASES, bad, dovecot, postfix, tables, with_option, with_parameters,
)

from chatmaild.admin.check import delivery, logins, policyservers, postfix as check_postfix
from chatmaild.admin.servers.doveconf import Block
from chatmaild.admin.servers.postconf import PostfixError, Service, split

pytestmark = pytest.mark.parametrize("release", RELEASES)

OURS = "unix:chatmaild/filtermail.sock"


def judge(host):
    return bad(check_postfix.check(host, CONFIG))


def route(host):
    return bad(delivery.check(host, None, CONFIG))


def test_wired_host_is_in_order(release):
    assert judge(postfix(release)) == {}
    assert route(postfix(release)) == {}


def test_stock_host_lacks_everything(release):
    host = postfix(release, "stock")
    assert judge(host) == {"submission-missing": "failure", "milter-incoming-missing": "failure",
                           "local-mail": "failure"}
    assert route(host) == {"domain-missing": "failure"}


def test_ordinary_host_lacks_our_filters_on_each_submission_service(release):
    found = [f for f in check_postfix.check(postfix(release, "ordinary"), CONFIG)
             if f.code == "milter-missing"]
    assert [f.place.rpartition(": ")[2] for f in found] == ["submission/inet", "submissions/inet"]
    assert "host_milters = inet:127.0.0.1:8891, { unix:rspamd/milter.sock" in found[0].cure


@pytest.mark.parametrize("value, code, level", [
    ("", "milter-missing", "failure"),
    ("inet:127.0.0.1:8891", "milter-missing", "failure"),
    (OURS, "milter-lost", "failure"),
    (f"{OURS}, inet:127.0.0.1:8891", "milter-lost", "failure"),
    (f"inet:127.0.0.1:8891 unix:rspamd/milter.sock {OURS}", "milter-order", "warning"),
    (f"{{ {OURS}, default_action=accept }} inet:127.0.0.1:8891 unix:rspamd/milter.sock",
     "milter-default-action", "failure"),
    (f"{{ {OURS}, default_action = reject }} inet:127.0.0.1:8891 unix:rspamd/milter.sock",
     "milter-default-action", "warning"),
    ("unix:/var/spool/postfix/chatmaild/filtermail.sock inet:127.0.0.1:8891, "
     "unix:rspamd/milter.sock", "milter-path", "failure"),
])
def test_milters_of_one_submission_service(release, value, code, level):
    host = with_option(postfix(release), "submission/inet", "smtpd_milters", value)
    assert judge(host) == {code: level}


def test_filter_named_for_all_services_in_main_cf(release):
    every = f"{OURS}, inet:127.0.0.1:8891, {{ unix:rspamd/milter.sock, connect_timeout=5s }}"
    host = with_parameters(postfix(release), smtpd_milters=every)
    for name in ("submission/inet", "submissions/inet"):
        host = with_option(host, name, "smtpd_milters", None)
    assert judge(host) == {}


def test_outgoing_filter_on_port_25(release):
    value = f"{OURS} inet:127.0.0.1:8891 unix:rspamd/milter.sock"
    host = with_option(postfix(release), "smtp/inet", "smtpd_milters", value)
    assert judge(host) == {"milter-direction": "failure"}


def test_logins_on_port_25(release):
    """Where SASL is on for all services, port 25 serves both strangers and users."""
    host = with_option(postfix(release), "smtp/inet", "smtpd_sasl_auth_enable", "yes")
    assert judge(host) == {"received": "failure"}
    host = with_option(host, "smtp/inet", "smtpd_milters",
                       f"{OURS} inet:127.0.0.1:8891 unix:rspamd/milter.sock")
    assert judge(host) == {"received": "failure", "milter-direction": "failure"}


@pytest.mark.parametrize("option", [
    {"content_filter": ""}, {"smtpd_authorized_xforward_hosts": "127.0.0.0/8"}])
def test_way_back_from_a_content_filter(release, option):
    back = Service("127.0.0.1:10025/inet", "smtpd", False, {**option, "smtpd_milters": ""})
    host = with_parameters(postfix(release), smtpd_sasl_auth_enable="yes")
    host = with_option(host, "smtp/inet", "smtpd_sasl_auth_enable", "no")
    assert judge(dataclasses.replace(host, services=(*host.services, back))) == {}
    for options in ({}, {**option, "smtpd_sasl_auth_enable": "yes"}):
        clients = dataclasses.replace(back, options={"smtpd_milters": "", **options})
        assert judge(dataclasses.replace(host, services=(*host.services, clients)))[
            "milter-missing"] == "failure"


def test_behind_postscreen(release):
    host = postfix(release)
    (smtp,) = [s for s in host.services if s.name == "smtp/inet"]
    others = tuple(s for s in host.services if s is not smtp)
    screened = (Service("smtp/inet", "postscreen", True),
                dataclasses.replace(smtp, name="smtpd/pass"))
    assert judge(dataclasses.replace(host, services=others + screened)) == {}
    bare = dataclasses.replace(screened[1], options={"smtpd_milters": ""})
    assert judge(dataclasses.replace(host, services=others + (bare,))) == {
        "milter-incoming-missing": "failure"}


def test_line_that_was_appended_instead_of_merged(release):
    """As both releases of postconf put it."""
    text = ("postconf: warning: /etc/postfix/main.cf, line 46: overriding earlier entry: "
            "virtual_mailbox_domains=example.net")
    host = dataclasses.replace(postfix(release), warnings=("something else", text))
    (finding,) = [f for f in check_postfix.check(host, CONFIG) if f.level != "ok"]
    assert finding.place == "/etc/postfix/main.cf, line 46"
    assert "(virtual_mailbox_domains=example.net)" in finding.text


@pytest.mark.parametrize("parameters, expected", [
    ({"milter_default_action": "accept"}, {}),  # ours says tempfail itself
    ({"message_size_limit": "10240000"}, {"message-size": "failure"}),
    ({"message_size_limit": "0"}, {}),
    ({"milter_protocol": "4"}, {"milter-protocol": "failure"}),
    ({"milter_mail_macros": "i {mail_addr}"}, {"milter-macros": "failure"}),
    ({"receive_override_options": "no_milters"}, {"milter-overridden": "failure"}),
    ({"smtpd_proxy_filter": "127.0.0.1:10024"}, {"milter-proxy": "failure"}),
    ({"smtpd_milter_maps": "inline:{ 192.0.2.5=DISABLE }"}, {"milter-maps": "failure"}),
    ({"smtpd_sasl_type": "cyrus"}, {"sasl-type": "failure"}),
    ({"smtpd_recipient_restrictions": "permit_mynetworks, reject_unverified_recipient"},
     {"unverified-recipient": "warning"}),
])
def test_parameters_of_main_cf(release, parameters, expected):
    assert judge(with_parameters(postfix(release), **parameters)) == expected


def test_default_action_of_main_cf_holds_where_ours_names_none(release):
    host = with_parameters(postfix(release), milter_default_action="accept")
    host = with_option(host, "submission/inet", "smtpd_milters",
                       f"{OURS} inet:127.0.0.1:8891 unix:rspamd/milter.sock")
    assert judge(host) == {"milter-default-action": "failure"}


def test_submission_without_tls(release):
    host = with_option(postfix(release), "submission/inet", "smtpd_tls_security_level", "none")
    assert judge(host) == {"submission-tls": "failure"}


@pytest.mark.parametrize("name, key, value", [
    ("submission/inet", "cleanup_service_name", None),
    ("submission/inet", "smtpd_sasl_authenticated_header", "no"),
    ("chat-cleanup/unix", "header_checks", "regexp:{ { /^Subject: x/ IGNORE } }"),
    ("submission/inet", "receive_override_options", "no_header_body_checks"),
])
def test_received_line_stays(release, name, key, value):
    assert judge(with_option(postfix(release), name, key, value)) == {"received": "failure"}


@pytest.mark.parametrize("name, key, value, told", [
    ("submission/inet", "cleanup_service_name", None, [
        "main.cf:    chat_received = regexp:{ { /^Received: .*\\(Authenticated sender: "
        "[^)]*@chat\\.example\\.org\\)/ IGNORE } }",
        "            chat_header_checks = $chat_received regexp:{ { /^X-Own:/ IGNORE } }",
        "master.cf:  chat-cleanup unix n - y - 0 cleanup -o header_checks=$chat_header_checks",
        "master.cf, submission/inet:  -o smtpd_sasl_authenticated_header=yes "
        "-o cleanup_service_name=chat-cleanup"]),
    ("submission/inet", "smtpd_sasl_authenticated_header", "no", [
        "master.cf, submission/inet:  -o smtpd_sasl_authenticated_header=yes"]),
])
def test_cure_has_the_names_of_the_readme_and_keeps_the_hosts_checks(release, name, key, value,
                                                                     told):
    host = with_parameters(postfix(release), header_checks="regexp:{ { /^X-Own:/ IGNORE } }")
    found, = (f for f in check_postfix.check(with_option(host, name, key, value), CONFIG)
              if f.code == "received" and f.cure)
    assert found.cure.splitlines() == told


def test_received_line_ends_up_in_the_log(release):
    host = with_option(postfix(release), "chat-cleanup/unix", "header_checks",
                       "regexp:{ { /^Received:/ REPLACE Received: x } }")
    assert judge(host) == {"received": "warning"}


def test_broken_header_checks_are_reported(release):
    def ask(table, key):
        raise PostfixError("fatal: open /etc/postfix/gone: No such file or directory")
    host = dataclasses.replace(postfix(release), ask=ask)
    assert judge(host) == {"received": "failure"}
    assert route(with_parameters(host, transport_maps="hash:/gone")) == {"table": "failure"}


@pytest.mark.parametrize("parameters, expected", [
    ({"mydestination": f"example.org, {DOMAIN}"}, {"domain-elsewhere": "failure"}),
    ({"virtual_alias_domains": DOMAIN}, {"domain-elsewhere": "failure"}),
    ({"virtual_mailbox_domains": f"!{DOMAIN}, {DOMAIN}"}, {"domain-missing": "failure"}),
    ({"virtual_mailbox_domains": "", "relay_domains": DOMAIN,
      "relay_transport": "lmtp:unix:private/dovecot-lmtp"}, {}),
    ({"virtual_transport": "virtual"}, {"transport": "failure"}),
    ({"virtual_transport": "lmtp:"}, {"transport": "failure"}),     # to the domain's MX
    ({"virtual_transport": "virtual",
      "transport_maps": f"inline:{{ {DOMAIN}=lmtp:unix:private/dovecot-lmtp }}"}, {}),
    ({"transport_maps": "inline:{ *=smtp:[192.0.2.1] }"}, {"transport": "failure"}),
    ({"transport_maps": "inline:{ .example.org=smtp:[192.0.2.1] }"}, {"transport": "failure"}),
    ({"transport_maps": "inline:{ example.org=smtp:[192.0.2.1] }"}, {}),
    ({"transport_maps": "inline:{ example.org=smtp:[192.0.2.1] }",
      "parent_domain_matches_subdomains": "transport_maps"}, {"transport": "failure"}),
    ({"virtual_mailbox_maps": "inline:{ alice@example.org=ok }"}, {"recipients": "failure"}),
    ({"virtual_mailbox_maps": "inline:{ alice@example.org=ok }",
      "smtpd_reject_unlisted_recipient": "no"}, {}),
    ({"virtual_mailbox_maps": f"inline:{{ alice@example.org=ok }} inline:{{ @{DOMAIN}=ok }}"}, {}),
    ({"virtual_alias_maps": f"inline:{{ @{DOMAIN}=root postmaster@{DOMAIN}=root }}"},
     {"aliases": "failure"}),
    ({"virtual_alias_maps": ""}, {"postmaster": "warning"}),
    ({"canonical_maps": f"inline:{{ @{DOMAIN}=@example.org }}"}, {"aliases": "failure"}),
    ({"sender_canonical_maps": f"inline:{{ @{DOMAIN}=SRS0=x=y@example.org }}"},
     {"aliases": "failure"}),
    ({"smtp_generic_maps": f"inline:{{ @{DOMAIN}=me@isp.example }}"}, {"aliases": "failure"}),
    ({"lmtp_generic_maps": f"inline:{{ @{DOMAIN}=me@isp.example }}"}, {"aliases": "failure"}),
    ({"masquerade_domains": "example.net example.org"}, {"masquerade": "failure"}),
    ({"masquerade_domains": f"!{DOMAIN} example.org"}, {}),
    ({"masquerade_domains": f"{DOMAIN} example.org"}, {}),
    ({"lmtp_destination_rate_delay": "5s"}, {"rate-delay": "failure"}),
    ({"lmtp_destination_rate_delay": "0s"}, {}),
    ({"recipient_delimiter": "-"}, {"delimiter": "warning"}),
    ({"recipient_delimiter": ""}, {}),
    ({"smtpd_sender_restrictions": "reject_sender_login_mismatch"}, {"sender-login": "failure"}),
    ({"smtpd_sender_restrictions": "reject_known_sender_login_mismatch"}, {}),
    ({"smtpd_sender_restrictions": "reject_known_sender_login_mismatch",
      "smtpd_sender_login_maps": f"inline:{{ @{DOMAIN}=admin }}"}, {"sender-login": "failure"}),
    ({"smtpd_sender_restrictions": "warn_if_reject reject_sender_login_mismatch"}, {}),
    ({"smtpd_recipient_restrictions": "permit_sasl_authenticated reject_sender_login_mismatch"},
     {}),
    ({"smtpd_restriction_classes": "owners", "owners": "reject_sender_login_mismatch"},
     {"sender-login": "failure"}),
])
def test_routing(release, parameters, expected):
    assert route(with_parameters(postfix(release), **parameters)) == expected


@pytest.mark.parametrize("maps, cure", [
    ("", f"virtual_alias_maps = inline:{{ {{ postmaster@{DOMAIN} = root }} }}'"),
    ("inline:{ a=b }", f"= inline:{{ a=b }}, inline:{{ {{ postmaster@{DOMAIN} = root }} }}'"),
    ("inline:{ a=b }, hash:/etc/postfix/virtual",
     f"echo 'postmaster@{DOMAIN} root' >>/etc/postfix/virtual; postmap hash:/etc/postfix/virtual"),
])
def test_postmaster_is_added_to_a_table_that_is_named(release, maps, cure):
    host = dataclasses.replace(postfix(release), ask=lambda table, key: None)
    host = with_parameters(host, virtual_alias_maps=maps,
                           virtual_mailbox_domains=DOMAIN)
    found, = (f for f in delivery.check(host, None, CONFIG) if f.code == "postmaster")
    assert cure in found.cure and (maps or "is empty") in found.text


@pytest.mark.parametrize("maps, expected", [
    ("regexp:/logins", {}),
    (f"inline:{{ @{DOMAIN}=admin }} regexp:/logins", {}),       # the whole address comes first
    ("regexp:{ /@/ admin } regexp:/logins", {"sender-login": "failure"}),
])
def test_tables_of_who_owns_which_sender(release, maps, expected):
    """Tried on Debian 12 and 13 with reject_sender_login_mismatch."""
    def ask(table, key):
        return key if table == "regexp:/logins" else tables(table, key)
    host = dataclasses.replace(postfix(release), ask=ask)
    host = with_parameters(host, smtpd_sender_login_maps=maps,
                           smtpd_sender_restrictions="reject_sender_login_mismatch")
    assert route(host) == expected


def test_domains_in_a_file(release, tmp_path):
    listed = tmp_path / "domains"
    listed.write_text(f"# ours\nexample.net\n{DOMAIN.upper()}\n")
    host = with_parameters(postfix(release), virtual_mailbox_domains=str(listed))
    assert route(host) == {}
    host = with_parameters(postfix(release), virtual_mailbox_domains=str(tmp_path / "gone"))
    assert route(host) == {"table": "failure"}


@pytest.mark.parametrize("parameters, expected", [
    ({}, {}),
    ({"smtpd_sasl_path": "private/other"}, {"sasl-socket": "failure"}),
    ({"smtpd_sasl_path": "inet:127.0.0.1:12345"}, {}),
    ({"virtual_transport": "lmtp:unix:private/other"}, {"transport-socket": "failure"}),
    ({"virtual_transport": "lmtp:unix:/run/dovecot/lmtp"}, {}),
    ({"virtual_transport": "lmtp:unix:/var/run/dovecot/lmtp"}, {}),
    ({"virtual_transport": "lmtp:inet:127.0.0.1:2003"}, {"transport": "failure"}),
    ({"virtual_transport": "lmtp:inet:127.0.0.1:2424"}, {}),
    ({"virtual_transport": "lmtp:[::1]:2424"}, {}),
    ({"virtual_transport": "lmtp:localhost"}, {"transport": "failure"}),
    ({"defer_transports": "smtp, lmtp"}, {"transport-deferred": "failure"}),
])
def test_sockets_between_postfix_and_dovecot(release, parameters, expected):
    """The host is not chrooted, and Dovecot's LMTP is at port 2424 too."""
    host = with_parameters(postfix(release), **parameters)
    host = dataclasses.replace(host, services=tuple(
        dataclasses.replace(service, chroot=False) for service in host.services))
    its_dovecot = dovecot(release)
    its_dovecot.service("lmtp").blocks.append(Block("inet_listener", "lmtp", {"port": "2424"}))
    assert bad(delivery.check(host, its_dovecot, CONFIG)) == expected


def test_delimiter_of_dovecot(release):
    host = dovecot(release, edit=lambda text: text.replace("recipient_delimiter = +",
                                                           "recipient_delimiter = -"))
    assert bad(delivery.check(postfix(release), host, CONFIG)) == {"delimiter": "failure"}


def test_split(release):
    assert split(" a, b\tc\n  d ,,") == ["a", "b", "c", "d"]
    assert split("{ unix:x, y=z } inline:{ a=b, c=d }, e") == [
        "{ unix:x, y=z }", "inline:{ a=b, c=d }", "e"]
    assert split("") == []
    assert split("{ never closed, b") == ["{ never closed, b"]


def test_a_service_that_takes_nothing_from_chat_users_need_not_ask_us(release):
    """As chatmaild wire --own-submission leaves the ordinary ones."""
    refuses = "check_sasl_access regexp:{ /@chat.example.org/ 554 no }"
    host = with_option(postfix(release, "ordinary"), "submission/inet",
                       "smtpd_data_restrictions", refuses)
    found = [f for f in check_postfix.check(host, CONFIG) if "submission/inet" in f.place]
    assert [f.code for f in found] == ["refuses-chat"]
    for name, value in (("smtpd_sender_restrictions", "reject_sender_login_mismatch"),
                        ("smtpd_tls_req_ccert", "yes"),
                        ("smtpd_recipient_restrictions", "check_policy_service inet:127.0.0.1:9")):
        host = with_option(host, "submission/inet", name, value)
    found = [*delivery.check(host, dovecot(release), CONFIG),
             *logins.of_postfix(host, None, CONFIG), *policyservers.check(host, CONFIG)]
    assert not [f for f in found if "submission/inet" in f.place]


def test_local_mail_where_our_filter_could_not_tell_who_it_is_from(release):
    host = postfix(release)
    assert judge(with_parameters(host, myorigin=DOMAIN)) == {"local-mail-refused": "failure"}
    assert judge(with_parameters(host, myorigin=DOMAIN, non_smtpd_milters="")) == {
        "local-mail": "warning"}
    gives_back = dataclasses.replace(host, services=(
        *host.services, Service("filter/unix", "pipe", False)))
    assert judge(with_parameters(gives_back, content_filter="filter:dummy",
                                 non_smtpd_milters="")) == {"local-mail": "warning"}
