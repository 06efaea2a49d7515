"""Hosts with one directory, as ``chatmaild directory`` sees them."""

import json

from chatmaild import cli
from chatmaild.accounts.mailboxes import Mailboxes
from chatmaild.config import inifile

HASH = "{SHA512-CRYPT}$6$salt$hash"


class Host:
    """One of the hosts, with a disk of its own."""

    def __init__(self, server, directory, node, capsys):
        self._capsys = capsys
        directory.mkdir()
        (directory / "directory.conf").write_text(server.conninfo() + "\n")
        (directory / "directory.conf").chmod(0o640)
        self.ini = directory / "chatmaild.ini"
        self.ini.write_text(
            f"[chatmaild]\nmail_domains = chat.example\nmail_user = root\nnode = {node}\n"
            f"mailboxes_dir = {directory}/mail\ndirectory = {directory}/directory.conf\n"
            f"push_tokens_dir = {directory}/tokens\n")
        (directory / "tokens").mkdir()
        self.mailboxes = Mailboxes(inifile.load(self.ini))
        self.mailboxes.prepare()

    def make(self, name, hash=HASH):
        mailbox = self.mailboxes.find(f"{name}@chat.example")
        mailbox.create(hash, 0)
        return mailbox

    def command(self, *arguments):
        code = cli.main(["-c", str(self.ini), "directory", *arguments, "--json"])
        captured = self._capsys.readouterr()
        return code, json.loads(captured.out) if captured.out else None, captured.err


def joined(server, directory, capsys):
    """Two hosts that are in the directory, at addresses that this machine has."""
    one, two = (Host(server, directory / name, f"{name}.example", capsys)
                for name in ("one", "two"))
    one.command("join", "127.0.0.10"), two.command("join", "127.0.0.20")
    return one, two
