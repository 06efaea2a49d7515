"""Mailboxes on disk: made and removed in one step, whoever races, dies or refuses."""

import errno
import multiprocessing
import os
import stat
import threading
from pathlib import Path

import pytest

from chatmaild.accounts import departure
from chatmaild.accounts.layout import DAY
from chatmaild.accounts.lifecycle import Creation
from chatmaild.accounts.mailboxes import Mailboxes
from chatmaild.config import inifile
from chatmaild.disk import atomic, directories
from chatmaild.errors import StoreError

NOW = 20_000 * DAY + 12_345
HASH = "{SHA512-CRYPT}$6$salt$hash"
DOMAIN = "chat.example"
ADDRESS = "somebody1@chat.example"


def store(tmp_path, extra=""):
    text = ("[chatmaild]\nmail_domains = chat.example other.example\n"
            f"mailboxes_dir = {tmp_path}/mail\n")
    found = Mailboxes(inifile.parse(f"{text}{extra}\n".encode(), Path("test.ini")))
    found.prepare()
    return found


@pytest.fixture
def boxes(tmp_path):
    return store(tmp_path)


@pytest.fixture
def box(boxes):
    return boxes.find(ADDRESS)


def names(path):
    """What is in a directory, but for the memory of accounts that ended (test_endings.py)."""
    return sorted(name for name in os.listdir(path) if not name.startswith(".ended-"))


def test_a_new_account_is_laid_out_as_on_a_relay(tmp_path, box):
    assert box.hash() is None and not box.exists() and box.enforces_encryption()
    assert box.create(HASH, NOW) is Creation.DONE
    home = tmp_path / "mail/chat.example" / ADDRESS
    assert box.home == str(home)
    assert names(home) == ["enforceE2EEincoming", "password"]
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert stat.S_IMODE((home / "password").stat().st_mode) == 0o600
    assert (home / "password").read_text() == HASH + "\n"
    assert box.hash() == HASH and box.exists() and box.enforces_encryption()
    assert box.last_login() == 20_000 * DAY
    assert names(home.parent) == [ADDRESS]


def test_a_mailbox_behind_a_link_to_a_disk_that_is_not_there_is_nobody_elses(tmp_path, box):
    os.symlink(tmp_path / "not-mounted", box.home)
    for ask in (box.hash, box.exists, box.last_login):
        with pytest.raises(StoreError, match="symbolic link"):
            ask()


def test_a_domain_that_was_there_is_not_made_anew_on_an_empty_mount_point(boxes):
    directory = Path(boxes.root, DOMAIN)
    directory.rmdir()
    boxes.prepare(known={DOMAIN})
    assert not directory.exists()
    boxes.prepare()
    assert directory.exists()


def test_what_cannot_be_removed_is_not_called_deleted(box, monkeypatch):
    box.create(HASH, NOW)
    monkeypatch.setattr(os, "unlink", refuse)
    with pytest.raises(StoreError, match="removed-.*could not be removed"):
        box.delete()
    assert box.hash() is None


def test_one_thing_that_cannot_be_removed_costs_one_attempt_however_deep(tmp_path, monkeypatch):
    deep = tmp_path.joinpath("tree", *["d"] * 20)
    deep.mkdir(parents=True)
    (deep / "stuck").touch()
    attempts = []
    monkeypatch.setattr(os, "unlink", lambda *args, **options: refuse(attempts.append(args)))
    assert not directories.remove_tree(str(tmp_path / "tree"))
    assert len(attempts) == 1


def refuse(*args, **options):
    raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root could make it anybody else's")
def test_what_root_makes_belongs_to_the_owner_of_the_tree(tmp_path):
    (tmp_path / "mail").mkdir()
    os.chown(tmp_path / "mail", 12345, 23456)
    box = store(tmp_path).find(ADDRESS)
    box.create(HASH, NOW)
    for path in (os.path.dirname(box.home), box.home, box.home + "/password",
                 box.home + "/enforceE2EEincoming"):
        assert (os.stat(path).st_uid, os.stat(path).st_gid) == (12345, 23456)


def test_a_second_creation_changes_nothing(box):
    box.create(HASH, NOW)
    assert box.create("{PLAIN}other", NOW) is Creation.EXISTS
    assert box.hash() == HASH


