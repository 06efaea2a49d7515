"""Messages in all languages, compiled as the package build does it."""

import os
import shutil
import subprocess

import pytest
from website import PO, Site


@pytest.fixture(scope="session")
def messages_dir(tmp_path_factory):
    """A directory as /usr/share/locale is."""
    if not shutil.which("msgfmt") and not os.environ.get("CI"):
        pytest.skip("needs the package gettext")
    directory = tmp_path_factory.mktemp("locale")
    for path in PO.glob("*.po"):
        target = directory / path.stem / "LC_MESSAGES"
        target.mkdir(parents=True)
        subprocess.run(["msgfmt", "--check-format", "--check-domain", "-o",
                        target / "chatmaild.mo", path], check=True)
    return directory


@pytest.fixture(autouse=True)
def messages(messages_dir, monkeypatch):
    monkeypatch.setenv("TEXTDOMAINDIR", str(messages_dir))


@pytest.fixture
def site(tmp_path, capsys):
    pytest.importorskip("jinja2")
    return Site(tmp_path, capsys)
