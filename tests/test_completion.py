"""What bash completes: actions without file names, and the addresses that there are."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

TREE = Path(__file__).parents[1]


@pytest.fixture
def completed(tmp_path):
    """What TAB offers behind these words."""
    for name in ("alice", "albert", "bob"):
        (tmp_path / f"mail/chat.example/{name}@chat.example").mkdir(parents=True)
    (tmp_path / "chatmaild.ini").write_text(
        f"[chatmaild]\nmail_domains = chat.example\nmailboxes_dir = {tmp_path}/mail\n"
        "mail_user = root\n")
    (tmp_path / "actual-file").touch()
    (tmp_path / "chatmaild").write_text(f'#!/bin/sh\nexec {sys.executable} -m chatmaild "$@"\n')
    (tmp_path / "chatmaild").chmod(0o755)

    def complete(*words):
        script = (f'. {TREE}/debian/completion/chatmaild; COMP_WORDS=("$@"); '
                  'COMP_CWORD=$(($# - 1)); _chatmaild; printf "%s\\n" "${COMPREPLY[@]}"')
        done = subprocess.run(
            ["bash", "-c", script, "bash", "chatmaild", *words], text=True, capture_output=True,
            cwd=tmp_path, check=True, env={
                "PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": str(TREE / "src"),
                "CHATMAILD_CONFIG": str(tmp_path / "chatmaild.ini")})
        assert done.stderr == ""
        return set(done.stdout.split())
    return complete


def test_actions_without_file_names(completed):
    assert {"list", "import", "password"} <= completed("accounts", "")
    assert "actual-file" not in completed("accounts", "")
    assert completed("invite", "cr") == {"create"}


def test_addresses_where_one_is_meant(completed):
    assert completed("accounts", "show", "al") == {"alice@chat.example", "albert@chat.example"}
    assert completed("accounts", "delete", "bob@chat.example", "ali") == {"alice@chat.example"}
    assert completed("accounts", "import", "act") == {"actual-file"}


def test_options_of_the_action(completed):
    assert {"--quota", "--rate"} <= completed("accounts", "set", "--")
