"""Is a host ready to be one of several?"""

import contextlib
import dataclasses
import socket

import pytest
from captured import CONFIG, bad, postfix, with_parameters
from directoryhosts import joined
from rig.until import until

from chatmaild import __version__
from chatmaild.accounts import sharedsettings
from chatmaild.accounts.directory import Directory
from chatmaild.accounts.directorylines import Session
from chatmaild.accounts.directoryrows import Node
from chatmaild.accounts.directoryschema import VERSION
from chatmaild.admin.check import others, packetfilter, peers
from chatmaild.admin.check.findings import Level
from chatmaild.admin.servers import doveconf
from chatmaild.admin.servers.postconf import Service
from chatmaild.admin.wiring import otherhosts
from chatmaild.admin.wiring.otherhosts import Known
from chatmaild.config import inifile

DOVECOT = """\
# 2.3.19.1
login_trusted_networks = 127.0.0.20
service lmtp {
  inet_listener lmtp {
    address = 192.0.2.10
    port = 24
  }
}
"""


@pytest.fixture
def host(directory_server, tmp_path, capsys):
    return joined(directory_server, tmp_path, capsys)[0]


def codes(findings):
    return list(bad(findings))


CLOSED = ":INPUT DROP [0:0]"


def check(postfix, dovecot, config, packets=CLOSED):
    return others.check(otherhosts.ask(config), packets, postfix, dovecot, config)


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


def test_accounts_that_the_directory_does_not_know_are_counted(host):
    """Another host would make them anew."""
    config = inifile.load(host.ini)
    host.make("somebody1")
    found, = [each for each in check(None, None, config) if each.code == "directory-accounts"]
    assert "1 account here, and the directory knows 0" in found.text
    before = otherhosts.ask(config)
    host.command("import")
    assert codes(check(None, None, config)) == []
    assert codes(others.check(before, CLOSED, None, None, config)) == [], "it is asked again"


def test_an_address_that_this_host_does_not_have_is_told(host, directory_server):
    """Dovecot would not start the next time."""
    config = inifile.load(host.ini)
    for address, found in (("192.0.2.10", ["directory-node"]), ("2001:db8::10", ["directory-node"]),
                           ("::1", []), ("127.0.0.10", [])):
        assert host.command("join", address)[0] == 0
        assert codes(check(None, None, config)) == found, address
    assert host.command("join", "192.0.2.10")[0] == 0
    everywhere = dovecot(DOVECOT.replace("192.0.2.10", "*"))
    assert codes(check(None, everywhere, config)) == [], "by a translation of addresses"


def test_our_services_have_to_read_the_password_of_the_directory(host):
    config = dataclasses.replace(inifile.load(host.ini), mail_user="nobody")
    first, *_ = check(None, None, config)
    assert first.code == "directory-file" and "our services cannot read it" in first.text


def test_everybody_may_not_read_the_password_of_the_directory(host):
    host.ini.with_name("directory.conf").chmod(0o644)
    assert codes(check(None, None, inifile.load(host.ini))) == ["directory-file"]


@pytest.mark.parametrize("ahead, words", [
    (9, ""), (-9, ""), (11, "11 s behind the database"), (-7200, "7,200 s ahead of the database")])
def test_clocks_agree(host, ahead, words):
    known = Known((Node("one.example", "192.0.2.10", True, 0),), 1, ahead)
    found = [finding.text for finding in others.check(known, "", None, None, inifile.load(host.ini))
             if finding.code == "directory-clock" and finding.level.value != "ok"]
    assert [words in text for text in found] == ([True] if words else [])


def test_the_clock_of_the_database_on_this_machine_is_ours(host):
    assert abs(otherhosts.ask(inifile.load(host.ini)).ahead) < 1


def test_versions_are_compared_by_who_is_connected(host, directory_server):
    config = inifile.load(host.ini)
    # A name of its own: commands of other tests are still connected as two.example.
    directory_server.sql("UPDATE node SET name = 'three.example' WHERE name = 'two.example'")

    def found():
        return next((finding.level.value, finding.text) for finding in check(None, None, config)
                    if finding.code == "directory-versions")
    for version, level in (("", "ok"), (__version__, "ok"), ("0.0.9", "warning")):
        name = f"chatmaild {version} three.example" if version else "theirs"
        conninfo = f"{directory_server.conninfo()} application_name='{name}'"
        with contextlib.closing(Directory(conninfo, "three.example", 1, 30)) as three:
            assert three.version() == VERSION
            until(lambda: found() == (level, f"one.example {__version__}, three.example "
                                      f"{version or '(not connected to the directory now)'}"),
                  "the sessions of before to end")


def test_a_long_name_of_a_host_is_known_as_far_as_postgresql_keeps_it(host, directory_server):
    name = "mail." + "a-very-long-label-of-a-host." * 3 + "example"
    with contextlib.closing(Directory(directory_server.conninfo(), name, 1, 30)) as long:
        session, = (each for each in long.sessions() if name.startswith(each.node))
    assert session.is_of(name) and not session.is_of("mail.example")
    assert not Session("mail.example", "0.1.0").is_of("mail.example.org")


