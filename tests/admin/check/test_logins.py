"""What keeps chat users out before our passdb is asked."""

import pytest
from captured import CONFIG, RELEASES, bad, dovecot, postfix, with_option, with_parameters

from chatmaild.admin.check import logins
from chatmaild.admin.servers import doveconf

pytestmark = pytest.mark.parametrize("release", RELEASES)


def judge(release, lines="", **settings):
    host = dovecot(release)
    host.tree.values.update(settings)
    host.tree.blocks[:] = [*doveconf.parse(lines).blocks,
                           *(b for b in host.tree.blocks if (b.kind, b.name) != ("service", "auth")
                             or "service auth" not in lines)]
    return bad(logins.of_dovecot(host))


def test_an_ordinary_host_lets_them_in(release):
    assert judge(release) == {}


@pytest.mark.parametrize("protocol, kind, more, expected", [
    ("imap", "passdb", "deny = yes", {"passdb-order": "failure"}),
    ("smtp", "passdb", "", {"passdb-order": "failure"}),
    ("!smtp", "passdb", "", {"passdb-order": "failure"}),
    ("!imap", "passdb", "", {"passdb-order": "failure"}),
    ("pop3", "passdb", "", {}),
    ("imap", "passdb", "username_filter = *@example.org", {}),
    ("imap", "passdb", "master = yes", {}),
    ("lmtp", "userdb", "", {"userdb-order": "failure"}),
    ("smtp", "userdb", "", {}),
])
def test_databases_for_one_protocol(release, protocol, kind, more, expected):
    """Tried on 2.3 and 2.4: they are asked first, wherever the block stands."""
    assert judge(release, f"protocol {protocol} {{\n  {kind} {{\n    driver = passwd-file\n"
                 f"    {more}\n  }}\n}}\n") == expected


@pytest.mark.parametrize("key, value, expected", [
    ("auth_ssl_require_client_cert", "yes", {"client-certificate": "failure"}),
    ("mail_max_userip_connections", "3", {"imap-connections": "warning"}),
    ("mail_max_userip_connections", "0", {}),
    ("auth_master_user_separator", "*", {}),
    ("auth_master_user_separator", "*-", {"master-separator": "failure"}),
])
def test_settings_of_all_users(release, key, value, expected):
    assert judge(release, **{key: value}) == expected


@pytest.mark.parametrize("limit, expected", [
    ("100", {"auth-clients": "failure"}), ("200", {}), ("0", {}), ("unlimited", {}),
])
def test_processes_that_may_ask_about_logins(release, limit, expected):
    assert judge(release, f"service auth {{\n  client_limit = {limit}\n}}\n") == expected


def judge_postfix(host, mechanisms="plain"):
    host_dovecot = dovecot("trixie")
    host_dovecot.tree.values["auth_mechanisms"] = mechanisms
    return bad(logins.of_postfix(host, host_dovecot, CONFIG))


FILTERED, HIDDEN = {"sasl-filter": "failure"}, {"ehlo-keywords": "failure"}


@pytest.mark.parametrize("key, value, expected", [
    ("smtpd_sasl_tls_security_options", "noanonymous", {}),
    ("smtpd_sasl_tls_security_options", "noanonymous, noplaintext", {"sasl-plain": "failure"}),
    ("smtpd_sasl_exceptions_networks", "192.0.2.0/24", {"sasl-exceptions": "warning"}),
    ("smtpd_sasl_mechanism_filter", "!external, static:rest", {}),
    ("smtpd_sasl_mechanism_filter", "inline:{ plain=x }", {}),
    ("smtpd_sasl_mechanism_filter", "PLAIN", {}),
    ("smtpd_sasl_mechanism_filter", "login", FILTERED),     # which this Dovecot does not offer
    ("smtpd_sasl_mechanism_filter", "!plain, static:rest", FILTERED),
    ("smtpd_sasl_mechanism_filter", "scram-sha-256", FILTERED),
    ("smtpd_discard_ehlo_keywords", "silent-discard, dsn", {}),
    ("smtpd_discard_ehlo_keywords", "silent-discard, AUTH", HIDDEN),
    ("smtpd_discard_ehlo_keywords", "starttls", HIDDEN),
    ("smtpd_discard_ehlo_keyword_address_maps", "inline:{ 192.0.2.9=chunking }", {}),
    ("smtpd_discard_ehlo_keyword_address_maps", "inline:{ 192.0.2.9=auth }", HIDDEN),
    ("smtpd_discard_ehlo_keyword_address_maps", "regexp:{ /^192/ auth }", HIDDEN),
    ("smtpd_tls_ask_ccert", "yes", {}),
    ("smtpd_tls_req_ccert", "yes", {"client-certificate": "failure"}),
])
def test_what_postfix_offers(release, key, value, expected):
    """Each tried with a login, on Debian 12 and 13."""
    assert judge_postfix(with_parameters(postfix(release), **{key: value})) == expected
    mx = with_option(postfix(release), "smtp/inet", key, value)
    assert judge_postfix(mx) == {}


def test_login_where_dovecot_offers_it(release):
    host = with_parameters(postfix(release), smtpd_sasl_mechanism_filter="login")
    assert judge_postfix(host, "plain login") == {}


def test_starttls_is_for_ports_that_begin_without(release):
    host = with_option(postfix(release), "submissions/inet", "smtpd_discard_ehlo_keywords",
                       "starttls")
    assert judge_postfix(host) == {}


def test_a_certificate_that_is_only_asked_for(release):
    """With smtpd_tls_security_level = may Postfix requires none."""
    host = with_option(postfix(release), "submission/inet", "smtpd_tls_req_ccert", "yes")
    assert judge_postfix(with_option(host, "submission/inet", "smtpd_tls_security_level",
                                     "may")) == {}
    assert judge_postfix(host) == {"client-certificate": "failure"}


def test_what_a_table_says_about_a_client_is_instead_of_the_list_for_all(release):
    host = with_parameters(postfix(release), smtpd_discard_ehlo_keywords="auth",
                           smtpd_discard_ehlo_keyword_address_maps="regexp:{ /./ dsn }")
    assert judge_postfix(host) == {}
