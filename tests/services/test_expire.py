"""`chatmaild expire` on trees on disk: what goes, what stays, what is said about it."""

import errno
import fcntl
import json
import os
import shutil
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from chatmaild import cli
from chatmaild.config import inifile
from chatmaild.disk import directories, maildir
from chatmaild.push.tokens import DeviceTokens
from chatmaild.retention import folders, rules, runstate
from chatmaild.retention.runstate import LastRun

NOW = 1_800_000_000
DAY = 86_400
DOMAIN = "chat.example"


def name(days, size=1000, number=1, flags=":2,S"):
    """The name of a message that Dovecot saved `days` ago."""
    return f"{NOW - int(days * DAY)}.M{number}P77.host,S={size},W={size + 20}{flags}"


DATE = 1_799_971_200
"""2027-01-15, 0:00 UTC."""


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

    def start(self, *arguments):
        """The command as a process of its own."""
        environment = {**os.environ, "PYTHONPATH": str(Path(cli.__file__).parent.parent)}
        return subprocess.Popen(
            [sys.executable, "-m", "chatmaild", "-c", self.ini, "expire", "--now", str(NOW),
             *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)


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


def test_large_messages_go_earlier_once_they_were_seen(tree):
    home = tree.mailbox()
    large = put(home / "cur", name(7.1, 200_001))
    kept = [put(home / "cur", name(7.1, 200_000)), put(home / "cur", name(6.9, 10**6)),
            put(home / "new", name(7.1, 10**6)), put(home / "tmp", name(7.1, 10**6))]
    tree.expire()
    assert not large.exists()
    assert all(path.exists() for path in kept)


def test_an_account_with_a_retention_and_a_quota_of_its_own(tree):
    short, small, other = tree.mailbox("short"), tree.mailbox("small"), tree.mailbox("other")
    (short / "settings").write_text("delete_mails_after = 3\n")
    (small / "settings").write_text("max_mailbox_size = 1000\n")
    sizes = {home: [put(home / "new", name(days, 400, number=days)) for days in (2, 4, 5)]
             for home in (short, small, other)}
    tree.expire()
    left = {home: [path.exists() for path in paths] for home, paths in sizes.items()}
    assert left == {short: [True, False, False], small: [True, False, False],
                    other: [True, True, True]}


def test_settings_that_nobody_can_read_delete_nothing_in_that_mailbox(tree):
    home, other = tree.mailbox(), tree.mailbox("other")
    (home / "settings").write_text("delete_mails_after = soon\n")
    kept, gone = put(home / "new", name(21)), put(other / "new", name(21))
    said = tree.expire(code=1)
    assert kept.exists() and not gone.exists() and "delete_mails_after = soon" in said.err


@pytest.mark.parametrize("now, code", [
    ("2027-01-15", 0), ("2027-01-15T10:00", 0), ("2027-01-15T10:00:00+02:00", 0), ("-1", 2),
    ("tomorrow", 2), ("1e9", 2), ("99999999999", 2), ("1969-01-01", 2)])
def test_now_takes_dates(tree, now, code):
    home = tree.mailbox()
    put(home / "new", f"{DATE - 21 * DAY}.M1P7.host,S=1,W=2")
    said = tree.expire("--now", now, "--json", code=code)
    assert not code or "--now" in said.err
    assert code or DATE <= json.loads(said.out)["now"] <= DATE + 10 * 3600


def test_the_time_in_the_name_counts_and_not_the_mtime(tree):
    home = tree.mailbox()
    imported = put(home / "cur", name(1), mtime=600_000_000)
    touched = put(home / "cur", name(21, number=2), mtime=NOW)
    tree.expire()
    assert imported.exists() and not touched.exists()


def test_a_time_in_the_future_counts_as_the_mtime(tree):
    home = tree.mailbox()
    young = put(home / "cur", name(-400), mtime=NOW - 19 * DAY)
    old = put(home / "cur", name(-400, number=2), mtime=NOW - 21 * DAY)
    both = put(home / "cur", name(-400, number=3), mtime=NOW + 10 * DAY)
    tree.expire()
    assert young.exists() and both.exists() and not old.exists()


def test_a_message_that_comes_during_the_run_stays_whatever_its_date(tree):
    """Mail that a client imports has the time of its saving in the name, its own as mtime."""
    moments_later = int(time.time())
    path = put(tree.mailbox() / "cur", f"{moments_later}.M1P1.mx,S=10,W=11", mtime=600_000_000)
    tree.expire("--now", str(moments_later - 60))
    assert path.exists()


def test_foreign_names_are_judged_by_the_file(tree):
    home = tree.mailbox()
    old = [put(home / "cur", each, mtime=NOW - 21 * DAY)
           for each in ("12.eml", ".nfs01", "x" * 250, "\n", "\udce4:2,S")]
    young = [put(home / "cur", each, mtime=NOW - 19 * DAY)
             for each in ("13.eml", "0", "\t,S=", "1.M.b")]
    large = put(home / "cur", "large.eml", b"x" * 200_001, mtime=NOW - 8 * DAY)
    unsized = put(home / "cur", f"{NOW - 8 * DAY}.M1P2.host:2,S", b"x" * 200_001)
    tree.expire()
    assert not any(path.exists() for path in [*old, large, unsized])
    assert all(path.exists() for path in young)


def test_folders_are_walked_and_their_names_do_not_matter(tree):
    home = tree.mailbox()
    old = []
    for folder in (".Sent", ".A.B.C", ".&AMQ-", "..odd", ".\udcff"):
        (home / folder / "cur").mkdir(parents=True)
        old.append(put(home / folder / "cur", name(21)))
    elsewhere = home / "Sent" / "cur"
    elsewhere.mkdir(parents=True)
    no_folder = put(elsewhere, name(21))
    tree.expire()
    assert not any(path.exists() for path in old)
    assert no_folder.exists()


def test_empty_folders_go_in_which_nothing_happens(tree):
    home = tree.mailbox()
    for name_ in (".Old", ".Old.Below"):
        folder(home, name_, 21, ["dovecot-uidlist", "maildirfolder"])
    folder(home, ".New", 19)
    folder(home, ".Busy", 21, [f"cur/{name(1)}"])
    folder(home, ".Emptied", 21)
    age(home / ".Emptied/cur", 1)
    said = tree.expire("-v").out
    assert f"empty {home}/.Old.Below\nempty {home}/.Old\n" in said
    assert {path.name for path in home.iterdir()} == {
        "cur", "new", "tmp", "password", ".New", ".Busy", ".Emptied"}


def test_where_there_are_too_many_folders_empty_ones_go_at_once(tree):
    home = tree.mailbox()
    for number in range(100):
        folder(home, f".F{number}", 1)
    folder(home, ".Busy", 1, [f"cur/{name(1)}"])
    folder(home, ".JustMade", 0)
    tree.expire()
    assert {path.name for path in home.glob(".*")} == {".Busy", ".JustMade"}


@pytest.mark.parametrize("inside", ["tmp/x", "new/x", "unknown", "cur/d/x"])
def test_a_folder_with_anything_in_it_stays(tree, inside):
    home = tree.mailbox()
    path = folder(home, ".Folder", 21, [inside]) / inside
    age(path, 1)
    tree.expire()
    assert path.exists()


def test_a_folder_above_one_that_stays_does_so_too(tree):
    home = tree.mailbox()
    stay = [folder(home, name_, 21) for name_ in (".A", ".A.B")] + [folder(home, ".A.B.C", 19)]
    gone = [folder(home, name_, 21) for name_ in (".A-", ".A.B-", ".A.B.", ".AB")]
    tree.expire()
    assert all(path.exists() for path in stay) and not any(path.exists() for path in gone)


def test_each_folder_is_compared_with_few_others(tmp_path, monkeypatch):
    """A client may make as many as it likes."""
    compared = 0

    class Name(str):
        def startswith(self, *arguments):
            nonlocal compared
            compared += 1
            return super().startswith(*arguments)

    monkeypatch.setattr(maildir, "folders", lambda mailbox: [Name(f".{n}") for n in range(300)])
    with directories.opened(str(tmp_path)) as mailbox:
        folders.walk(mailbox, NOW, lambda name: True)
    assert compared <= 300


@pytest.mark.parametrize("kind", ["cur", "new", "tmp"])
def test_a_message_that_comes_while_a_folder_goes_is_kept(tree, monkeypatch, kind):
    path = folder(tree.mailbox(), ".Folder", 21)
    rmdir, message = os.rmdir, path / kind / name(0)

    def delivered_first(name_, *, dir_fd=None):
        if name_ == kind and not message.exists():
            message.write_text("x")
        rmdir(name_, dir_fd=dir_fd)

    monkeypatch.setattr(os, "rmdir", delivered_first)
    tree.expire()
    assert message.exists() and {each.name for each in path.iterdir()} == {"cur", "new", "tmp"}


def test_symbolic_links_are_never_followed(tree):
    outside = tree.path / "outside"
    for directory in ("cur", "box/cur", ".Folder/cur"):
        (outside / directory).mkdir(parents=True)
        put(outside / directory, name(21))
    victim = put(outside, "victim", mtime=0)
    (tree.mail / DOMAIN / f"link@{DOMAIN}").symlink_to(outside / "box")
    home = tree.mailbox()
    (home / "cur").rmdir()
    (home / "cur").symlink_to(outside / "cur")
    (home / ".Linked").symlink_to(outside / ".Folder")
    (home / "new" / name(21)).symlink_to(victim)
    before = sorted(outside.rglob("*"))
    said = tree.expire()
    assert sorted(outside.rglob("*")) == before
    assert not (home / "new" / name(21)).is_symlink()
    assert said.err.count("symbolic link") == 3


def test_a_domain_that_is_a_link_is_a_problem(tree):
    (tree.mail / DOMAIN).rename(tree.path / "elsewhere")
    (tree.mail / DOMAIN).symlink_to(tree.path / "elsewhere")
    home = tree.mailbox()
    old = put(home / "cur", name(21))
    assert "symbolic link" in tree.expire(code=1).err
    assert old.exists()


def test_nothing_is_swept_through_a_link(tree):
    elsewhere = tree.path / "elsewhere"
    (elsewhere / ".removed-1234").mkdir(parents=True)
    (tree.mail / DOMAIN).rmdir()
    (tree.mail / DOMAIN).symlink_to(elsewhere)
    tree.expire(code=1)
    assert (elsewhere / ".removed-1234").exists()


def test_a_domain_that_somebody_keeps_locked_does_not_stop_the_run(tree, monkeypatch):
    monkeypatch.setattr("chatmaild.disk.atomic.LOCK_TIMEOUT", 0.01)
    tree.configure(domains=f"{DOMAIN} other.example")
    old = [put(tree.mailbox("bob", domain) / "cur", name(21))
           for domain in (DOMAIN, "other.example")]
    lock = os.open(tree.mail / DOMAIN, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    assert "keeps it locked" in tree.expire(code=1).err
    os.close(lock)
    assert not any(path.exists() for path in old)


def test_only_chat_mailboxes_are_touched(tree):
    kept = []
    for directory in (
        "ordinary.example/bob@ordinary.example/cur", f"{DOMAIN}/bob/cur", "cur", "new",
        f"{DOMAIN}/cur", f"{DOMAIN}/bob@ordinary.example/cur", f"{DOMAIN}/.invites/cur",
        f"{DOMAIN}/bob@{DOMAIN}/sub/cur", f"{DOMAIN}/bob@{DOMAIN}/cur/deeper",
    ):
        (tree.mail / directory).mkdir(parents=True)
        kept.append(put(tree.mail / directory, name(400), mtime=0))
    tree.mailbox("carol")
    kept.append(put(tree.mail / DOMAIN / f"carol@{DOMAIN}", name(400), mtime=0))
    tree.expire()
    assert all(path.exists() for path in kept)


def test_each_domain_has_its_own_values(tree):
    tree.configure("[domain other.example]\ndelete_mails_after = 3\n",
                   domains=f"{DOMAIN} other.example")
    here = put(tree.mailbox() / "cur", name(4))
    there = put(tree.mailbox("bob", "other.example") / "cur", name(4))
    tree.expire()
    assert here.exists() and not there.exists()


def test_long_retention_must_be_allowed(tree):
    old = put(tree.mailbox() / "cur", name(300))
    tree.configure("delete_mails_after = 365\n")
    assert "allow_long_retention" in tree.expire(code=2).err
    tree.configure("delete_mails_after = 365\nallow_long_retention = yes\n")
    tree.expire()
    assert old.exists()


# The quota


def fill(home, count, size=1 << 20, first_day=19, step=0.25):
    """Messages of `size`, the oldest first, and their paths in that order."""
    return [put(home / ("cur" if n % 2 else "new"), name(first_day - n * step, size, n))
            for n in range(count)]


@pytest.mark.parametrize("megabytes, gone", [(80, 0), (81, 11), (100, 30)])
def test_a_mailbox_above_80_percent_of_its_quota_is_trimmed_to_70(tree, megabytes, gone):
    tree.configure("max_mailbox_size = 100M\ndelete_large_after = 40\n")
    messages = fill(tree.mailbox(), megabytes, step=0.15)
    tree.expire()
    assert [path.exists() for path in messages] == [False] * gone + [True] * (megabytes - gone)


@pytest.mark.parametrize("step", [0.15, 0.0003])
def test_trimming_takes_many_rounds_in_order(tree, monkeypatch, step):
    monkeypatch.setattr("chatmaild.disk.maildir.BATCH", 7)
    monkeypatch.setattr("chatmaild.retention.expunge.AT_ONCE", 3)
    tree.configure("max_mailbox_size = 100M\ndelete_large_after = 40\n")
    messages = fill(tree.mailbox(), 100, step=step)
    tree.expire()
    assert [path.exists() for path in messages] == [False] * 30 + [True] * 70


def test_trimming_spares_the_last_24_hours(tree):
    tree.configure("max_mailbox_size = 100M\ndelete_large_after = 40\n")
    home = tree.mailbox()
    young = fill(home, 100, first_day=0.9, step=0.001)
    old = put(home / "cur", name(1.1, 5, number=999))
    tree.expire()
    assert all(path.exists() for path in young) and not old.exists()


def test_empty_messages_do_not_go_for_nothing(tree):
    tree.configure("max_mailbox_size = 100M\ndelete_large_after = 40\n")
    home = tree.mailbox()
    for number in range(10):
        put(home / "cur", name(21, 1 << 20, number))
    messages = fill(home, 75, step=0.15)
    empty = [put(home / "cur", name(days, 0, 500 + days)) for days in range(2, 15)]
    tree.expire()
    assert all(path.exists() for path in [*messages, *empty])


def test_what_is_due_by_age_is_not_trimmed_for(tree):
    tree.configure("max_mailbox_size = 100M\ndelete_large_after = 40\n")
    home = tree.mailbox()
    for number in range(30):
        put(home / "cur", name(21, 1 << 20, number))
    kept = fill(home, 79, step=0.15)
    for mode in (("--dry-run",), ()):
        assert "quota /" not in tree.expire("-v", *mode).out
    assert all(path.exists() for path in kept)


def test_dovecots_quota_sums_are_dropped_only_with_mail(tree):
    touched, untouched = tree.mailbox("alice"), tree.mailbox("bob")
    put(touched / "cur", name(21))
    put(touched, "maildirsize")
    put(untouched, "maildirsize")
    tree.expire()
    assert not (touched / "maildirsize").exists() and (untouched / "maildirsize").exists()


# Accounts


def test_inactive_accounts_are_removed_whole(tree):
    tree.mailbox("alice")
    gone = tree.mailbox("bob", login=90.1)
    put(gone / "cur", name(1))
    put(gone, "whatever")
    kept = tree.mailbox("carol", login=89.9)
    tree.expire()
    assert not gone.exists() and kept.exists()
    assert there(tree.mail / DOMAIN) == [f"alice@{DOMAIN}", f"carol@{DOMAIN}"]


def test_no_account_is_removed_where_no_login_was_recorded_lately(tree):
    tree.configure(domains=f"{DOMAIN} other.example")
    kept = tree.mailbox("alice", login=100)
    tree.mailbox("bob", login=7.1)
    old = put(kept / "cur", name(21))
    tree.mailbox("bob", "other.example")
    gone = tree.mailbox("alice", "other.example", login=100)
    said = tree.expire(code=1)
    assert kept.exists() and not old.exists() and not gone.exists()
    assert f"{DOMAIN}: " in said.err and "no login was recorded" in said.err


def test_signups_alone_do_not_prove_that_logins_are_recorded(tree):
    inactive = tree.mailbox("alice", login=100)
    for number, days in enumerate((0.2, 2, 3)):
        home = tree.mailbox(f"new{number}")
        made = NOW - int(days * DAY)
        put(home, "enforceE2EEincoming", mtime=made)
        os.utime(home / "password", (made // DAY * DAY,) * 2)
    tree.expire(code=1)
    assert inactive.exists()
    os.utime(home / "password", ((NOW - DAY) // DAY * DAY,) * 2)
    tree.expire()
    assert not inactive.exists()


def test_nobody_is_missed_in_a_domain_that_is_merely_quiet(tree):
    home = tree.mailbox("alice", login=30)
    tree.expire()
    assert home.exists()


def test_an_account_whose_logins_cannot_be_recorded_stays(tree, monkeypatch):
    """Only the owner of a file may set its time: a hash restored by root keeps the old one."""
    tree.mailbox("alice")
    home = tree.mailbox("bob", login=100)
    old = put(home / "cur", name(21))
    with monkeypatch.context() as patch:
        patch.setattr(os, "geteuid", lambda: 4711)
        assert f"{home}/password: inactive, but kept" in tree.expire("--dry-run", code=1).err
        said = tree.expire(code=1).err
    assert "belongs to another user" in said and "bob" not in said
    assert (home / "password").exists() and not old.exists()
    tree.expire()
    assert not home.exists()


def test_a_block_outlives_the_account(tree):
    tree.mailbox("alice")
    blocked = tree.mailbox("bob", login=100)
    put(blocked, "blocked")
    tree.expire()
    assert os.listdir(blocked) == ["blocked"]
    tree.expire()
    assert os.listdir(blocked) == ["blocked"]


def there(directory):
    """What is in a domain's directory, but for the memory of accounts that ended."""
    return sorted(name for name in os.listdir(directory) if not name.startswith(".ended-"))


def snapshot(directory):
    """Everything below `directory`, with content and times, but for the time of reading."""
    found = {}
    for path in [directory, *directory.rglob("*")]:
        info = path.lstat()
        content = path.read_bytes() if stat.S_ISREG(info.st_mode) else None
        found[path] = (content, info.st_mode, info.st_ino, info.st_uid, info.st_mtime_ns,
                       info.st_ctime_ns)
    return found


def folder(home, name_, days, inside=()):
    """A folder of the mailbox `home` in which nothing has changed for so many days."""
    path = home / name_
    for kind in ("cur", "new", "tmp"):
        (path / kind).mkdir(parents=True)
    for each in inside:
        (path / each).parent.mkdir(exist_ok=True)
        put(path, each)
    for each in (path, *path.rglob("*")):
        age(each, days)
    return path


def age(home, days=2):
    os.utime(home, (NOW - days * DAY,) * 2)


def test_mailboxes_without_account_and_mail_are_removed(tree):
    bare = tree.mailbox("bare", login=None)
    put(bare, "enforceE2EEincoming")
    put(bare, "dovecot.index.log")
    empty = tree.mail / DOMAIN / f"empty@{DOMAIN}"
    empty.mkdir()
    full = tree.mailbox("full", login=None)
    put(full / "cur", name(21))
    put(full, "maildirsize")
    for home in (bare, empty, full):
        age(home)
    tree.expire()
    assert there(tree.mail / DOMAIN) == []


def test_leftovers_that_are_young_or_hold_something_stay(tree):
    young = tree.mailbox("young", login=None)
    mail = tree.mailbox("mail", login=None)
    put(mail / "cur", name(3))
    unknown = tree.mailbox("unknown", login=None)
    put(unknown, "notes.txt")
    nested = tree.mailbox("nested", login=None)
    (nested / "cur" / "dir").mkdir()
    blocked = tree.mailbox("blocked", login=None)
    put(blocked, "blocked")
    kept = (mail, unknown, nested, blocked)
    for home in kept:
        age(home)
    age(young, 0)
    tree.expire()
    assert young.exists() and all(home.exists() for home in kept)


def test_what_a_killed_removal_left_is_removed(tree):
    left = tree.mail / DOMAIN / ".removed-0011"
    (left / "cur").mkdir(parents=True)
    put(left / "cur", name(1))
    assert f"leftover {left}" in tree.expire("--dry-run").out and left.exists()
    tree.expire()
    assert not left.exists()


def test_push_tokens_go_with_the_account(tree):
    """Whoever makes the address anew must not ring the phones of who had it."""
    directory = tree.path / "tokens"
    directory.mkdir()
    tree.configure(f"push_tokens_dir = {directory}")
    files = {}
    for local, days in (("alice", 1), ("bob", 100)):
        home = tree.mailbox(local, login=days)
        files[local] = directory / f"{DeviceTokens(directory).ref(home.name)}.json"
        files[local].touch()
    tree.expire("--dry-run")
    assert files["bob"].exists()
    tree.expire()
    assert not files["bob"].exists() and files["alice"].exists()


def test_push_tokens_go_even_if_something_of_the_account_cannot(tree, monkeypatch):
    directory = tree.path / "tokens"
    directory.mkdir()
    tree.configure(f"push_tokens_dir = {directory}")
    tree.mailbox("alice")
    home = tree.mailbox("bob", login=100)
    put(home / "cur", "stubborn")
    file = directory / f"{DeviceTokens(directory).ref(home.name)}.json"
    file.touch()
    unlink = os.unlink

    def refuse(name_, *, dir_fd=None):
        if name_ == "stubborn":
            raise PermissionError(errno.EPERM, "Operation not permitted")
        unlink(name_, dir_fd=dir_fd)

    monkeypatch.setattr(os, "unlink", refuse)
    said = tree.expire("-v", code=1)
    assert not home.exists() and not file.exists()
    assert f"inactive {home}" in said.out and "could not be removed" in said.err


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user, as only root can")
@pytest.mark.parametrize("obstacle", ["", "cur", "cur/below", ".Folder"])
@pytest.mark.parametrize("login", [1, 100], ids=["message", "account"])
def test_a_dry_run_fails_where_the_run_would(public_path, capsys, obstacle, login):
    """Run by root on a tree of another user, it becomes that user."""
    tree = Tree(public_path, capsys)
    tree.mailbox("alice")
    home = tree.mailbox("bob", login=login)
    put(home / "cur", name(21))
    (home / "cur/below").mkdir()
    put(home / "cur/below", "x")
    folder(home, ".Folder", 21)
    for path in [tree.mail, *tree.mail.rglob("*")]:
        os.chown(path, 65534, 65534)
    if obstacle:
        os.chown(home / obstacle, 0, 0)
        (home / obstacle).chmod(0o755)
    codes, named = [], []
    for option in ("--dry-run", "-v"):
        with tree.start(option) as process:
            out, _ = process.communicate(timeout=60)
        codes.append(process.returncode)
        named.append({line for line in out.decode().splitlines() if " /" in line})
    assert codes[0] == codes[1]
    assert named[0] == named[1]
    assert codes[0] == int(bool(obstacle) and (login == 100 or obstacle != "cur/below"))


def test_subscriptions_to_folders_without_end_go(tree):
    """Dovecot keeps those to folders that are gone; nobody has so many folders."""
    endless, many = tree.mailbox("endless01"), tree.mailbox("many00001")
    for number in range(300):
        (many / f".{number:03}" / "cur").mkdir(parents=True)
        put(many / f".{number:03}" / "cur", name(1))
    names = "".join(f"{number:0255}\n" for number in range(300))
    put(endless, "subscriptions").write_text(names), put(many, "subscriptions").write_text(names)
    assert f"stale {endless}/subscriptions" in tree.expire("--dry-run").out
    assert (endless / "subscriptions").exists()
    tree.expire()
    assert not (endless / "subscriptions").exists() and (many / "subscriptions").exists()


def test_an_index_full_of_keywords_goes(tree):
    """Dovecot has no limit for keywords and forgets none; it makes the index anew without them."""
    endless, many = tree.mailbox("endless01"), tree.mailbox("many00001")
    (endless / ".Archive" / "cur").mkdir(parents=True)
    large = 8 * 2**20 + 1000
    for folder in (endless, endless / ".Archive", many):
        put(folder / "cur", name(1))
        for file in ("dovecot.index", "dovecot.index.log", "dovecot.index.cache"):
            os.truncate(put(folder, file), large)
        put(folder, "dovecot-uidlist")
    for number in range(20):
        put(many / "cur", name(1, number=number))
    os.truncate(many / "dovecot.index.cache", 100 * large)
    assert f"stale {endless}/.Archive/dovecot.index.log" in tree.expire("--dry-run").out
    assert (endless / "dovecot.index").exists()
    tree.expire()
    for folder in (endless, endless / ".Archive"):
        assert [each.name for each in folder.glob("dovecot*")] == ["dovecot-uidlist"]
    assert len(list(many.glob("dovecot.index*"))) == 3, "20 messages may have that"


def test_mail_saved_while_the_clock_was_ahead_ages_from_now_on(tree):
    home = tree.mailbox()
    path = put(home / "cur", f"{NOW + 365 * DAY}.M1P1.mx,S=10,W=11")
    os.utime(path, (NOW + 365 * DAY,) * 2)
    tree.expire("--dry-run")
    assert path.stat().st_mtime > NOW
    tree.expire()
    assert path.stat().st_mtime == NOW


def test_invitations_that_have_expired_go(tree):
    made = {}
    for name_, expires in (("old", NOW), ("valid", NOW + 1)):
        made[name_] = tree.mail / DOMAIN / ".invites" / name_
        made[name_].parent.mkdir(exist_ok=True)
        made[name_].write_text(json.dumps({"batch": "b", "created": 0, "expires": expires}))
    assert f"leftover {made['old']}" in tree.expire("--dry-run").out and made["old"].exists()
    assert f"leftover {made['old']}" in tree.expire("-v").out
    assert os.listdir(made["old"].parent) == ["valid"]


def test_an_invitation_that_was_spent_does_not_stay_in_the_mailbox(tree):
    """Its creation was killed between the rename that ended it and the last unlink."""
    tree.configure("signup = invite")
    home = tree.mailbox()
    claim = put(home, ".claim-.invites-abc")
    assert f"leftover {claim}" in tree.expire("--dry-run").out and claim.exists()
    assert f"leftover {claim}" in tree.expire("-v").out and not claim.exists()
    assert (home / "password").exists()


def test_what_a_killed_run_moved_aside_is_dealt_with_as_if_it_never_was(tree):
    homes = {local: tree.mailbox(local, login=days) for local, days in
             (("alice", 1), ("bob", 100), ("carol", 1), ("dave", 1), ("erin", 1))}
    for home in homes.values():
        put(home / "cur", name(21)), put(home / "cur", name(2)), put(home, "maildirsize")
    for local in ("alice", "bob", "carol", "dave"):
        homes[local].rename(homes[local].parent / f".aside-{homes[local].name}")
    in_the_way = tree.mailbox("carol", login=None)      # made by Dovecot for who was connected
    put(in_the_way / "cur", name(22))
    anew = tree.mailbox("dave")     # an account that was made since
    before = snapshot(tree.path)
    dry = tree.expire("--dry-run").out.splitlines()
    assert snapshot(tree.path) == before
    real = tree.expire("-v").out.splitlines()
    given_way, = (line for line in real if "/.removed-" in line)
    real[real.index(given_way)] = f"leftover {in_the_way}"
    assert sorted(dry[:-1]) == sorted(real[:-1])
    assert f"inactive {homes['bob']}" in dry and f"leftover {anew.parent}/.aside-{anew.name}" in dry
    assert sum("stale" in line for line in dry) == 3
    assert dry[-1].split(" in ")[:2] == [
        real[-1].replace("removed", "would remove").split(" in ")[0], "5 mailboxes"]
    assert there(anew.parent) == [
        f"{local}@{DOMAIN}" for local in ("alice", "carol", "dave", "erin")]
    assert (homes["carol"] / "password").exists()


# What is said


def test_dry_run_names_what_a_run_names_and_changes_nothing(tree):
    home = tree.mailbox("alice")
    for path in (put(home / "cur", name(21)), put(home / "new", "foreign", mtime=0),
                 put(home / "cur", name(8, 10**6)), put(home, "maildirsize")):
        assert path.exists()
    tree.mailbox("bob", login=100)
    age(tree.mailbox("carol", login=None))
    folder(home, ".Old", 21)
    before = snapshot(tree.path)
    dry = tree.expire("--dry-run").out.splitlines()
    assert snapshot(tree.path) == before
    real = tree.expire("-v").out.splitlines()
    assert sorted(dry[:-1]) == sorted(real[:-1])
    assert {line.split()[0] for line in dry[:-1]} == {
        "old", "large", "stale", "inactive", "leftover", "empty"}
    for line in real[:-1]:
        assert not os.path.lexists(line.split(" ", 1)[1])
    assert dry[-1].startswith("would remove 3 of 3 messages")
    assert real[-1].startswith("removed 3 of 3 messages")


def test_without_a_terminal_only_the_log_has_a_summary(tree):
    put(tree.mailbox() / "cur", name(21))
    said = tree.expire()
    assert said.out == "" and "removed 1 of 1 message" in said.err
    said = tree.expire("--quiet")
    assert (said.out, said.err) == ("", "")


def test_json_is_one_document(tree):
    put(tree.mailbox() / "cur", name(21, 5000))
    dry = json.loads(tree.expire("--json", "--dry-run").out)
    assert dry["named"][0]["reason"] == "old" and dry["dry_run"] is True
    real = json.loads(tree.expire("--json").out)
    assert real["removed"] == {
        "old": 1, "large": 0, "quota": 0, "inactive": 0, "leftover": 0, "empty": 0,
        "stale": 0}
    assert real["removed_bytes"] == 5000 and real["problems"] == 0
    assert "named" not in real


def test_file_names_cannot_write_to_the_terminal(tree):
    put(tree.mailbox() / "cur", "\x1b[2J\n\udcff", mtime=0)
    assert r"\x1b[2J\n\udcff" in tree.expire("-v").out


def test_the_last_run_is_kept(tree):
    tree.mailbox(login=100)
    tree.expire("--dry-run", code=1)
    config = inifile.load(tree.ini)
    assert runstate.load(config) is None
    tree.expire(code=1)
    last = runstate.load(config)
    assert last == LastRun(finished=min(NOW, last.finished), good=None, problems=1,
                           held_back={DOMAIN: 1}, removed=dict.fromkeys(rules.Reason, 0))
    tree.mailbox("bob")
    tree.expire()
    last = runstate.load(config)
    assert last.good == last.finished and last.problems == 0


@pytest.mark.parametrize("days, hours, goes", [
    (1, None, True), (7, None, True), (90, None, False), (90, 1, False), (90, 24, True),
    (-1, None, True), (30, 24 * 9, False)])
def test_by_a_clock_that_jumped_nothing_goes_before_the_next_day(tree, monkeypatch, days, hours,
                                                                 goes):
    """`days` after the last run, and `hours` after a run that doubted the clock."""
    old = put(tree.mailbox() / "cur", name(21))
    doubted = None if hours is None else NOW - hours * 3600
    config = inifile.load(tree.ini)
    runstate.save(config, LastRun(NOW - days * DAY, None, 0, {}, doubted))
    monkeypatch.setattr(time, "time", lambda: NOW)
    code = cli.main(["-c", str(tree.ini), "expire"])
    assert code == int(not goes) and old.exists() is not goes
    assert (runstate.load(config).doubted is None) is goes


def test_a_state_file_that_was_cut_short_does_not_stop_a_run(tree):
    (tree.mail / ".expire.json").write_text("{")
    old = put(tree.mailbox() / "cur", name(21))
    assert "JSON" in tree.expire().err
    assert not old.exists()


def test_a_second_run_waits_for_the_first(tree):
    old = put(tree.mailbox() / "cur", name(21))
    fd = os.open(tree.mail, os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX)
    tree.expire("--dry-run")
    with tree.start() as process:
        assert b"waiting" in process.stderr.readline()
        assert old.exists()
        os.close(fd)
        process.communicate(timeout=60)
    assert process.returncode == 0 and not old.exists()


def test_several_processes_share_many_mailboxes(tree):
    old = [put(tree.mailbox(f"user{n}") / "cur", name(21)) for n in range(300)]
    with tree.start("--json", "--dry-run") as process:
        said = json.loads(process.communicate(timeout=60)[0])
    assert {each["path"] for each in said["named"]} == {str(path) for path in old}
    with tree.start("-v") as process:
        lines = process.communicate(timeout=60)[0].decode().splitlines()
    assert sorted(lines[:-1]) == sorted(f"old {path}" for path in old)
    assert lines[-1].startswith("removed 300 of 300 messages")
    assert not any(path.exists() for path in old)


def test_without_chat_domains_there_is_nothing_to_do(tree):
    tree.configure(domains="")
    assert "nothing to do" in tree.expire().out


def test_a_missing_mailboxes_dir_is_an_error(tree):
    (tree.mail / DOMAIN).rmdir()
    tree.mail.rmdir()
    assert "mailboxes_dir" in tree.expire(code=1).err


def test_a_mailboxes_dir_of_somebody_else_is_an_error(tree, monkeypatch):
    """Out of the owner's reach, say, because a directory above it belongs to root alone."""
    def closed(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(directories, "open_directory", closed)
    for arguments in ((), ("--dry-run",)):
        assert f"{tree.mail}: Permission denied; it must" in tree.expire(*arguments, code=1).err


@pytest.mark.parametrize("arguments", [(), ("--dry-run",)])
def test_a_domain_whose_directory_is_missing_is_no_good_run(tree, arguments):
    """A disk of its own that was not mounted would else count as expired, day by day."""
    tree.configure(domains=f"{DOMAIN} mounted.example")
    home = tree.mailbox()
    put(home / "cur", name(21))
    (tree.mail / "mounted.example").mkdir()
    tree.expire(*arguments)
    (tree.mail / "mounted.example").rmdir()
    said = tree.expire(*arguments, code=1)
    assert "mounted.example: No such file or directory; mount or restore the directory" in said.err
    assert "problems: 1" in said.out + said.err


# The hook of Dovecot's quota_warning


def trim(tree, target, address, code=0):
    assert cli.main(["-c", str(tree.ini), "quota-expire", str(target), address]) == code
    return tree.capsys.readouterr()


def test_the_quota_hook_makes_room_in_one_mailbox(tree, monkeypatch):
    monkeypatch.setattr("time.time", lambda: NOW)
    tree.configure("delete_large_after = 40\n")
    alice, bob = tree.mailbox("alice"), tree.mailbox("bob")
    messages = fill(alice, 10)
    others = fill(bob, 10)
    put(alice, "maildirsize")
    trim(tree, 7, f"alice@{DOMAIN}")
    assert [path.exists() for path in messages] == [False] * 3 + [True] * 7
    assert not (alice / "maildirsize").exists() and all(path.exists() for path in others)
    trim(tree, 7, f"ALICE@{DOMAIN}")
    assert all(path.exists() for path in messages[3:])


@pytest.mark.parametrize("target, address, code", [
    (7, f"nobody@{DOMAIN}", 1), (7, "bob@ordinary.example", 2), (7, f"../x@{DOMAIN}", 2),
    (-1, f"alice@{DOMAIN}", 2)])
def test_the_quota_hook_says_what_it_cannot_do(tree, target, address, code):
    assert tree.mailbox("bob").exists()
    said = trim(tree, target, address, code)
    assert said.err and address not in said.err


def test_what_was_moved_aside_but_cannot_be_removed_is_a_problem(tree, monkeypatch):
    left = tree.mail / DOMAIN / ".removed-0011"
    (left / "cur").mkdir(parents=True)
    stubborn = put(left / "cur", "stays")
    put(left / "cur", "goes")
    unlink = os.unlink

    def refuse(name, *, dir_fd=None):
        if name == stubborn.name:
            raise PermissionError(errno.EPERM, "Operation not permitted")
        unlink(name, dir_fd=dir_fd)

    monkeypatch.setattr(os, "unlink", refuse)
    assert "could not be removed" in tree.expire(code=1).err
    assert os.listdir(left / "cur") == ["stays"]


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user, as only root can")
def test_what_cannot_be_read_is_reported_and_the_rest_is_done(public_path, capsys):
    """Run by root on a tree of another user, it becomes that user."""
    tree = Tree(public_path, capsys)
    closed, half, fine = (tree.mailbox(name) for name in ("closed", "half", "fine"))
    old = [put(home / "cur", name(21)) for home in (closed, half, fine)]
    put(half / "new", name(21))
    for path in [tree.mail, *tree.mail.rglob("*")]:
        os.chown(path, 65534, 65534)
    os.chown(closed, 0, 0)
    closed.chmod(0o700)
    (half / "new").chmod(0o500)
    with tree.start() as process:
        said = process.communicate(timeout=60)[1].decode()
    assert process.returncode == 1
    assert [path.exists() for path in old] == [True, False, False]
    assert said.count("Permission denied") == 2 and "problems: 2" in said
    assert "@" not in said, "no address in the log"
    assert (tree.mail / ".expire.json").stat().st_uid == 65534


def test_a_mailbox_of_many_messages_is_dealt_with_in_batches(tree, monkeypatch):
    monkeypatch.setattr("chatmaild.disk.maildir.BATCH", 3)
    home = tree.mailbox()
    old = [put(home / "cur", name(21, number=n)) for n in range(20)]
    young = [put(home / "cur", name(1, number=n)) for n in range(20)]
    tree.expire()
    assert not any(path.exists() for path in old) and all(path.exists() for path in young)


def test_a_message_renamed_by_a_flag_during_the_run_goes_as_well(tree, monkeypatch):
    old = put(tree.mailbox() / "cur", name(21, flags=":2,"))
    unlink = os.unlink

    def flagged_first(path, *, dir_fd=None):
        if old.exists():
            old.rename(f"{old}S")
        unlink(path, dir_fd=dir_fd)

    monkeypatch.setattr(os, "unlink", flagged_first)
    tree.expire()
    assert os.listdir(old.parent) == []


@pytest.mark.parametrize("login", [100, None], ids=["inactive", "leftover"])
@pytest.mark.parametrize("happens", [
    lambda home: put(home, "password", mtime=NOW), lambda home: put(home, "blocked"),
], ids=["a login", "a block"])
def test_what_happens_while_an_account_is_removed_keeps_it(tree, monkeypatch, login, happens):
    tree.mailbox("alice")
    home = tree.mailbox("bob", login=login)
    age(home)
    rename = os.rename

    def something_else_first(source, target):
        if source == str(home):
            happens(home)
        rename(source, target)

    monkeypatch.setattr(os, "rename", something_else_first)
    before = set(os.listdir(home))
    assert f" {home}\n" not in tree.expire("-v").out
    assert before < set(os.listdir(home)) or (home / "password").stat().st_mtime == NOW


@pytest.mark.parametrize("login", [100, None], ids=["inactive", "leftover"])
def test_a_disk_that_fails_meanwhile_keeps_an_account(tree, monkeypatch, login):
    """Whether there is a block, or an account, is unknown then."""
    tree.mailbox("alice")
    home = tree.mailbox("bob", login=login)
    age(home)
    lstat = os.lstat

    def failing(path, **options):
        if "/.aside-" in str(path) and str(path).endswith("/blocked" if login else "/password"):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return lstat(path, **options)

    monkeypatch.setattr(os, "lstat", failing)
    assert "Input/output error" in tree.expire(code=1).err
    assert home.is_dir()


def test_a_mailbox_that_vanishes_is_none(tree, monkeypatch):
    for local in ("alice", "bob"):
        put(tree.mailbox(local) / "cur", name(21))
    folders = maildir.folders

    def vanishing(mailbox):
        for home in list((tree.mail / DOMAIN).iterdir()):
            shutil.rmtree(home)
        return folders(mailbox)

    monkeypatch.setattr(maildir, "folders", vanishing)
    tree.expire()


def test_a_mistake_of_ours_costs_one_mailbox_its_turn(tree, monkeypatch):
    for local in ("alice", "bob"):
        put(tree.mailbox(local) / "cur", name(21))
    review, calls = rules.review, []

    def mistaken(*arguments):
        calls.append(arguments)
        if len(calls) == 1:
            raise ZeroDivisionError("one mistake")
        return review(*arguments)

    monkeypatch.setattr(rules, "review", mistaken)
    said = tree.expire("--json", code=1)
    assert json.loads(said.out)["problems"] == 1 and "one mistake" in said.err
    assert len(list((tree.mail / DOMAIN).rglob("cur/*"))) == 1


def test_what_the_store_says_is_logged_without_the_address(tree, monkeypatch):
    tree.mailbox("alice")
    home = tree.mailbox("bob", login=100)

    def refuse(source, target):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "rename", refuse)
    said = tree.expire(code=1).err
    assert "Permission denied; it must belong to the mail_user of chatmaild.ini, and only that " \
        "user and root may look" in said and "bob" not in said
    assert home.exists()
    assert str(home) in tree.expire("-v", code=1).err