def test_settings_of_the_others_are_compared(host, directory_server):
    """By what they told; a host of the first release tells nothing."""
    config = inifile.load(host.ini)

    def found():
        return [(finding.level, finding.text) for finding in check(None, None, config)
                if finding.code == "directory-settings"]
    assert found() == [(Level.OK, "has the same settings")], "they joined with them"
    directory_server.sql("UPDATE node SET settings = '{}'")
    (level, text), = found()
    assert level is Level.WARNING and "has not told its settings" in text
    with contextlib.closing(Directory(directory_server.conninfo(), "two.example", 1, 30)) as two:
        two.tell(sharedsettings.of(config, "two.example"))
        until(lambda: found() == [(Level.OK, "has the same settings")], "the same settings")
        host.ini.write_text(host.ini.read_text() + "delete_mails_after = 30\nsignup = invite\n")
        config = inifile.load(host.ini)
        (level, text), = found()
    assert level is Level.WARNING and text.endswith(
        ": delete_mails_after of chat.example (30 here, 20 there), "
        "signup of chat.example (invite here, open there)")


@pytest.mark.parametrize("rules", [
    "table inet f {\n chain i {\n  type filter hook input priority filter; policy drop;\n",
    "table inet f {\n  chain input {\n    tcp dport 24 ip saddr != { 192.0.2.10 } drop\n",
    "    tcp dport { 24, 4190 } counter packets 0 bytes 0 reject with tcp reset\n",
    "    ip saddr 192.0.2.20 tcp dport 24 accept\n    counter packets 3 bytes 180 drop\n",
    ":INPUT DROP [0:0]\n", "-A INPUT ! -s 192.0.2.20/32 -p tcp -m tcp --dport 24 -j DROP\n"])
def test_a_packet_filter_that_closes_the_port_is_seen(rules):
    assert packetfilter.closes(rules, "24")


@pytest.mark.parametrize("rules", [
    "", "  chain i {\n  type filter hook input priority filter; policy accept;\n",
    "    tcp dport 22 ip saddr @sshd drop\n    tcp dport 24 accept\n",
    "    tcp dport 240 drop\n    tcp dport { 2400, 124 } drop\n    tcp sport 24 drop\n",
    "  chain f {\n  type filter hook forward priority filter; policy drop;\n",
    ":INPUT ACCEPT [0:0]\n-A INPUT -p tcp -m tcp --dport 25 -j REJECT\n"])
def test_a_packet_filter_that_leaves_it_open_is_seen(rules):
    assert not packetfilter.closes(rules, "24")


@pytest.mark.parametrize("address, packets, found", [
    ("10.0.0.1", "", []), ("fd00::1", "", []), ("100.64.0.1", "", []),
    ("192.0.2.10", "", ["directory-lmtp"]), ("192.0.2.10", CLOSED, []),
    ("10.0.0.1 2620:fe::fe", "", ["directory-lmtp"]), ("*", "", ["directory-lmtp"]),
    ("::", "", ["directory-lmtp"]), ("*", CLOSED, [])])
def test_a_port_that_strangers_may_reach_is_a_failure(address, packets, found):
    """Whoever reaches it passes by every filter."""
    text = DOVECOT.replace("192.0.2.10", address)
    findings = list(others.check_dovecot(dovecot(text), [], packets))
    assert [each.code for each in findings if each.level is Level.FAILURE] == found


def test_a_port_that_is_where_all_ports_of_dovecot_are():
    text = DOVECOT.replace("    address = 192.0.2.10\n", "").replace(
        "service lmtp", "listen = 10.0.0.1\nservice lmtp")
    assert Level.FAILURE not in {f.level for f in others.check_dovecot(dovecot(text), [], "")}


@pytest.mark.parametrize("version, level", [
    (None, Level.FAILURE), (VERSION - 1, Level.FAILURE), (VERSION, Level.OK),
    (VERSION + 1, Level.WARNING)])
def test_tables_of_another_release_are_named(host, version, level):
    known = Known((Node("one.example", "192.0.2.10", True, 0),), version)
    first, *_ = others.check(known, CLOSED, None, None, inifile.load(host.ini))
    assert first.level is level


@pytest.mark.parametrize("before, after, code", [
    ("port = 24", "port = 2424", "directory-lmtp"),
    ("login_trusted_networks = 127.0.0.20\n", "", "directory-trusted")])
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
    wired = with_parameters(postfix("bookworm"),
                            transport_maps="memcache:/etc/postfix/chatmaild-homes.cf")
    assert codes(others.check_postfix(wired)) == ["directory-transport"]


REUSING = {"lmtp_tls_security_level": "secure", "lmtp_tls_connection_reuse": "yes",
           "lmtp_tls_CAfile": "/etc/ssl/certs/ca-certificates.crt",
           "tlsproxy_service_name": "chat-node-tls"}


@pytest.mark.parametrize("options, proxy, code", [
    (REUSING, Service("chat-node-tls/unix", "tlsproxy", chroot=False), ""),
    (REUSING | {"lmtp_tls_connection_reuse": "no"}, None, "directory-connections"),
    (REUSING | {"lmtp_tls_connection_reuse": "no", "lmtp_tls_cert_file": "/etc/own"}, None, ""),
    (REUSING, None, "directory-connections"),
    (REUSING, Service("chat-node-tls/unix", "tlsproxy", chroot=True), "directory-connections"),
    (REUSING | {"lmtp_tls_CAfile": "/root/authorities"},
     Service("chat-node-tls/unix", "tlsproxy", chroot=False), "directory-connections")])
def test_the_proxy_of_postfix_is_there_and_sees_whom_to_trust(options, proxy, code):
    wired = with_parameters(postfix("bookworm"), queue_directory="/nowhere",
                            transport_maps="memcache:/etc/postfix/chatmaild-homes.cf")
    way = Service("chat-node/unix", "lmtp", chroot=True, options=options)
    services = (*wired.services, way, *([proxy] if proxy else []))
    found = codes(others.check_postfix(dataclasses.replace(wired, services=services)))
    assert found == ([code] if code else [])
