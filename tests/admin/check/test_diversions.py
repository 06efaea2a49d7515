"""Tables of access(5) that do something to the mail of chat users."""

import dataclasses

import pytest
from captured import CONFIG, DOMAIN, RELEASES, bad, postfix, with_option, with_parameters

from chatmaild.admin.check import diversions
from chatmaild.admin.servers.postconf import PostfixError, Service

pytestmark = pytest.mark.parametrize("release", RELEASES)

LOST, KEPT = {"diverted": "failure"}, {"diverted": "warning"}


def judge(host):
    return bad(diversions.check(host, CONFIG))


def test_an_ordinary_host_does_nothing(release):
    assert judge(postfix(release)) == {}


@pytest.mark.parametrize("restrictions, expected", [
    (f"check_recipient_access inline:{{ {DOMAIN}=HOLD }}", LOST),
    (f"check_recipient_access inline:{{ {DOMAIN}=DISCARD }}", LOST),
    ("check_recipient_access inline:{ .example.org=HOLD }", LOST),
    ("check_recipient_access inline:{ example.org=HOLD }", {}),
    (f"check_recipient_access inline:{{ {DOMAIN}=OK }}", {}),
    ("check_recipient_access regexp:{ /@chat\\.example\\.org$/ REDIRECT admin@example.org }", LOST),
    ("check_recipient_access regexp:{ /@chat\\.example\\.org$/ BCC admin@example.org }", KEPT),
    ("check_recipient_access regexp:{ /^chat\\.example\\.org$/ HOLD }", {}),     # never asked
    ("check_recipient_access regexp:{ /@example\\.org$/ HOLD }", {}),
    ("check_recipient_access regexp:{ /./ PREPEND X-Seen: yes }", {}),
    ("check_recipient_access regexp:{ /./ FILTER smtp:[mx.filter.example]:10025 }", KEPT),
    ("check_recipient_access regexp:{ /./ FILTER smtp:[127.0.0.1]:10025 }", {}),
    ("check_recipient_access regexp:{ /./ FILTER smtp:[amavis]:10025 }", {}),
    ("check_recipient_access regexp:{ /./ FILTER lmtp:unix:private/filter }", {}),
    ("check_recipient_access regexp:{ /./ FILTER spam:dummy }", {}),
    ("check_recipient_access regexp:{ /./ FILTER discard: }", KEPT),
    ("check_client_access regexp:{ /./ HOLD }", {}),
])
def test_where_strangers_write_to_chat_users(release, restrictions, expected):
    host = postfix(release)
    host = dataclasses.replace(host, services=(*host.services,
                                               Service("spam/unix", "pipe", False)))
    assert judge(with_option(host, "smtp/inet", "smtpd_recipient_restrictions",
                             restrictions)) == expected


@pytest.mark.parametrize("restrictions, expected", [
    ("check_sender_access regexp:{ /@chat/ HOLD }", LOST),
    ("check_sasl_access regexp:{ /@chat/ HOLD }", LOST),
    (f"check_sasl_access inline:{{ {DOMAIN}=HOLD }}", {}),       # asked about whole names
    ("permit_sasl_authenticated, check_sender_access regexp:{ /@chat/ HOLD }", {}),
])
def test_where_chat_users_log_in(release, restrictions, expected):
    host = with_option(postfix(release), "submission/inet", "smtpd_sender_restrictions",
                       restrictions)
    assert judge(host) == expected
    stranger = with_option(postfix(release), "smtp/inet", "smtpd_sender_restrictions",
                           restrictions)
    assert judge(stranger) == {}


def test_parents_without_a_dot(release):
    host = with_parameters(postfix(release), parent_domain_matches_subdomains="smtpd_access_maps",
                           smtpd_recipient_restrictions="check_recipient_access "
                           "inline:{ example.org=HOLD }")
    assert judge(host) == LOST


def test_a_table_that_cannot_be_asked(release):
    def ask_all(table, keys):
        raise PostfixError("gone")
    host = with_parameters(postfix(release),
                           smtpd_recipient_restrictions="check_recipient_access hash:/gone")
    assert judge(dataclasses.replace(host, ask_all=ask_all)) == {"access-table": "failure"}
