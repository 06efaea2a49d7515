"""What bash completes: actions without file names, and the addresses that there are."""

import os
import pty
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from rig.until import until

TREE = Path(__file__).parents[1]
COMPLETION = TREE / "debian/completion/chatmaild"


@pytest.fixture
def environment(tmp_path):
    """Of a host with three accounts and an invitation, where `chatmaild` is this tree's."""
    for name in ("alice", "albert", "bob"):
        (tmp_path / f"mail/chat.example/{name}@chat.example").mkdir(parents=True)
    (tmp_path / "chatmaild.ini").write_text(
        f"[chatmaild]\nmail_domains = chat.example\nmailboxes_dir = {tmp_path}/mail\n"
        "mail_user = root\nsignup = invite\n")
    (tmp_path / "actual-file").touch()
    (tmp_path / "chatmaild").write_text(f'#!/bin/sh\nexec {sys.executable} -m chatmaild "$@"\n')
    (tmp_path / "chatmaild").chmod(0o755)
    return {"PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": str(TREE / "src"),
            "CHATMAILD_CONFIG": str(tmp_path / "chatmaild.ini")}


@pytest.fixture
def completed(environment, tmp_path):
    """What TAB offers behind these words, in a shell that splits words at blanks alone."""
    def complete(*words):
        script = (f'. {COMPLETION}; COMP_LINE="$*"; COMP_POINT=${{#COMP_LINE}}; '
                  'COMP_WORDBREAKS=" "; _chatmaild; printf "%s\\n" "${COMPREPLY[@]}"')
        done = subprocess.run(
            ["bash", "-c", script, "bash", "chatmaild", *words], text=True, capture_output=True,
            cwd=tmp_path, check=True, env=environment)
        assert done.stderr == ""
        return set(done.stdout.split())
    return complete


def test_actions_without_file_names(completed):
    assert {"list", "import", "password"} <= completed("accounts", "")
    assert "actual-file" not in completed("accounts", "")
    assert completed("invite", "cr") == {"create"}
    assert completed("-c", "./x.ini", "repo") == {"report"}


def test_addresses_where_one_is_meant(completed):
    both = {"alice@chat.example", "albert@chat.example"}
    assert completed("accounts", "show", "al") == both
    assert completed("accounts", "show", "alice@c") == {"alice@chat.example"}
    assert completed("accounts", "delete", "bob@chat.example", "ali") == {"alice@chat.example"}
    assert completed("push-test", "al") == completed("directory", "move", "al") == both


def test_file_names_where_one_is_meant(completed):
    assert completed("accounts", "import", "act") == {"actual-file"}
    assert completed("accounts", "export", "bob@chat.example", "act") == {"actual-file"}
    assert completed("accounts", "create", "--password-file", "") >= {"actual-file"}
    assert completed("accounts", "list", "") == set()


def test_options_of_the_action_and_their_values(completed):
    assert {"--quota", "--rate"} <= completed("accounts", "set", "--")
    assert completed("accounts", "list", "--sort", "s") == {"size"}
    assert completed("accounts", "set", "--incoming-cleartext", "") == {"yes", "no"}
    assert completed("accounts", "set", "--quota", "") == set()
    assert completed("accounts", "delete", "--yes", "b") == {"bob@chat.example"}


def test_batches_of_invitations(completed, environment, tmp_path):
    made = subprocess.run([tmp_path / "chatmaild", "invite", "create", "--json"], text=True,
                          env=environment, capture_output=True, check=True).stdout
    batch, = completed("invite", "revoke", "")
    assert f'"batch": "{batch}"' in made


def test_in_a_real_shell_which_splits_words_at_the_at_sign(environment, tmp_path):
    ours, theirs = pty.openpty()
    shell = subprocess.Popen(["bash", "--norc", "--noprofile", "-i"], stdin=theirs, stdout=theirs,
                             stderr=theirs, env=environment | {"TERM": "dumb"}, cwd=tmp_path,
                             start_new_session=True)
    os.close(theirs)
    shown = bytearray()

    def read():
        try:
            while data := os.read(ours, 4096):
                shown.extend(data)
        except OSError:     # the shell has ended
            pass

    threading.Thread(target=read, daemon=True).start()
    try:
        os.write(ours, f". {COMPLETION}; echo read''y\n".encode())
        until(lambda: b"ready" in shown, "the shell")
        os.write(ours, b"chatmaild accounts show alice@ch\t")
        until(lambda: b"alice@chat.example " in shown, "the address, and a blank")
    finally:
        shell.kill()
        shell.wait()
        os.close(ours)
