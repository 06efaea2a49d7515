"""Restrictions of the host that refuse chat mail for certain."""

import dataclasses

import pytest
from captured import CONFIG, DOMAIN, RELEASES, bad, postfix, with_option, with_parameters

from chatmaild.admin.check import refusals
from chatmaild.admin.servers.postconf import PostfixError, Service

pytestmark = pytest.mark.parametrize("release", RELEASES)

REFUSED = {"refused": "failure"}
HOME = "127.0.0.0/8 [::ffff:127.0.0.0]/104 [::1]/128"


def judge(host):
    return bad(refusals.check(host, CONFIG))


def hashed(table, keys):
    return {"alice@example.org": "OK"} if "alice@example.org" in keys else {}


@pytest.mark.parametrize("state", ["stock", "ordinary", "wired"])
def test_an_ordinary_host_refuses_nothing(release, state):
    assert judge(postfix(release, state)) == {}


@pytest.mark.parametrize("restrictions, expected", [
    ("check_recipient_access hash:/etc/postfix/people, reject", REFUSED),
    ("check_recipient_access mysql:/etc/postfix/people, reject", {}),   # it may know accounts
    ("permit_mynetworks permit_sasl_authenticated reject_unauth_destination "
     "reject_rbl_client zen.example, reject", REFUSED),
    ("permit_mynetworks reject_unauth_destination sleep 1, permit_sasl_authenticated, defer",
     REFUSED),
    ("reject_unauth_destination, defer_if_permit", REFUSED),
    ("reject_unauth_destination, permit, reject", {}),
    ("permit_auth_destination, reject", {}),
    ("permit_mynetworks, permit_sasl_authenticated, reject_unauth_destination", {}),
    ("warn_if_reject reject", {}),
    ("warn_if_reject permit, reject", {}),
    ("check_client_access cidr:/etc/postfix/gateways, reject", {}),
    ("check_sender_access hash:/etc/postfix/friends, reject", {}),
    ("check_policy_service unix:private/policy, reject", {}),
    ("permit_tls_clientcerts, reject", {}),
    ("some_class, reject", {}),
    (f"check_recipient_access inline:{{ {DOMAIN}=REJECT }}", REFUSED),
    ("check_recipient_access inline:{ .example.org=DEFER }", REFUSED),
    (f"check_recipient_access inline:{{ {DOMAIN}=DEFER_IF_PERMIT }}", REFUSED),
    ("check_recipient_access regexp:{ /@chat/ 550 5.1.1 no }", REFUSED),
    ("check_recipient_access regexp:{ /@chat/ 450 no }", REFUSED),
    ("check_recipient_access regexp:{ /@chat/ 550 }", {}),      # digits alone are OK
    ("check_recipient_access regexp:{ /@chat/ OK }, reject", {}),
    ("check_recipient_access regexp:{ /@chat/ WARN seen }, reject", REFUSED),
    ("check_recipient_access regexp:{ /@chat/ DISCARD }, reject", {}),
    ("check_sasl_access static:REJECT", {}),        # nobody has logged in
    ("check_sender_access static:REJECT", {}),      # which may know some senders
])
def test_what_strangers_write_to_chat_users(release, restrictions, expected):
    host = dataclasses.replace(postfix(release), ask_all=lambda table, keys: (
        hashed if table.startswith("hash:") else postfix(release).ask_all)(table, keys))
    host = with_parameters(host, mynetworks=HOME)
    for name in ("smtpd_recipient_restrictions", "smtpd_client_restrictions"):
        assert judge(with_option(host, "smtp/inet", name, restrictions)) == expected


def test_hosts_that_pass_mail_on_to_this_one(release):
    host = with_option(with_parameters(postfix(release), mynetworks=f"{HOME} 192.0.2.0/24"),
                       "smtp/inet", "smtpd_recipient_restrictions", "permit_mynetworks, reject")
    assert judge(host) == {}
    assert judge(with_parameters(host, mynetworks=f"{HOME} cidr:/etc/postfix/nets")) == {}
    assert judge(with_parameters(host, mynetworks=HOME)) == REFUSED


def test_one_of_two_services_is_enough(release):
    host = postfix(release)
    closed = with_option(host, "smtp/inet", "smtpd_recipient_restrictions", "reject")
    assert judge(closed) == REFUSED
    for name, expected in (("192.0.2.1:25/inet", {}), ("127.0.0.1:25/inet", REFUSED)):
        second = Service(name, "smtpd", False)
        assert judge(dataclasses.replace(closed, services=(*closed.services, second))) == expected


@pytest.mark.parametrize("restrictions, expected", [
    (f"check_sender_access inline:{{ {DOMAIN}=REJECT }}", REFUSED),
    (f"permit_sasl_authenticated check_sender_access inline:{{ {DOMAIN}=REJECT }}", {}),
    ("check_sasl_access regexp:{ /@chat/ 554 5.7.1 no }", REFUSED),
    (f"check_recipient_access inline:{{ {DOMAIN}=REJECT }}", REFUSED),
    ("check_recipient_access regexp:{ /@(?!chat\\.)/ REJECT }", REFUSED),
    ("check_recipient_access inline:{ example.com=REJECT }", {}),   # and it takes other mail
    ("check_recipient_access regexp:{ /\\.(com|invalid)$/ REJECT }", {}),
    ("check_client_access static:OK, reject", {}),
    ("reject_unauth_destination", REFUSED),         # so they write to nobody else
    ("permit_sasl_authenticated, reject", {}),
    ("reject", REFUSED),
])
def test_what_chat_users_write(release, restrictions, expected):
    host, name = postfix(release), "smtpd_sender_restrictions"
    for service in host.submission_servers():
        assert judge(host) == {}                    # another one takes it
        host = with_option(host, service.name, name, restrictions)
    assert judge(host) == expected


def test_the_line_and_the_way_out(release):
    def told(host):
        [finding] = refusals.check(host, CONFIG)
        return finding.place, finding.text, finding.cure
    host = with_parameters(postfix(release), mynetworks=HOME)
    assert told(with_parameters(host, smtpd_data_restrictions="permit_sasl_authenticated, reject")
                ) == ("/etc/postfix/main.cf: smtpd_data_restrictions",
                      f"mail from outside to users of {DOMAIN} is refused by reject",
                      f"put before reject:\ncheck_recipient_access inline:{{ {DOMAIN}=OK }}")
    table = "inline:{ example.org=REJECT }"
    host = with_option(with_parameters(host, parent_domain_matches_subdomains="smtpd_access_maps"),
                       "smtp/inet", "smtpd_recipient_restrictions",
                       f"check_recipient_access {table}")
    assert told(host) == (
        "/etc/postfix/master.cf: smtp/inet: smtpd_recipient_restrictions",
        f"{table} answers REJECT to example.org: mail from outside to users of {DOMAIN} is refused",
        "take example.org out of the table, or put before it:\n"
        f"check_recipient_access inline:{{ {DOMAIN}=OK }}")


def test_what_cannot_be_known(release):
    def ask_all(table, keys):
        raise PostfixError("gone")
    host = with_parameters(postfix(release), smtpd_recipient_restrictions="reject")
    assert judge(with_parameters(host, smtpd_delay_reject="no")) == {}
    host = with_parameters(host, smtpd_recipient_restrictions="check_recipient_access hash:/gone "
                           "reject")
    assert judge(dataclasses.replace(host, ask_all=ask_all)) == {}
