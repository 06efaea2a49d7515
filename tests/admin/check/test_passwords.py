"""Settings for finding faults that write passwords to a log."""

import pytest
from captured import RELEASES, bad, dovecot, postfix, with_option, with_parameters

from chatmaild.admin.check import passwords
from chatmaild.admin.servers import postconf

pytestmark = pytest.mark.parametrize("release", RELEASES)

LOGGED = {"passwords-logged": "warning"}


@pytest.mark.parametrize("setting, expected", [
    ("auth_verbose = yes", {}),
    ("auth_debug_passwords = yes", LOGGED),
    ("auth_verbose_passwords = plain", LOGGED),
    ("auth_verbose_passwords = sha1:6", LOGGED),
])
def test_dovecot(release, setting, expected):
    host = dovecot(release, edit=lambda text: text.replace(
        f"{setting.partition(' ')[0]} = no", setting))
    assert bad(passwords.of_dovecot(host)) == expected


def test_clients_whose_sessions_postfix_logs(release):
    assert bad(passwords.of_postfix(postfix(release))) == {}
    assert bad(passwords.of_postfix(with_parameters(
        postfix(release), debug_peer_list="192.0.2.7"))) == LOGGED
    mx = with_option(postfix(release), "smtp/inet", "debug_peer_list", "192.0.2.7")
    assert bad(passwords.of_postfix(mx)) == {}, "where nobody logs in"


@pytest.mark.parametrize("arguments, expected", [
    ("-v", LOGGED), ("-vv", LOGGED), ("-o myhostname=mail -v", LOGGED), ("", {}),
])
def test_a_service_that_logs_every_session(release, arguments, expected):
    host = postconf.Postfix("/etc/postfix", {}, postconf.parse_services(
        f"submission inet n - y - - smtpd {arguments}",
        "submission/inet/smtpd_sasl_auth_enable = yes"), lambda table, key: None,
        lambda table, keys: {})
    assert bad(passwords.of_postfix(host)) == expected
