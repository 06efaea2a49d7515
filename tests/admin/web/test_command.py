"""``chatmaild web`` and ``chatmaild invite create --web``, as an admin calls them."""

import json
import os
import pwd
import re
import sys
import tempfile
from pathlib import Path
from urllib.parse import unquote

import pytest
from website import DOMAIN, Site

from chatmaild.accounts.mailboxes import Mailboxes
from chatmaild.config import inifile


def test_written_once_and_current_until_the_configuration_changes(site):
    assert site.web("--check")[0] == 1
    assert site.web()[0] == 0
    assert site.web("--check") == (0, f"{site.root}: current\n", "")
    site.configure("delete_mails_after = 10")
    code, out, _ = site.web("--check")
    assert code == 1 and "en/index.html: out of date" in out
    site.web()
    assert site.web("--check")[0] == 0


def test_for_programs(site):
    assert "en/index.html" in json.loads(site.web("--json")[1])["changed"]
    assert json.loads(site.web("--check", "--json")[1]) == {"current": True, "differences": []}


def test_languages_in_the_order_asked_for(site):
    site.web("--language", "pl", "--language", "en")
    assert '<html lang="pl">' in site.page("index.html")
    assert sorted(path.name for path in site.root.iterdir() if path.is_dir()) == [
        ".well-known", "en", "mail", "pl"]


@pytest.mark.parametrize("arguments, words", [
    (("--domain", "elsewhere.example"), DOMAIN), (("--language", "xx"), "there are en"),
])
def test_wrong_usage(site, arguments, words):
    code, _, err = site.web(*arguments)
    assert code == 2 and words in err


def test_several_domains_are_told_apart(site):
    site.ini.write_text("[chatmaild]\nmail_domains = a.example b.example\n")
    assert site.web()[0] == 2
    assert site.web("--domain", "b.example")[0] == 0
    assert "b.example" in site.page("index.html")


def test_a_directory_that_is_not_there(site):
    site.root.rmdir()
    code, _, err = site.web()
    assert code == 1 and "install -d" in err


def test_without_jinja_only_the_pages_are_missed(site, invite, monkeypatch):
    monkeypatch.delitem(sys.modules, "chatmaild.admin.web.pages", raising=False)
    monkeypatch.delattr("chatmaild.admin.web.pages", raising=False)
    monkeypatch.setitem(sys.modules, "jinja2", None)
    for code, _, err in (site.web(), invite()):
        assert code == 2 and "apt install python3-jinja2" in err
    assert site.call("invite", "create")[0] == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_the_owner_of_the_directory_owns_the_pages(capsys):
    """In a process of its own, which gives its rights away; pytest's directories are private."""
    owner = pwd.getpwnam("www-data")
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o755)
        site = Site(Path(directory), capsys)
        os.chown(site.root, owner.pw_uid, owner.pw_gid)
        child = os.fork()
        if child == 0:
            os._exit(site.web()[0])
        assert os.waitpid(child, 0)[1] == 0
        assert (site.root / "index.html").stat().st_uid == owner.pw_uid


@pytest.fixture
def invite(site):
    site.configure("signup = invite")
    Mailboxes(inifile.load(site.ini)).prepare()

    def create(*arguments):
        return site.call("invite", "create", "--web", str(site.root), "--templates", str(site.own),
                         *arguments)
    return create


def test_a_page_for_an_invitation(site, invite):
    code, out, _ = invite("--uses", "2", "--language", "de")
    addresses = out.split()
    assert code == 0 and len(addresses) == 2
    for address in addresses:
        path = address.removeprefix(f"https://{DOMAIN}/")
        assert re.fullmatch(r"invitation/\d{4}-\d\d-\d\d-\w+-[\w-]{22}\.html", path)
        text = site.page(path)
        assert 'href="dclogin:' in text and "noindex" in text and '<html lang="de">' in text
        assert '"../style.css"' in text
    assert (site.root / "invitation").stat().st_mode & 0o777 == 0o711
    links = {unquote(link) for address in addresses for link in re.findall(
        'href="(dclogin:[^"]*)"', site.page(address.removeprefix(f"https://{DOMAIN}/")))}
    assert len(links) == 2
    assert json.loads(site.call("invite", "list", "--json")[1])[0]["left"] == 2


def test_pages_of_invitations_go_when_their_day_has_passed(site, invite):
    address = invite()[1].strip()
    old = site.root / "invitation/2020-01-01-batch-AAAAAAAAAAAAAAAAAAAAAA.html"
    old.write_text("old")
    (site.root / "invitation/other.html").write_text("mine")
    site.web()
    code, out, _ = site.web("--check")
    assert (code, old.exists()) == (0, False), out
    assert (site.root / address.removeprefix(f"https://{DOMAIN}/")).exists()
    assert (site.root / "invitation/other.html").exists()


def test_pages_of_revoked_invitations_go_at_once(site, invite):
    batch, other = (json.loads(invite("--json", "--uses", uses)[1]) for uses in ("2", "1"))
    site.call("invite", "revoke", other["batch"])
    code, out, _ = site.call("invite", "revoke", "--web", str(site.root), batch["batch"])
    assert (code, out) == (0, "2 invitations taken back\n2 pages removed\n")
    left = [path.name for path in (site.root / "invitation").iterdir()]
    assert left == [other["pages"][0].rpartition("/")[2]]
    assert json.loads(site.call("invite", "revoke", "--json", "--web", str(site.root),
                                other["batch"])[1])["pages"] == 1
    code, _, err = site.call("invite", "revoke", "--web", str(site.root), batch["batch"])
    assert code == 1 and "no such batch" in err


@pytest.mark.parametrize("signup, arguments, words", [
    ("open", (), "nobody needs an invitation"), ("closed", (), "signup = closed"),
    ("invite", ("--uses", "0"), "--uses 0"),
])
def test_no_page_without_an_invitation(site, invite, signup, arguments, words):
    site.configure(f"signup = {signup}")
    code, _, err = invite(*arguments)
    assert code == 2 and words in err and not list(site.root.iterdir())
