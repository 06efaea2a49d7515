"""A web site of a chat domain, written by the command from a configuration."""

from pathlib import Path

import pytest

from chatmaild import cli

PO = Path(__file__).parents[1] / "po"
DOMAIN = "chat.example.org"


class Site:
    """A configuration, and the web site that is made from it."""

    def __init__(self, directory: Path, capsys: pytest.CaptureFixture[str]):
        self.ini, self.root = directory / "chatmaild.ini", directory / "www"
        self.own = directory / "templates"
        self._capsys = capsys
        self.root.mkdir()
        self.own.mkdir()
        self.configure()

    def configure(self, text: str = "") -> None:
        self.ini.write_text(f"[chatmaild]\nmail_domains = {DOMAIN}\nmail_user = root\n"
                            f"mailboxes_dir = {self.ini.parent}/mail\n{text}\n")

    def web(self, *arguments: str) -> tuple[int, str, str]:
        return self.call("web", str(self.root), "--templates", str(self.own), *arguments)

    def call(self, *arguments: str) -> tuple[int, str, str]:
        code = cli.main(["-c", str(self.ini), *arguments])
        return code, *self._capsys.readouterr()

    def page(self, path: str) -> str:
        return (self.root / path).read_text()
