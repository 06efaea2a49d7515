"""Whom smtpd_milter_maps exempts from the filter, asked of real tables."""

import dataclasses

import pytest
from captured import RELEASES, bad, postfix, with_parameters

from chatmaild.admin.check import exemptions
from chatmaild.admin.servers.postconf import PostfixError

pytestmark = pytest.mark.parametrize("release", RELEASES)


def judge(release, tables, clients=None, has_logins=False, **parameters):
    """`clients`: what each table says, by a function of the address."""
    def ask_all(table, asked):
        if clients is None:
            raise PostfixError(f"fatal: open {table}: No such file or directory")
        return {client: answer for client in asked if (answer := clients(table, client))}

    host = with_parameters(dataclasses.replace(postfix(release), ask_all=ask_all),
                           smtpd_milter_maps=tables, **parameters)
    (service, *_) = host.submission_servers()
    return bad(exemptions.check(host, service, has_logins))


def test_without_a_table_nobody_is(release):
    assert judge(release, "") == {}


@pytest.mark.parametrize("answer, level", [
    ("DISABLE", "failure"),
    ("inet:127.0.0.1:8891", "failure"),
    ("{ unix:chatmaild/filtermail.sock, default_action=tempfail } inet:127.0.0.1:8891", "warning"),
    (None, "warning"),
])
def test_everybody(release, answer, level):
    assert judge(release, "static:x", lambda table, client: answer) == {"milter-maps": level}


@pytest.mark.parametrize("start", ["203.0.113.", "2001:", "10.", "192.168."])
def test_a_network(release, start):
    assert judge(release, "cidr:/x", lambda table, client:
                 "DISABLE" if client.startswith(start) else None) == {"milter-maps": "failure"}


def test_a_network_that_the_host_trusts(release):
    def clients(table, client):
        return "DISABLE" if client.startswith("100.") else None

    assert judge(release, "cidr:/x", clients) == {"milter-maps": "warning"}
    assert judge(release, "cidr:/x", clients,
                 mynetworks="127.0.0.0/8 [::1]/128 hash:/etc/postfix/friends 100.64.0.0/10"
                 ) == {"milter-maps": "failure"}


@pytest.mark.parametrize("clients", ["127.0.0.1", "192.0.2.5", "2001:db8::5", "[::1]"])
def test_single_clients_matter_where_users_log_in(release, clients, tmp_path):
    """Chat users come from there; without a login it may be another mail server."""
    def exempt(table, client):
        return "DISABLE" if client == clients.strip("[]") else None

    source = tmp_path / "exempt"
    source.write_text(f"# 192.0.2.77 is a comment\n{clients} DISABLE\n")
    for table in (f"inline:{{ {clients}=DISABLE }}", f"proxy:hash:{source}"):
        assert judge(release, table, exempt) == {"milter-maps": "warning"}
        assert judge(release, table, exempt, has_logins=True) == {"milter-maps": "failure"}
    assert judge(release, "hash:/gone", exempt, has_logins=True) == {"milter-maps": "warning"}


def test_the_first_table_that_answers_counts(release):
    answers = {"first:x": "unix:chatmaild/filtermail.sock", "second:x": "DISABLE"}
    assert judge(release, "first:x second:x", lambda table, client: answers[table]) == {
        "milter-maps": "warning"}


def test_a_table_that_cannot_be_asked(release):
    assert judge(release, "hash:/gone") == {"milter-maps": "failure"}
