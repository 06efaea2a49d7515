"""What a chat user gets is what we say, whatever the host's own Dovecot has.

Each test adds lines that hosts really have, and goes in as a chat user.
"""

import contextlib
import os
import re
import smtplib
from pathlib import Path

import dovecotsettings
import pytest
from rig import stock
from rig.dovecot import SHARED_24
from rig.host import PASSWORD
from rig.until import until

LOCAL = Path("/etc/dovecot/local.conf")


@pytest.fixture(scope="module")
def is_23(running_host):
    return running_host.run("dovecot", "--version").stdout.startswith("2.3")


@contextlib.contextmanager
def dovecot_with(host, lines):
    """Dovecot runs with these lines at the end of its configuration."""
    before = LOCAL.read_text()
    LOCAL.write_text(before + lines)
    try:
        host.restart_dovecot()
        host.reload_postfix()
        yield
    finally:
        LOCAL.write_text(before)
        host.restart_dovecot()
        host.reload_postfix()


@contextlib.contextmanager
def only_now(path, text):
    """A file of Dovecot's that is gone afterwards, with whatever was compiled from it."""
    path.write_text(text)
    path.chmod(0o644)
    try:
        yield
    finally:
        for each in path.parent.glob(f"{path.stem}*"):
            each.unlink()


def deliver(host, recipient, text="for the owner only"):
    with smtplib.LMTP("/var/spool/postfix/private/dovecot-lmtp") as lmtp:
        lmtp.sendmail("stranger@example.net", [recipient], f"Subject: x\n\n{text}\n")


SHARED = {
    "unnamed": ("namespace", """\
mail_location = maildir:~/
mail_plugins = $mail_plugins acl
plugin {
  acl = vfile
}
"""),
    "named": ('namespace "every body\'s"', """\
mail_location = maildir:~/Maildir
mail_plugins = $mail_plugins acl
plugin {
  acl = vfile
}
"""),
}


@pytest.mark.parametrize("name", SHARED)
def test_nobody_elses_mailbox_opens(host, is_23, name):
    """Guarded by the plugin acl, which ours takes the place of; and all chat users have one uid."""
    start, rest = SHARED[name]
    lines = (f"{start} {{\n  type = shared\n  separator = /\n  prefix = Shared/%%u/\n"
             f"  location = maildir:%%h/\n  subscriptions = no\n  list = children\n}}\n"
             f"namespace inbox {{\n  separator = /\n}}\n{rest}") if is_23 else (
        f"mail_plugins {{\n  acl = yes\n}}\nacl_driver = vfile\n{SHARED_24}")
    with dovecot_with(host, lines):
        first, second = host.new_person(), host.new_person()
        deliver(host, second)
        with host.imap(first, PASSWORD) as imap:
            for mailbox in (f'"Shared/{second}"', f'"Shared/{second}/INBOX"'):
                assert imap.select(mailbox)[0] == "NO"
            assert imap.create(f'"Shared/{second}/planted"')[0] == "NO"
            assert imap.namespace()[1] == [b'(("" ".")) NIL NIL']
        with host.imap(second, PASSWORD) as imap:
            host.wait_for_mail(imap)


def test_each_setting_of_dovecot_was_decided_about(host, is_23):
    """What tests/dovecotsettings.py calls returned is what Dovecot gets from us."""
    commands = ([["doveconf", "-d", "-s", "-m", module] for module in ("imap", "lmtp", "mail")]
                if is_23 else [["doveconf", "-d", "-s"]])
    names = {name for command in commands for name in
             re.findall(r"^(\w+) =", host.run(*command).stdout, re.MULTILINE)}
    decisions = {name: dovecotsettings.decided(name, is_23) for name in sorted(names)}
    assert len(names) > 150 and {name: found for name, found in decisions.items()
                                 if len(found) != 1} == {}
    user = host.new_person()
    answers = [host.run("doveadm", "user", "-x",
                        f"{'service' if is_23 else 'protocol'}={service}", user).stdout
               for service in ("imap", "lmtp")]
    returned = {part for answer in answers for line in answer.splitlines()
                for part in line.split("\t")[0].split("/")}
    assert dovecotsettings.returned(is_23) - returned == set()


