"""Copies of chat mail that the host sends elsewhere."""

import dataclasses

import pytest
from captured import CONFIG, DOMAIN, RELEASES, bad, postfix, with_option, with_parameters

from chatmaild.admin.check import copies
from chatmaild.admin.servers.postconf import PostfixError, Service

pytestmark = pytest.mark.parametrize("release", RELEASES)

COPIES = {"copies": "warning"}
ARCHIVE = "archive@example.org"


def judge(host):
    return bad(copies.check(host, CONFIG, lambda directory: []))


def test_an_ordinary_host_makes_none(release):
    assert judge(postfix(release)) == {}


@pytest.mark.parametrize("name, value, expected", [
    ("always_bcc", ARCHIVE, COPIES),
    ("recipient_bcc_maps", f"inline:{{ @{DOMAIN}={ARCHIVE} }}", COPIES),
    ("sender_bcc_maps", f"inline:{{ alice@example.org=x }} inline:{{ @{DOMAIN}={ARCHIVE} }}",
     COPIES),
    ("sender_bcc_maps", f"inline:{{ @example.org={ARCHIVE} }}", {}),
    ("sender_bcc_maps", f"regexp:{{ /@/ {ARCHIVE} }}", COPIES),
    ("sender_bcc_maps", f"regexp:{{ /^[a-z]{{9}}@/ {ARCHIVE} }}", COPIES),
    ("recipient_bcc_maps", f"regexp:{{ /^@/ {ARCHIVE} }}", {}),     # never asked about @domain
    ("recipient_bcc_maps", f"regexp:{{ /@example\\.org$/ {ARCHIVE} }}", {}),
])
def test_parameters_of_all_mail(release, name, value, expected):
    assert judge(with_parameters(postfix(release), **{name: value})) == expected


def with_cleanup(release, **options):
    """Submissions have a cleanup service of the host's own."""
    host = postfix(release)
    host = dataclasses.replace(host, services=(
        *host.services, Service("archived/unix", "cleanup", False, options)))
    return with_option(host, "submission/inet", "cleanup_service_name", "archived")


def test_an_option_of_the_cleanup_service_that_submissions_use(release):
    found = list(copies.check(with_cleanup(release, always_bcc=ARCHIVE), CONFIG))
    assert [f.place for f in found] == ["/etc/postfix/master.cf: archived/unix: always_bcc"]
    unused = with_option(with_cleanup(release, always_bcc=ARCHIVE), "submission/inet",
                         "cleanup_service_name", "cleanup")
    assert judge(unused) == {}


def test_mail_that_no_service_has_copied(release):
    """A filter of the host's gives all of it back to where recipients are added."""
    host = with_parameters(postfix(release), always_bcc=ARCHIVE,
                           receive_override_options="no_address_mappings")
    assert judge(host) == {}
    assert judge(with_option(host, "smtp/inet", "receive_override_options", "")) == COPIES


def test_a_table_that_gives_a_message_to_its_own_writer(release):
    def ask_all(table, keys):
        return {key: key for key in keys}
    host = with_parameters(postfix(release), sender_bcc_maps="regexp:/etc/postfix/sent")
    assert judge(dataclasses.replace(host, ask_all=ask_all)) == {}


def test_a_table_that_cannot_be_asked(release):
    def ask_all(table, keys):
        raise PostfixError("gone")
    host = with_parameters(postfix(release), sender_bcc_maps="hash:/gone")
    assert judge(dataclasses.replace(host, ask_all=ask_all)) == COPIES


@pytest.mark.parametrize("accounts, whose", [
    (["anna"], f"of anna@{DOMAIN} go"),
    (["anna", "bert", "carl"], f"of 2 accounts, such as anna@{DOMAIN}, go"),
    (["carl"], None),
])
def test_single_accounts(release, accounts, whose):
    table = f"inline:{{ anna@{DOMAIN}={ARCHIVE} bert@{DOMAIN}={ARCHIVE} }}"
    host = with_parameters(postfix(release), recipient_bcc_maps=table)
    found = list(copies.check(host, CONFIG, {
        f"/var/lib/chatmaild/mail/{DOMAIN}": [f"{name}@{DOMAIN}" for name in accounts]}.get))
    assert len(found) == (whose is not None) and all(whose in f.text for f in found)
