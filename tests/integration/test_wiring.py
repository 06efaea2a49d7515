"""`chatmaild wire` and `unwire` on a running host: nothing by halves, and everything given back."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from rig.files import kept, replace
from rig.host import PASSWORD
from rig.until import until

from chatmaild.admin.wiring import record

DIRECTORIES = ("/etc/postfix", "/etc/dovecot", "/etc/sysctl.d")
MAIN = Path("/etc/postfix/main.cf")
LOCAL = Path("/etc/dovecot/local.conf")


def is_23():
    return subprocess.run(["dovecot", "--version"], capture_output=True,
                          text=True).stdout.startswith("2.3")


def configuration():
    """Content, mode and owner of each file of both servers."""
    return {str(path): (path.read_bytes(), path.stat().st_mode, path.stat().st_uid)
            for directory in DIRECTORIES for path in Path(directory).rglob("*") if path.is_file()}


@pytest.fixture
def unwired(host):
    """The host without our lines; wired again, as it was, afterwards."""
    host.chatmaild("unwire", "--apply")
    before = configuration()
    yield host
    host.chatmaild("unwire", "--apply", check=False)
    for path, (content, *_) in before.items():
        if Path(path).read_bytes() != content:
            replace(path, content)
    host.chatmaild("wire", "--apply")


def test_a_wired_host_has_nothing_to_change(host):
    assert "nothing to change" in host.chatmaild("wire").stdout


BY_HAND = """
cd /usr/src/chatmaild
cat postfix/main.cf >> /etc/postfix/main.cf
sh postfix/master.sh
install -m 0644 dovecot/$(dovecot --version | cut -d . -f 1-2)/*.conf /etc/dovecot/conf.d/
echo fs.inotify.max_user_instances = 1280 > /etc/sysctl.d/60-chatmaild.conf
"""
"""The lines of doc/wiring-by-hand.md."""


def test_a_host_wired_by_hand_has_nothing_to_change(unwired):
    before = configuration()
    unwired.run("sh", "-exc", BY_HAND)
    try:
        done = unwired.chatmaild("wire", check=False)
        assert "nothing to change" in done.stdout, done.stdout + done.stderr
    finally:
        for path in configuration().keys() - before.keys():
            Path(path).unlink()


def test_a_plan_changes_nothing(unwired):
    before = configuration()
    plan = json.loads(unwired.chatmaild("wire", "--json").stdout)
    assert plan["steps"] and not plan["obstacles"] and not plan["applied"]
    assert configuration() == before


def test_unwire_gives_back_every_byte(unwired):
    with MAIN.open("a") as file:
        file.write("# the last line has no end\nbiff = no")
    directory = Path("/etc/sysctl.d")
    away = shutil.move(directory, "/etc/sysctl.away")
    before = configuration()
    unwired.run("sh", "-c", "umask 077; chatmaild wire --apply")
    wired = configuration()
    assert wired != before
    assert f"{MAIN}: as it was before" in unwired.chatmaild("unwire").stdout
    assert configuration() == wired
    assert (Path("/etc/dovecot/conf.d/05-chatmaild.conf").stat().st_mode & 0o777) == 0o644
    unwired.chatmaild("unwire", "--apply")
    assert configuration() == before
    assert not directory.exists(), "a directory that wire made was left"
    shutil.move(away, directory)


def test_check_on_an_unwired_host_is_one_finding_with_one_command(unwired):
    findings = json.loads(unwired.chatmaild("check", "--json", check=False).stdout)["findings"]
    failures = [finding for finding in findings if finding["level"] == "failure"]
    assert [finding["code"] for finding in failures if finding["code"] != "dns"] == ["unwired"]
    assert "chatmaild wire --apply" in failures[0]["cure"]


def test_what_somebody_changed_since_stays_and_is_named(unwired):
    unwired.chatmaild("wire", "--apply")
    unwired.run("postconf", "-e", "message_size_limit=50000000",
                "virtual_mailbox_domains=chat.example.org, example.net")
    done = unwired.chatmaild("unwire", "--apply", check=False)
    assert done.returncode == 1 and "message_size_limit = 50000000" in done.stdout
    values = unwired.run("postconf", "-n").stdout
    assert "virtual_mailbox_domains = example.net\n" in values
    assert "message_size_limit = 50000000\n" in values and "chat" not in values
    unwired.run("postconf", "-X", "message_size_limit", "virtual_mailbox_domains")


def test_a_line_in_the_way_is_named_and_nothing_changes(unwired):
    text = MAIN.read_text()
    unwired.run("postconf", "-e", "mydestination=chat.example.org")
    before = configuration()
    done = unwired.chatmaild("wire", "--apply", check=False)
    assert done.returncode == 1 and "mydestination: has chat.example.org" in done.stdout
    assert configuration() == before
    replace(MAIN, text)


def test_what_local_conf_sets_later_is_no_way_out(unwired):
    """Debian's dovecot.conf reads it after conf.d; so ours is read after it."""
    with kept(LOCAL):
        with LOCAL.open("a") as file:
            file.write("service lmtp {\n  unix_listener lmtp {\n    mode = 0666\n  }\n}\n"
                       "protocol lmtp {\n  auth_username_format = %n\n}\n".replace(
                           "%n", "%Ln" if is_23() else "%{user | username | lower}"))
        before = configuration()
        unwired.chatmaild("wire", "--apply")
        found = json.loads(unwired.chatmaild("check", "--json", check=False).stdout)["findings"]
        assert not {"lmtp-mode", "lmtp-username", "unwired"} & {
            finding["code"] for finding in found if finding["level"] == "failure"}
        assert "nothing to change" in unwired.chatmaild("wire").stdout
        unwired.chatmaild("unwire", "--apply")
        assert configuration() == before


def test_what_has_no_effect_is_taken_back(unwired):
    """Somebody has our last file read first, where what the host sets comes later."""
    main, ours = Path("/etc/dovecot/dovecot.conf"), Path("/etc/dovecot/chatmaild-last.conf")
    later = Path("/etc/dovecot/conf.d/99-zzz.conf")
    with kept(main):
        ours.write_text("")
        replace(main, main.read_text().replace("!include conf.d/*.conf",
                                               f"!include {ours}\n!include conf.d/*.conf"))
        later.write_text("protocol lmtp {\n  auth_username_format = %n\n}\n".replace(
            "%n", "%Ln" if is_23() else "%{user | username | lower}"))
        before = configuration()
        done = unwired.chatmaild("wire", "--apply", check=False)
        after = configuration()
        later.unlink()
        ours.unlink()
    assert done.returncode == 1 and "everything was taken back" in done.stderr
    assert after == before


@pytest.mark.parametrize("command", ["wire", "unwire"])
def test_a_killed_run_is_put_back_by_the_next(unwired, command):
    """Killed as it replaces the third file, when the first two are in place."""
    before = configuration()
    renames = "rename,renameat,renameat2"
    unwired.run("strace", "-o", "/dev/null", "-e", f"trace={renames}",
                "-e", f"inject={renames}:signal=KILL:when=3", "chatmaild", "wire", "--apply",
                check=False)
    assert record.load().under_way is not None and configuration() != before
    assert "interrupted" in unwired.chatmaild("unwire").stdout
    unwired.chatmaild(command, "--apply")
    if command == "wire":
        assert "nothing to change" in unwired.chatmaild("wire").stdout
        unwired.chatmaild("unwire", "--apply")
    assert configuration() == before


def test_what_waits_for_chat_users_is_put_on_hold(unwired):
    """Without the wiring it would bounce. What waits for others is none of our business."""
    def give(*recipients):
        unwired.run("sendmail", "-f", "bob@example.org", *recipients, text="Subject: x\n\nwaits\n")

    def queued(name):
        return {tuple(sorted(each["address"] for each in message["recipients"]))
                for message in map(json.loads, unwired.run("postqueue", "-j").stdout.splitlines())
                if message["queue_name"] == name}

    before = MAIN.read_text()
    unwired.run("postconf", "-e", "defer_transports=local lmtp")
    unwired.chatmaild("wire", "--apply")
    unwired.settle()
    person = unwired.new_person()
    give(person)
    give("alice@example.org")
    give("alice@example.org", person)
    until(lambda: len(queued("deferred")) == 3, "all to wait")
    assert "would bounce it: 2 messages to chat users" in unwired.chatmaild("unwire").stdout
    [said] = json.loads(unwired.chatmaild("unwire", "--apply", "--json").stdout)["waiting"]
    assert queued("hold") == {(person,), ("alice@example.org", person)}
    assert queued("deferred") == {("alice@example.org",)}
    assert (said["messages"], said["with_others"]) == (2, 1)
    replace(MAIN, before)
    unwired.chatmaild("wire", "--apply")
    unwired.run("sh", "-c", f"postsuper -H - <{said['list']}")
    unwired.reload_postfix()
    unwired.run("postqueue", "-f")
    with unwired.imap(person, PASSWORD) as imap:
        unwired.wait_for_mail(imap, 2)
    until(lambda: "empty" in unwired.run("postqueue", "-p").stdout, "the queue to be empty")