def test_mail_lies_where_expire_looks(host, is_23):
    lines = "namespace inbox {\n  prefix = INBOX.\n  separator = .\n  location = maildir:~/M\n}\n"
    if not is_23:
        lines = """\
mail_driver = maildir
mail_path = ~/Maildir
mail_index_path = /nowhere/index
mail_volatile_path = /nowhere/volatile
mail_control_path = /nowhere/control
mail_alt_path = /nowhere/alt
mailbox_directory_name = deeper
mailbox_root_directory_name = still-deeper
namespace_prefix = INBOX/
namespace_list = no
mailbox Trash {
  auto = create
  autoexpunge = 1s
}
namespace inbox {
  mail_driver = sdbox
  mail_path = ~/S
  mailbox Trash {
    auto = create
    autoexpunge = 1s
  }
}
"""
    with dovecot_with(host, lines):
        user = host.new_person()
        deliver(host, user)
        with host.imap(user, PASSWORD) as imap:
            host.wait_for_mail(imap)
            assert imap.create("DeltaChat")[0] == "OK"
        home = host.mailbox(user)
        assert len([*home.glob("new/*,S=*"), *home.glob("cur/*,S=*")]) == 1
        assert (home / ".DeltaChat" / "cur").is_dir()
        assert {path.name for path in home.iterdir() if path.is_dir()} <= {
            "new", "cur", "tmp", ".DeltaChat"}


PROTOCOLS_23 = """\
protocol imap {
  mail_plugins = notify
  imap_capability = IMAP4rev1
  mail_location = mbox:~/elsewhere
}
protocol lmtp {
  mail_plugins = notify
}
"""
PROTOCOLS_24 = """\
protocol imap {
  mail_plugins = notify
  mail_path = ~/elsewhere
  mailbox_list_layout = fs
  namespace_prefix = Prefix/
  quota_storage_size = 1K
  imap_capability {
    XDELTAPUSH = no
  }
}
protocol lmtp {
  mail_plugins = notify
  quota_storage_size = 1K
  mail_index_path = ~/elsewhere
}
"""


def test_what_the_host_sets_for_a_protocol_or_for_low_uids_does_not_count(host, is_23):
    """With its own plugins alone a client could not read what LMTP has compressed."""
    lines = "first_valid_uid = 50000\nfirst_valid_gid = 50000\n"
    with dovecot_with(host, lines + (PROTOCOLS_23 if is_23 else PROTOCOLS_24)):
        user = host.new_person()
        deliver(host, user, "words " * 1000)
        with host.imap(user, PASSWORD) as imap:
            message, = host.wait_for_mail(imap)
            assert message.endswith(b"words \r\n")
            assert imap.create("DeltaChat")[0] == "OK"
            assert b"512000" in b" ".join(imap.getquotaroot("INBOX")[1][1])
            assert "XDELTAPUSH" in imap.capability()[1][0].decode().split()
        home = host.mailbox(user)
        assert (home / ".DeltaChat" / "cur").is_dir() and not (home / "elsewhere").exists()


def test_an_address_with_a_folder_behind_plus_makes_none(host, is_23):
    """Clients look into INBOX, so that is where mail to name+folder belongs. Dovecot 2.4 asks no
    userdb about it."""
    lines = ("lda_mailbox_autocreate = yes\nlmtp_save_to_detail_mailbox = yes\n"
             "protocol lmtp {\n  lda_mailbox_autocreate = yes\n}\n")
    with dovecot_with(host, lines):
        user = host.new_person()
        deliver(host, user.replace("@", "+folder@"))
        deliver(host, user)
        with host.imap(user, PASSWORD) as imap:
            host.wait_for_mail(imap, 2 if is_23 else 1)
            assert len(imap.list()[1]) == (1 if is_23 else 2)
        said = host.chatmaild("check", "--problems", check=False).stdout
        assert ("name+folder" in said) is not is_23


def test_no_quota_of_the_host_counts(host, is_23):
    """Nor does its warning run, whatever number it has."""
    trace = Path("/tmp/quota-warning-of-the-host")
    script = Path("/usr/local/bin/quota-warning-of-the-host")
    script.write_text(f"#!/bin/sh\ntouch {trace}\n")
    script.chmod(0o755)
    service = f"""\
service quota-warning {{
  executable = script {script}
  user = root
  unix_listener quota-warning {{
    mode = 0666
  }}
}}
"""
    lines = """\
mail_plugins = $mail_plugins quota
plugin {
  quota = count:User quota
  quota_vsizes = yes
  quota_rule = *:storage=1M
  quota_rule2 = *:storage=2M
  quota_warning = storage=95%% quota-warning 95 %u
  quota_warning2 = storage=10%% quota-warning 10 %u
  quota2 = count:Another
  quota2_rule = *:storage=1K
  quota_max_mail_size = 1K
}
""" if is_23 else """\
mail_plugins {
  quota = yes
}
quota_mail_size = 1K
quota_storage_size = 1K
quota_storage_percentage = 1
quota_enforce = no
quota_hidden = yes
quota another {
  quota_storage_size = 1K
  quota_warning all {
    quota_storage_percentage = 1
    execute quota-warning {
      args = 10
    }
  }
}
"""
    with dovecot_with(host, service + lines):
        user = host.new_person()
        with host.imap(user, PASSWORD) as imap:
            for _ in range(3):
                text = b"Subject: x\r\n\r\n" + b"random words are hard to find\r\n" * 40_000
                assert imap.append("INBOX", None, None, text)[0] == "OK"
            roots = b" ".join(imap.getquotaroot("INBOX")[1][1])
            assert b"512000" in roots and roots.count(b"STORAGE") == 1
        assert not trace.exists()


