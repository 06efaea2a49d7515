"""``chatmaild invite``, as an admin calls it."""

import io
import json
import time
from urllib.parse import parse_qs, unquote

import pytest

from chatmaild import cli
from chatmaild.accounts.invites import Invites
from chatmaild.accounts.mailboxes import Mailboxes
from chatmaild.admin import links
from chatmaild.config import inifile

INVITE = "chat.example.org"


@pytest.fixture
def host(tmp_path):
    path = tmp_path / "chatmaild.ini"
    path.write_text(
        f"[chatmaild]\nmail_domains = {INVITE} open.example closed.example\nmail_user = root\n"
        f"mailboxes_dir = {tmp_path}/mail\nsignup = invite\n"
        "[domain open.example]\nsignup = open\n[domain closed.example]\nsignup = closed\n")
    Mailboxes(inifile.load(path)).prepare()
    return path


@pytest.fixture
def command(host, capsys):
    def run(*arguments):
        code = cli.main(["-c", str(host), "invite", *arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err
    return run


def test_each_link_is_a_login_whose_password_begins_with_a_token(command, host):
    code, out, _ = command("create", "--domain", INVITE, "--uses", "3", "--days", "2", "--json")
    made = json.loads(out)
    assert code == 0 and len(made["invitations"]) == 3 and made["domain"] == INVITE
    invites = Invites(Mailboxes(inifile.load(host)))
    for invitation in made["invitations"]:
        scheme, _, rest = invitation["link"].partition(":")
        address, _, query = rest.partition("?")
        assert scheme == "dclogin" and unquote(address) == invitation["address"]
        assert parse_qs(query) == {"p": [invitation["password"]], "v": ["1"]}
        password = invitation["password"].encode()
        assert invites.claim(INVITE, password, time.time() + 86_400)
        assert not invites.claim(INVITE, password, time.time() + 4 * 86_400)


def test_text_for_a_pipe_is_links_alone(command):
    out = command("create", "--domain", INVITE, "--uses", "2")[1]
    assert [line.partition(":")[0] for line in out.splitlines()] == ["dclogin", "dclogin"]


@pytest.mark.parametrize("option", ["--uses", "--days"])
def test_an_option_without_effect_is_refused(command, option):
    code, out, problem = command("create", "--domain", "open.example", option, "2")
    assert code == 2 and not out and f"{option}: without effect" in problem


@pytest.mark.parametrize("arguments", [
    ("--language", "de"), ("--templates", "/srv/templates"),
    ("--web", "/srv/www", "--no-qr"),
])
def test_what_only_pages_or_only_links_have_is_refused_for_the_other(command, arguments):
    code, out, problem = command("create", "--domain", INVITE, *arguments)
    assert code == 2 and not out and "without effect" in problem
    assert command("list") == (0, "", "")


def test_list_and_revoke(command):
    batch = json.loads(command("create", "--domain", INVITE, "--uses", "2", "--json")[1])["batch"]
    assert command("list")[1].split("\t")[:3] == [batch, INVITE, "2"]
    (listed,) = json.loads(command("list", "--json", "--domain", INVITE)[1])
    assert listed["batch"] == batch and listed["left"] == 2 and listed["expired"] is False
    assert command("revoke", batch) == (0, "2 invitations taken back\n", "")
    assert command("revoke", batch)[0] == 1
    assert command("list") == (0, "", "")


def test_expired_batch(command, host):
    domain = inifile.load(host).domains[INVITE]
    mailboxes = Mailboxes(inifile.load(host))
    mailboxes.prepare()
    Invites(mailboxes).create(domain, 1, 1, time.time() - 5 * 86_400)
    assert command("list")[1].endswith("\texpired\n")
    assert json.loads(command("list", "--json")[1])[0]["expired"] is True


def test_open_domain_needs_no_token(command):
    assert command("create", "--domain", "open.example") == (0, "dcaccount:open.example\n", "")
    assert json.loads(command("create", "--domain", "open.example", "--json")[1])["batch"] is None
    assert command("list") == (0, "", "")


@pytest.mark.parametrize("arguments, text", [
    (("create",), "--domain"),
    (("create", "--domain", "closed.example"), "signup = closed"),
    (("create", "--domain", "elsewhere.example"), "not a chat domain"),
    (("create", "--domain", INVITE, "--uses", "0"), "--uses"),
    (("create", "--domain", INVITE, "--uses", "99999"), "--uses"),
    (("create", "--domain", INVITE, "--days", "0"), "--days"),
    (("create", "--domain", INVITE, "--days", "99999"), "--days"),
    (("list", "--domain", "elsewhere.example"), "not a chat domain"),
])
def test_what_cannot_be_done(command, arguments, text):
    code, out, err = command(*arguments)
    assert code == 2 and out == "" and text in err


def test_only_domain_need_not_be_named(command, host):
    host.write_text(host.read_text().partition("[domain")[0].replace(
        "open.example closed.example", ""))
    assert command("create")[1].startswith("dclogin:")


def test_without_a_chat_domain(command, host):
    host.write_text("[chatmaild]\nmail_user = root\n")
    assert command("create")[0] == 2
    assert command("list") == (0, "", "")


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_qr_code_for_a_person(command, monkeypatch):
    pytest.importorskip("segno")
    monkeypatch.setattr("sys.stdout", terminal := Terminal())
    command("create", "--domain", INVITE)
    assert "█" in terminal.getvalue() and "chatmaild invite revoke" in terminal.getvalue()
    terminal.truncate(0)
    command("create", "--domain", INVITE, "--no-qr")
    assert "█" not in terminal.getvalue()


def test_login_link_is_percent_encoded():
    link = links.login("a&b@chat.example.org", "100% ?&=#/\xe4")
    assert link == "dclogin:a%26b@chat.example.org?p=100%25%20%3F%26%3D%23%2F%C3%A4&v=1"