@pytest.mark.parametrize("address", [
    "", "@chat.example", "a", "a@b@chat.example", "..@chat.example", "../x@chat.example",
    ".hidden@chat.example", "-c@chat.example", "a/b@chat.example", "a\0b@chat.example",
    "a\nb@chat.example", "abcdefghi@chat.example\n", "abcdefghi@elsewhere.example",
    "abcdefghi@chat.example.", "x" * 65 + "@chat.example", "é@chat.example",
    "\u212aelvin001@chat.example", "abc@", "abc@chat.example/../other.example", "a b@chat.example",
])
def test_what_names_no_mailbox(boxes, address):
    assert boxes.find(address) is None


@pytest.mark.parametrize("address", ["a@chat.example", "A_b-c.9@CHAT.example", "_x@other.example"])
def test_what_names_one(boxes, tmp_path, address):
    box = boxes.find(address)
    assert box.address == address.lower()
    assert Path(box.home).parent.parent == tmp_path / "mail"


def test_mail_to_a_detail_address_goes_to_the_mailbox(boxes, tmp_path):
    assert boxes.find_recipient("name+tag+x@chat.example").address == "name@chat.example"
    assert boxes.find_recipient("name@chat.example").address == "name@chat.example"
    assert boxes.find_recipient("+tag@chat.example") is None
    other = store(tmp_path, "recipient_delimiter = -")
    assert other.find_recipient("na-me@chat.example").address == "na@chat.example"


def test_last_login_is_kept_to_the_day_and_goes_forward_only(box):
    box.set_last_login(NOW, NOW)
    assert not os.path.exists(box.home), "a login never creates anything"
    box.create(HASH, NOW)
    box.set_last_login(NOW + 3 * DAY + 5, NOW + 4 * DAY)
    assert os.stat(box.home + "/password").st_mtime == 20_003 * DAY == box.last_login()
    box.set_last_login(NOW, NOW + 4 * DAY)
    assert box.last_login() == 20_003 * DAY
    box.set_last_login(NOW + 1000 * DAY, NOW + 5 * DAY)
    assert box.last_login() == 20_005 * DAY


def test_a_login_from_the_future_is_forgotten_once_the_clock_is_right(box):
    box.create(HASH, NOW + 1000 * DAY)
    box.set_last_login(NOW, NOW)
    assert box.last_login() == 20_000 * DAY


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff\xfe\n", b"x" * 5000])
def test_a_file_without_a_hash_is_an_error_not_an_account(box, content):
    os.mkdir(box.home)
    Path(box.home, "password").write_bytes(content)
    with pytest.raises(StoreError, match="password"):
        box.hash()


def test_a_missing_disk_is_an_error_not_an_unknown_account(box):
    os.rmdir(os.path.dirname(box.home))
    for call in (box.hash, box.exists, box.is_blocked, box.last_login,
                 lambda: box.create(HASH, NOW)):
        with pytest.raises(StoreError, match="chat.example"):
            call()


def test_deleting_takes_account_and_mail_together(boxes, box):
    box.create(HASH, NOW)
    os.makedirs(box.home + "/cur")
    Path(box.home, "cur", "1.M1P1.host").write_text("mail")
    assert box.delete() is True
    assert names(boxes.root + "/chat.example") == []
    assert box.delete() is False
    box.settle()
    assert box.create(HASH, NOW) is Creation.DONE


def test_a_deleted_and_blocked_address_is_never_made_anew(box):
    box.create(HASH, NOW)
    os.makedirs(box.home + "/cur")
    assert box.delete(block=True) is True
    assert names(box.home) == ["blocked"] and names(os.path.dirname(box.home)) == [ADDRESS]
    assert box.create(HASH, NOW) is Creation.BLOCKED
    assert box.unblock() is True and not os.path.exists(box.home)
    box.settle()
    assert box.create(HASH, NOW) is Creation.DONE


def test_blocking_keeps_everything(box):
    box.create(HASH, NOW)
    box.block()
    box.block()
    assert box.is_blocked() and box.hash() == HASH
    assert box.unblock() is True and box.unblock() is False
    assert box.hash() == HASH and not box.is_blocked()