@pytest.mark.parametrize("service", ["sieve", "pop3", "submission", "managesieve", "doveadm"])
def test_other_services_let_no_chat_user_in(host, service):
    user, nobody = host.new_person(), f"nobody-{service}"[:9].ljust(9, "x") + "@chat.example.org"

    def log_in(address, service):
        return host.run("doveadm", "auth", "test", "-x", f"service={service}", address, PASSWORD,
                        check=False).returncode

    assert log_in(user, "imap") == 0 and log_in(user, service) != 0
    assert log_in(nobody, service) != 0 and not host.mailbox(nobody).exists()


def test_a_master_user_opens_what_there_is_and_makes_nothing(host, is_23):
    lines = stock.MASTERS_23 if is_23 else stock.MASTERS_24
    with only_now(stock.MASTER_USERS, "admin:{PLAIN}master secret\n"), dovecot_with(host, lines):
        user, blocked = host.new_person(), host.new_person()
        host.chatmaild("accounts", "block", blocked)
        host.imap(f"{user}*admin", "master secret", source="127.0.3.1").logout()
        for number, (name, secret) in enumerate([
                (blocked, "master secret"), (f"nobody123@{host.chat_domain}", "master secret"),
                (user, "wrong secret")]):
            with pytest.raises(host.imap_connection().error):
                host.imap(f"{name}*admin", secret, source=f"127.0.3.{number + 2}")
        assert not host.mailbox(f"nobody123@{host.chat_domain}").exists()


def test_no_login_is_remembered(host):
    """With Dovecot's cache of logins, over SMTP too: an old password ends with its account."""
    def submission(user, secret, source):
        try:
            host.smtp(user, secret, source=source).quit()
        except smtplib.SMTPAuthenticationError:
            return "refused"
        return "in"

    with dovecot_with(host, "auth_cache_size = 10M\n"):
        user = host.new_person()
        assert submission(user, PASSWORD, "127.0.4.1") == "in"
        host.chatmaild("accounts", "block", user)
        assert submission(user, PASSWORD, "127.0.4.2") == "refused"
        host.chatmaild("accounts", "unblock", user)
        assert submission(user, PASSWORD, "127.0.4.1") == "in"
        host.chatmaild("accounts", "delete", "--yes", user)
        host.imap(user, "the next owner's", source="127.0.4.3").logout()
        assert submission(user, PASSWORD, "127.0.4.2") == "refused"
        assert submission(user, "the next owner's", "127.0.4.3") == "in"


def test_tiny_messages_and_folders_have_an_end(host, is_23):
    before = host.ini.read_text()
    host.configure(before.replace("#max_mailbox_messages = 50000", "max_mailbox_messages = 3")
                   .replace("#max_mailbox_folders = 100", "max_mailbox_folders = 4"))
    try:
        user = host.new_person()
        with host.imap(user, PASSWORD) as imap:
            answers = [imap.append("INBOX", None, None, b"a: b\r\n\r\n")[0] for _ in range(4)]
            assert answers == ["OK", "OK", "OK", "NO"]
            folders = [imap.create(f"folder{number}")[0] for number in range(4)]
            assert folders == ["NO"] * 4 if is_23 else ["OK"] * 3 + ["NO"]
    finally:
        host.configure(before)


def test_headers_without_end_have_an_end_in_the_cache(host):
    """Dovecot 2.3 remembers which headers a client has asked for, and writes the whole list again
    for each new one: 50 MB here."""
    user = host.new_person()
    folder = host.mailbox(user)
    largest = 0
    with host.imap(user, PASSWORD) as imap:
        imap.append("INBOX", None, None, b"a: b\r\n\r\n")
        imap.select("INBOX")
        for turn in range(40):
            names = " ".join(f"X-{turn}-{number}-{'x' * 280}" for number in range(200))
            assert imap.fetch("1", f"(BODY.PEEK[HEADER.FIELDS ({names})])")[0] == "OK"
            cache = folder / "dovecot.index.cache"
            largest = max(largest, cache.stat().st_size if cache.exists() else 0)
    assert largest < 36 << 20


