"""``chatmaild dns``, as an admin calls it on a host with Postfix."""

import json
import subprocess

import dkimkit
import pytest
from captured import DOMAIN, postfix, with_parameters

from chatmaild import cli
from chatmaild.admin.dns import observation
from chatmaild.admin.servers import hosttool, postconf


@pytest.fixture
def host(tmp_path, monkeypatch):
    """A host that signs with OpenDKIM. `ip` says what `host` holds."""
    (tmp_path / "chatmaild.ini").write_text(f"[chatmaild]\nmail_domains = {DOMAIN}\n")
    key = tmp_path / "s1.private"
    key.write_bytes(dkimkit.rsa().private)
    (tmp_path / "opendkim.conf").write_text(f"Domain {DOMAIN}\nSelector s1\nKeyFile {key}\n")
    monkeypatch.setattr(observation, "OPENDKIM", tmp_path / "opendkim.conf")
    monkeypatch.setattr(observation, "RSPAMD", tmp_path / "missing")
    monkeypatch.setattr(postconf, "observe", lambda: with_parameters(
        postfix("bookworm"), myhostname="mail.example.org", inet_interfaces="all"))
    listing = {"text": json.dumps([{"addr_info": [{"local": "192.0.2.1"}]}])}
    really = hosttool.ask

    def ask(command, *arguments):
        if command[0] == "ip":
            return subprocess.CompletedProcess(command, 0, listing["text"], "")
        return really(command, *arguments)
    monkeypatch.setattr(hosttool, "ask", ask)
    return listing


@pytest.fixture
def command(tmp_path, capsys, host):
    def run(*arguments):
        code = cli.main(["-c", str(tmp_path / "chatmaild.ini"), "dns", *arguments])
        return code, *capsys.readouterr()
    return run


RECORD = dkimkit.rsa().record.decode()


def test_a_zone_to_paste(command):
    code, out, err = command()
    assert (code, err) == (0, "")
    assert f"{DOMAIN}. IN MX 10 mail.example.org.\n" in out
    assert f"s1._domainkey.{DOMAIN}. IN TXT ( \"v=DKIM1; k=rsa; p=" in out
    assert "1.2.0.192.in-addr.arpa. IN PTR mail.example.org.\n" in out


def test_rows_for_a_form(command):
    rows = [line.split("\t") for line in command("--plain", DOMAIN)[1].splitlines()]
    assert [DOMAIN, "MX", "10 mail.example.org"] in rows
    assert [f"s1._domainkey.{DOMAIN}", "TXT", RECORD] in rows


def test_for_programs(command):
    document = json.loads(command("--json")[1])
    assert document["host"] == "mail.example.org" and document["notes"] == []
    assert {"name": f"s1._domainkey.{DOMAIN}", "type": "TXT", "value": RECORD, "group": "needed"
            }.items() <= next(row for row in document["domains"][DOMAIN]
                              if "_domainkey" in row["name"]).items()


def test_public_addresses_behind_nat_are_given(command, host):
    host["text"] = json.dumps([{"addr_info": [{"local": "10.0.0.5"}]}])
    out = command("--address", "198.51.100.9", "--address", "2001:db8::9")[1]
    assert f"{DOMAIN}. IN A 198.51.100.9\n{DOMAIN}. IN AAAA 2001:db8::9\n" in out


def test_a_name_that_others_cannot_find_is_said_offline(command, monkeypatch):
    short = with_parameters(postfix("bookworm"), myhostname="mail")
    monkeypatch.setattr(postconf, "observe", lambda: short)
    assert "; Postfix calls itself mail, which others cannot find" in command()[1]


def test_what_could_not_be_had_is_said(command, tmp_path):
    (tmp_path / "s1.private").write_text("no key")
    assert "; " + str(tmp_path / "s1.private") in command()[1]
    assert "s1.private" in command("--plain")[2]


@pytest.mark.parametrize("arguments, words", [
    (("elsewhere.example",), "not a chat domain"),
    (("--address", "mail.example.org"), "not an address"),
    (("--server", "ns.example.org"), "not an address"),
])
def test_wrong_usage(command, capsys, arguments, words):
    try:
        code, _, err = command(*arguments)
    except SystemExit as stop:
        code, err = stop.code, capsys.readouterr().err
    assert code == 2 and words in err