def test_an_address_can_be_blocked_before_it_exists(box):
    box.block()
    assert box.create(HASH, NOW) is Creation.BLOCKED
    assert box.hash() is None


def test_the_encryption_marker(box):
    with pytest.raises(StoreError, match="no such account"):
        box.enforce_encryption(False)
    box.create(HASH, NOW)
    box.enforce_encryption(False)
    assert not box.enforces_encryption()
    box.enforce_encryption(True)
    assert box.enforces_encryption()


def test_leftovers_of_nobody_are_replaced_by_a_new_account(box):
    os.makedirs(box.home + "/cur")
    Path(box.home, "cur", "old").write_text("of the previous owner")
    assert box.create(HASH, NOW) is Creation.DONE
    assert names(box.home) == ["enforceE2EEincoming", "password"]
    assert names(os.path.dirname(box.home)) == [ADDRESS]


def test_the_listing_shows_mailboxes_and_nothing_else(boxes, box):
    box.create(HASH, NOW)
    directory = os.path.dirname(box.home)
    os.mkdir(directory + "/.new-1")
    os.mkdir(directory + "/abc@other.example")
    Path(directory, "file@chat.example").write_text("")
    assert [found.address for found in boxes.of_domain("chat.example")] == [ADDRESS]
    os.rmdir(boxes.root + "/other.example")
    with pytest.raises(StoreError, match="other.example"):
        list(boxes.of_domain("other.example"))


