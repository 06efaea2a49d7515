"""Where `check --live` connects to."""

import dataclasses
import getpass

import pytest
from captured import CONFIG

from chatmaild.admin.check import visitor
from chatmaild.admin.servers import doveconf
from chatmaild.errors import ChatmaildError


@pytest.mark.parametrize("host, listens_at, expected", [
    ("localhost", "", "localhost"),
    ("localhost", "*, ::", "localhost"),
    ("localhost", "all", "localhost"),
    ("localhost", "192.0.2.1 127.0.0.1", "localhost"),
    ("localhost", "192.0.2.1, 2001:db8::1", "192.0.2.1"),
    ("localhost", "[2001:db8::1]", "2001:db8::1"),
    ("localhost", "mail.example.org", "mail.example.org"),
    ("chat.example.org", "192.0.2.1", "chat.example.org"),
])
def test_the_server_may_listen_elsewhere_than_at_loopback(host, listens_at, expected):
    assert visitor.nearest(host, listens_at) == expected


@pytest.mark.parametrize("listeners, expected", [
    ("", 993),
    ("inet_listener imaps { port = 993 ssl = yes }", 993),
    ("inet_listener imaps { port = 0 ssl = yes } inet_listener tls { port = 994 ssl = yes }", 994),
    ("inet_listener imaps { port = 993 ssl = yes haproxy = yes } "
     "inet_listener inside { port = 994 ssl = yes }", 994),
    ("inet_listener imaps { port = 993 ssl = yes haproxy = yes }", 993),
])
def test_imap_is_asked_where_clients_connect_themselves(listeners, expected):
    text = listeners.replace("{ ", "{\n").replace(" }", "\n}\n").replace(" ssl", "\nssl")
    text = text.replace(" haproxy", "\nhaproxy")
    its_dovecot = doveconf.interpret(f"# 2.3.19 (x)\nservice imap-login {{\n{text}}}\n")
    assert visitor.imap_at("localhost", its_dovecot) == ("localhost", expected)


@pytest.mark.parametrize("error", [OSError("disk full"), KeyError("disk full")])
def test_what_fails_in_the_child_is_told(error):
    """Also a mistake of ours: the account would be missing, and the check go on with it."""
    me = dataclasses.replace(CONFIG, mail_user=getpass.getuser())

    def work():
        raise error
    with pytest.raises(ChatmaildError, match="disk full"):
        visitor.as_owner(me, work)
