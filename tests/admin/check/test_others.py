"""Is a host ready to be one of several?"""

import socket

import pytest
from captured import CONFIG, bad, postfix, with_parameters
from directoryhosts import Host

from chatmaild.accounts.directory import Node
from chatmaild.admin.check import others, peers
from chatmaild.admin.servers import doveconf
from chatmaild.config import inifile

DOVECOT = """\
# 2.3.19.1
login_trusted_networks = 192.0.2.20
service lmtp {
  inet_listener lmtp {
    address = 192.0.2.10
    port = 24
  }
}
"""


@pytest.fixture
def host(directory_server, tmp_path, capsys):
    directory_server.sql("TRUNCATE account, invitation, node")
    one, two = (Host(directory_server, tmp_path / name, f"{name}.example", capsys)
                for name in ("one", "two"))
    one.command("join", "192.0.2.10"), two.command("join", "192.0.2.20")
    return one


def codes(findings):
    return list(bad(findings))


def check(postfix, dovecot, config):
    return others.check(others.ask(config), postfix, dovecot, config)


def dovecot(text=DOVECOT):
    return doveconf.interpret(text)


def test_a_host_that_is_alone_is_asked_nothing():
    assert list(check(postfix("bookworm"), dovecot(), CONFIG)) == []


def test_the_directory_answers_and_knows_this_host(host, directory_server):
    config = inifile.load(host.ini)
    assert codes(check(None, dovecot(), config)) == []
    directory_server.sql("DELETE FROM node WHERE name = 'one.example'")
    assert codes(check(None, dovecot(), config)) == ["directory-node"]
    host.ini.with_name("directory.conf").write_text(f"host={host.ini.parent}\n")
    assert codes(check(None, None, config)) == ["directory"]


@pytest.mark.parametrize("before, after, code", [
    ("port = 24", "port = 2424", "directory-lmtp"),
    ("    address = 192.0.2.10\n", "", "directory-lmtp"),
    ("login_trusted_networks = 192.0.2.20\n", "", "directory-trusted")])
def test_the_others_get_in_and_nobody_else(host, before, after, code):
    text = DOVECOT.replace(before, after)
    assert codes(check(None, dovecot(text), inifile.load(host.ini))) == [code]


def test_a_host_that_does_not_answer():
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    node = Node("two.example", "127.0.0.1", True, 0)
    assert codes(peers.check([node], port, "")) == ["directory-peer"]


def test_postfix_knows_the_way_to_the_others():
    assert codes(others.check_postfix(postfix("bookworm"))) == ["directory-transport"]
    wired = with_parameters(postfix("bookworm"), transport_maps="pgsql:/etc/postfix/chat-home.cf")
    assert codes(others.check_postfix(wired)) == ["directory-transport"]