def test_a_hundred_threads_make_one_account(box):
    start = threading.Barrier(100)
    outcomes = []

    def create(number):
        start.wait()
        outcomes.append((box.create(f"{{PLAIN}}{number}", NOW), number))

    threads = [threading.Thread(target=create, args=(n,)) for n in range(100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    [(_, winner)] = [pair for pair in outcomes if pair[0] is Creation.DONE]
    assert len(outcomes) == 100
    assert box.hash() == f"{{PLAIN}}{winner}"
    assert names(os.path.dirname(box.home)) == [ADDRESS]


def test_a_lock_that_is_not_given_back_is_an_error(tmp_path):
    with atomic.locked(str(tmp_path)):
        with pytest.raises(StoreError, match="locked"):
            with atomic.locked(str(tmp_path), timeout=0.01):
                pass
    with atomic.locked(str(tmp_path), timeout=0):
        pass


CALLS = ("mkdir", "open", "write", "fsync", "rename", "utime", "unlink", "close")


def _die_at(count, work):
    """Run `work` in a child that is killed before its `count`-th system call of interest."""
    def child():
        calls = 0

        def counted(function):
            def call(*args, **kwargs):
                nonlocal calls
                calls += 1
                if calls > count:
                    os._exit(9)
                return function(*args, **kwargs)
            return call

        for name in CALLS:
            setattr(os, name, counted(getattr(os, name)))
        work()
        os._exit(0)

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join()
    return process.exitcode


def test_killed_at_any_point_of_a_creation_leaves_all_or_nothing(boxes, box):
    directory = os.path.dirname(box.home)
    claims = directory + "/.invites"
    os.mkdir(claims)
    for count in range(100):
        claim = Path(claims, f"token{count}")
        claim.touch()
        died = _die_at(count, lambda: box.create(HASH, NOW, claim=str(claim)))
        made = box.hash() == HASH
        if not made:
            assert not os.path.exists(box.home)
        boxes.sweep(DOMAIN, NOW + 10 ** 9)
        assert names(directory) == [".invites"] + [ADDRESS] * made
        assert claim.exists() is not made
        if made:
            assert {"enforceE2EEincoming", "password"} <= set(names(box.home))
            box.delete()
            box.settle()
        else:
            claim.unlink()
        if not died:
            break
    assert died == 0 and count > 10


@pytest.mark.parametrize("block", [False, True])
def test_killed_at_any_point_of_a_deletion_never_resurrects(boxes, box, block):
    for count in range(100):
        box.unblock()
        box.settle()
        box.create(HASH, NOW)
        Path(box.home, "cur").mkdir()
        Path(box.home, "cur", "mail").write_text("mail")
        died = _die_at(count, lambda: box.delete(block))
        if not block:
            assert box.exists() == os.path.exists(box.home + "/cur/mail")
        elif not box.exists():
            assert box.create(HASH, NOW) is Creation.BLOCKED
        assert box.delete(block) in (True, False)
        boxes.sweep(DOMAIN, NOW + 10 ** 9)
        assert names(os.path.dirname(box.home)) == [ADDRESS] * block
        if not died:
            break
    assert died == 0 and count > 3


def _holds_mail(box):
    return box.hash() == HASH and Path(box.home, "cur", "mail").read_text() == "mail"


RESCUES = {
    "sweep": lambda boxes, box: boxes.sweep(DOMAIN, NOW),
    "login": lambda boxes, box: box.recover(),
    "creation": lambda boxes, box: box.create("{PLAIN}other", NOW),
    "next run": lambda boxes, box: box.delete(keep=lambda moved: True),
}


@pytest.mark.parametrize("rescue", RESCUES.values(), ids=RESCUES)
@pytest.mark.parametrize("wanted", [True, False], ids=["kept", "removed"])
def test_killed_at_any_point_of_a_second_look_loses_nothing(boxes, box, wanted, rescue):
    def keep(moved):
        assert not os.path.exists(box.home)
        os.close(os.open(f"{moved}/cur/mail", os.O_RDONLY))     # two more points to be killed at
        return wanted

    for count in range(100):
        box.create(HASH, NOW)
        os.mkdir(box.home + "/cur")
        Path(box.home, "cur", "mail").write_text("mail")
        died = _die_at(count, lambda: box.delete(keep=keep))
        rescue(boxes, box)
        assert _holds_mail(box) or not wanted and not os.path.exists(box.home + "/cur")
        boxes.sweep(DOMAIN, NOW)
        assert names(boxes.root + "/chat.example") in ([ADDRESS], [])
        box.delete()
        box.settle()
        if not died:
            break
    assert died == 0 and count > 5


def test_a_second_look_that_fails_changes_nothing(boxes, box):
    box.create(HASH, NOW)
    os.mkdir(box.home + "/cur")
    Path(box.home, "cur", "mail").write_text("mail")

    def keep(moved):
        raise FileNotFoundError(2, "No such file", moved)

    with pytest.raises(StoreError):
        box.delete(keep=keep)
    assert _holds_mail(box) and names(boxes.root + "/chat.example") == [ADDRESS]


def _killed_while_deciding(box):
    box.create(HASH, NOW)
    os.mkdir(box.home + "/cur")
    Path(box.home, "cur", "mail").write_text("mail")
    assert _die_at(99, lambda: box.delete(keep=lambda moved: os._exit(9))) == 9
    assert not os.path.exists(box.home)


def test_until_it_is_put_back_nobody_is_told_that_there_is_no_such_account(box):
    """Mail to it would be bounced, though it may have an owner who just logged in."""
    _killed_while_deciding(box)
    for call in (box.exists, box.enforces_encryption):
        with pytest.raises(StoreError, match="puts it back"):
            call()
    box.recover()
    assert box.exists()


@pytest.mark.parametrize("number", [errno.EIO, errno.EACCES])
def test_what_cannot_be_told_of_an_account_moved_aside_is_not_taken_for_no(
        box, monkeypatch, number):
    """A new account would take its place, and the old one go as rubbish."""
    _killed_while_deciding(box)
    real = os.lstat

    def ill(path, **options):
        if "/.aside-" in str(path):
            raise OSError(number, os.strerror(number))
        return real(path, **options)

    with monkeypatch.context() as patch:
        patch.setattr(os, "lstat", ill)
        for call in (box.exists, box.recover, box.delete, box.block,
                     lambda: box.create(HASH, NOW)):
            with pytest.raises(StoreError, match=os.strerror(number)):
                call()
    box.recover()
    assert _holds_mail(box)


@pytest.fixture(params=[errno.EIO, errno.EACCES])
def ill(request, monkeypatch):
    """A function: the disk tells nothing about paths that end so, from then on."""
    def fail(end):
        for name in ("stat", "lstat"):
            def refused(path, *arguments, real=getattr(os, name), **options):
                if str(path).endswith(end):
                    raise OSError(request.param, os.strerror(request.param))
                return real(path, *arguments, **options)
            monkeypatch.setattr(os, name, refused)

    return fail


@pytest.mark.parametrize("end, calls", [
    ("/blocked", lambda box: (box.usable_hash, box.is_blocked, box.marks)),
    ("/enforceE2EEincoming", lambda box: (box.marks, box.enforces_encryption)),
    (f"/.ended-{ADDRESS}", lambda box: (box.ended,)),
    (f"/.moving-{ADDRESS}~", lambda box: (lambda: departure.is_hidden(box.home),)),
    (f"/{ADDRESS}", lambda box: (box.delete, box.is_vacant)),
], ids=["blocked", "enforcing", "ended", "hidden", "there"])
def test_what_cannot_be_told_is_not_taken_for_no(box, ill, end, calls):
    """Or somebody who is blocked could log in, cleartext go to who wants none, ..."""
    box.create(HASH, NOW)
    ill(end)
    for call in calls(box):
        with pytest.raises(StoreError):
            call()


def test_what_a_connected_client_makes_is_no_reason_to_give_up_an_account(boxes, box):
    """Dovecot makes the directory anew for a client whose mailbox was moved aside."""
    _killed_while_deciding(box)
    os.makedirs(box.home + "/cur")
    assert boxes.sweep(DOMAIN, NOW, dry_run=True) == [box.home] and box.hash() is None
    assert len(boxes.sweep(DOMAIN, NOW)) == 1
    assert _holds_mail(box) and names(os.path.dirname(box.home)) == [ADDRESS]


@pytest.mark.parametrize("change", [
    lambda box: box.block(), lambda box: box.unblock(), lambda box: box.enforce_encryption(False),
], ids=["block", "unblock", "set"])
def test_what_an_admin_changes_is_put_back_first(boxes, box, change):
    _killed_while_deciding(box)
    change(box)
    assert _holds_mail(box)
    assert boxes.sweep(DOMAIN, NOW) == [] and _holds_mail(box)


def test_an_account_made_meanwhile_holds(boxes, box):
    """By hand, say, as the address looked free; what was there before is nobody's any more."""
    _killed_while_deciding(box)
    os.mkdir(box.home)
    Path(box.home, "password").write_text("{PLAIN}other\n")
    assert len(boxes.sweep(DOMAIN, NOW)) == 1
    assert box.hash() == "{PLAIN}other" and names(os.path.dirname(box.home)) == [ADDRESS]


def test_a_claim_is_used_up_once(boxes, box):
    os.mkdir(boxes.root + "/chat.example/.invites")
    claim = Path(boxes.root, "chat.example", ".invites", "token")
    claim.write_text("")
    other = boxes.find("somebody2@chat.example")
    box.create(HASH, NOW)
    assert box.create(HASH, NOW, claim=str(claim)) is Creation.EXISTS and claim.exists()
    assert other.create(HASH, NOW, claim=str(claim)) is Creation.DONE and not claim.exists()
    assert names(other.home) == ["enforceE2EEincoming", "password"]
    box.delete()
    box.settle()
    assert box.create(HASH, NOW, claim=str(claim)) is Creation.CLAIM_GONE
    assert not os.path.exists(box.home)


@pytest.mark.parametrize("ask", [
    lambda box: box.hash(), lambda box: box.exists(), lambda box: box.last_login(),
    lambda box: box.is_blocked(), lambda box: box.enforces_encryption(), lambda box: box.block(),
    lambda box: box.unblock(), lambda box: box.enforce_encryption(False),
    lambda box: box.set_last_login(NOW, NOW), lambda box: box.create(HASH, NOW),
], ids=["hash", "exists", "last_login", "is_blocked", "enforces_encryption", "block", "unblock",
        "enforce_encryption", "set_last_login", "create"])
def test_a_domain_that_is_no_directory_is_an_error_and_nobody_is_unknown(boxes, box, ask):
    Path(boxes.root, DOMAIN).rmdir()
    Path(boxes.root, DOMAIN).touch()
    with pytest.raises(StoreError, match=DOMAIN):
        ask(box)
