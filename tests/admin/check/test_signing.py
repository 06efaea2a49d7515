"""Is all mail of the host signed, its bounces included?"""

import pytest
from captured import RELEASES, bad, postfix, with_option, with_parameters

from chatmaild.admin.check import signing

pytestmark = pytest.mark.parametrize("release", RELEASES)

SIGNER = "unix:opendkim/opendkim.sock"
OURS = "unix:chatmaild/filtermail-incoming.sock"
BOUNCES = {"bounces-unsigned": "warning"}
SLOW = {"milter-by-tcp": "warning"}


@pytest.mark.parametrize("smtpd, others, classes, expected", [
    ("", "", "", {}),                                   # whoever signs is no milter
    (SIGNER, SIGNER, "bounce", {}),
    (SIGNER, f"{{ {OURS}, default_action=tempfail }} {SIGNER}", "bounce, notify", {}),
    (f"{{ {SIGNER}, connect_timeout=5s }}", SIGNER, "bounce", {}),
    (SIGNER, SIGNER, "", BOUNCES),
    (SIGNER, "", "bounce", BOUNCES),
    (f"{SIGNER} unix:rspamd/milter.sock", SIGNER, "notify bounce", BOUNCES),
])
def test_bounces_are_shown_to_the_signer(release, smtpd, others, classes, expected):
    host = with_parameters(postfix(release, "stock"), smtpd_milters=smtpd,
                           non_smtpd_milters=others, internal_mail_filter_classes=classes)
    assert bad(signing.check(host)) == expected


def test_the_cure_keeps_what_is_there(release):
    host = with_parameters(postfix(release, "stock"), non_smtpd_milters=OURS,
                           smtpd_milters=SIGNER, internal_mail_filter_classes="")
    found, = signing.check(host)
    assert f"non_smtpd_milters = {OURS} {SIGNER}" in found.cure.splitlines()


@pytest.mark.parametrize("endpoint, expected", [
    ("inet:127.0.0.1:8891", SLOW), ("inet:localhost:8891", SLOW), ("inet:[::1]:8891", SLOW),
    ("inet:LOCALHOST:8891", SLOW), ("{ inet:127.0.0.9:8891, default_action=accept }", SLOW),
    ("inet:192.0.2.7:8891", {}), ("inet:filter.example.org:8891", {}), (SIGNER, {}),
])
def test_a_milter_by_tcp_on_this_host_is_named(release, endpoint, expected):
    stock = postfix(release, "stock")
    everywhere = with_parameters(stock, smtpd_milters=endpoint, non_smtpd_milters=endpoint,
                                 internal_mail_filter_classes="bounce")
    assert bad(signing.check(everywhere)) == expected
    one = with_option(stock, "smtp/inet", "smtpd_milters", endpoint)
    assert bad(signing.check(one)) == expected
