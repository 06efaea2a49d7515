"""What keeps chat users out before our passdb is asked."""

import pytest
from captured import RELEASES, bad, dovecot, postfix, with_option, with_parameters

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


@pytest.mark.parametrize("key, value, expected", [
    ("smtpd_sasl_tls_security_options", "noanonymous", {}),
    ("smtpd_sasl_tls_security_options", "noanonymous, noplaintext", {"sasl-plain": "failure"}),
    ("smtpd_sasl_exceptions_networks", "192.0.2.0/24", {"sasl-exceptions": "warning"}),
])
def test_what_postfix_offers(release, key, value, expected):
    assert bad(logins.of_postfix(with_parameters(postfix(release), **{key: value}))) == expected
    mx = with_option(postfix(release), "smtp/inet", key, value)
    assert bad(logins.of_postfix(mx)) == {}
