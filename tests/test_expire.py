"""`chatmaild expire` on trees on disk: what goes, what stays, what is said about it."""

import os

import pytest

from chatmaild import cli

NOW = 1_800_000_000
DAY = 86_400
DOMAIN = "chat.example"


def name(days, size=1000, number=1, flags=":2,S"):
    """The name of a message that Dovecot saved `days` ago."""
    return f"{NOW - int(days * DAY)}.M{number}P77.host,S={size},W={size + 20}{flags}"


class Tree:
    """A host with one chat domain, ordinary mail beside it, and a way to run the command."""

    def __init__(self, path, capsys):
        self.path = path
        self.mail = path / "mail"
        self.ini = path / "chatmaild.ini"
        self.capsys = capsys
        self.configure()
        (self.mail / DOMAIN).mkdir(parents=True)

    def configure(self, text="", domains=DOMAIN):
        self.ini.write_text(
            f"[chatmaild]\nmail_domains = {domains}\nmailboxes_dir = {self.mail}\n{text}\n")

    def mailbox(self, local="alice", domain=DOMAIN, login=1):
        home = self.mail / domain / f"{local}@{domain}"
        for kind in ("new", "cur", "tmp"):
            (home / kind).mkdir(parents=True)
        if login is not None:
            (home / "password").write_text("{CRYPT}$x$\n")
            day = NOW - int(login * DAY)
            os.utime(home / "password", (day, day))
        return home

    def expire(self, *arguments, code=0):
        assert cli.main(["-c", str(self.ini), "expire", "--now", str(NOW), *arguments]) == code
        return self.capsys.readouterr()


@pytest.fixture
def tree(tmp_path, capsys):
    return Tree(tmp_path, capsys)


def put(directory, file_name, content=b"x", mtime=None):
    path = directory / file_name
    path.write_bytes(content)
    if mtime is not None:
        os.utime(path, (mtime, mtime))
    return path


def test_old_messages_go_and_young_ones_stay(tree):
    home = tree.mailbox()
    old = [put(home / kind, name(20.1)) for kind in ("cur", "new", "tmp")]
    young = [put(home / kind, name(19.9)) for kind in ("cur", "new", "tmp")]
    tree.expire()
    assert not any(path.exists() for path in old)
    assert all(path.exists() for path in young)