ACL_OF_THE_HOST = """\
mail_plugins = $mail_plugins acl
plugin {
  acl = vfile:/etc/dovecot/everybody.acl
  acl_ignore_namespace = *
  acl_ignore_namespace2 = *
  acl_defaults_from_inbox = yes
  acl_shared_dict = file:/nowhere/shared-mailboxes
}
"""


def test_without_a_count_of_folders_clients_make_only_those_they_need(host, is_23):
    """Dovecot 2.3 has no limit. Whatever ACLs the host has; folders that are there go on."""
    if not is_23:
        return
    with dovecot_with(host, ACL_OF_THE_HOST):
        user = host.new_person()
        with host.imap(user, PASSWORD) as imap:
            made = {name: imap.create(name)[0] for name in (
                "DeltaChat", "Trash", "Old", "DeltaChat.more", "a.b.c", "INBOX.more", "deltachat")}
            assert [name for name, status in made.items() if status == "OK"] == [
                "DeltaChat", "Trash"]
            assert imap.append("DeltaChat", None, None, b"a: b\r\n\r\n")[0] == "OK"
            assert imap.rename("DeltaChat", "Other")[0] == "NO"
            host.create_folder(imap, user, "Old")
        with host.imap(user, PASSWORD) as imap:
            listed = sorted(line.split()[-1].decode() for line in imap.list()[1])
            assert listed == ["DeltaChat", "INBOX", "Old", "Trash"]
            assert imap.append("Old", None, None, b"a: b\r\n\r\n")[0] == "OK"
            assert imap.select("Old")[1] == [b"1"]
            assert [imap.copy("1", name)[0] for name in ("INBOX", "Trash")] == ["OK", "OK"]
            assert imap.store("1", "+FLAGS", r"(\Deleted)")[0] == imap.expunge()[0] == "OK"
            assert imap.close()[0] == imap.delete("Old")[0] == imap.delete("Trash")[0] == "OK"
            assert imap.create("Old.more")[0] == "NO"


SIEVE_23 = """\
protocol lmtp {
  mail_plugins = $mail_plugins sieve
}
plugin {
  sieve = file:~/sieve;active=~/.dovecot.sieve
  sieve_before = /etc/dovecot/everybody.sieve
  sieve_before2 = /etc/dovecot/everybody.sieve
  sieve_after = /etc/dovecot/everybody.sieve
  sieve_default = /etc/dovecot/everybody.sieve
}
"""
SIEVE_24 = """\
protocol lmtp {
  mail_plugins {
    sieve = yes
  }
}
sieve_script personal {
  driver = file
  path = ~/sieve
  active_path = ~/.dovecot.sieve
}
""" + "".join(f"""\
sieve_script {when} {{
  type = {when}
  driver = file
  path = /etc/dovecot/everybody.sieve
}}
""" for when in ("before", "after", "default"))
SCRIPT = 'require ["fileinto", "mailbox", "copy"];\nfileinto :create :copy "Sorted";\n'


def test_no_script_runs(host, is_23):
    """Neither the host's, which run for the others as ever, nor one of the chat user."""
    if not list(Path("/usr/lib/dovecot/modules").glob("*sieve_plugin.so")):
        text = "no dovecot-sieve in this machine: tests/rig/bootstrap test"
        pytest.fail(text) if os.environ.get("CI") == "true" else pytest.skip(text)
    lines = (SIEVE_23 if is_23 else SIEVE_24) + (
        "mail_location = maildir:~/Maildir\n" if is_23 else
        "mail_driver = maildir\nmail_path = ~/Maildir\nmail_inbox_path =\n")
    scripts = Path("/etc/dovecot/everybody.sieve")
    with only_now(scripts, SCRIPT), dovecot_with(host, lines):
        user = host.new_person()
        home = host.mailbox(user)
        (home / ".dovecot.sieve").write_text(SCRIPT.replace("Sorted", "Own"))
        host.run("chown", "_chatmaild:", home / ".dovecot.sieve")
        deliver(host, user)
        deliver(host, "alice")
        until(lambda: list(Path("/home/alice/Maildir/.Sorted/new").glob("*")),
              "the host's script ran for an ordinary user")
        assert len(list(home.glob("new/*"))) == 1 and not list(home.glob(".[SO]*"))
