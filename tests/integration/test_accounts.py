"""Accounts through a real Dovecot: in on the first login, never locked out.

Whatever happens to our part, ordinary users beside it, of PAM and of a passwd-file, notice nothing.
"""

import contextlib
import imaplib
import itertools
import os
import pwd
import re
import smtplib
import socket
import threading
import time
from pathlib import Path

import pytest
from rig.files import replace
from rig.speed import in_time
from rig.stock import ORDINARY_USERS
from rig.until import until

PASSWORD = "a chat pässword \\\"'%u {PLAIN}"
WRONG = "the wrong %w pässword"
CAROL = "carol@ordinary.example"
CAROLS_PASSWORD = "carol's passwd-file secret"

CONF = Path("/etc/dovecot/conf.d")
MAIN_LUA = Path("/usr/share/chatmaild/chatmaild.lua")
SOCKET = Path("/run/chatmaild/doveauth.sock")
LMTP = "/var/spool/postfix/private/dovecot-lmtp"

NUMBERS = itertools.count(1)
SOURCES = itertools.count(1)

CAROLS_CONF = {
    "2.3": """\
passdb {
  driver = passwd-file
  args = /etc/dovecot/users
}
userdb {
  driver = passwd-file
  args = /etc/dovecot/users
}
auth_verbose = yes
auth_debug = yes
mail_debug = yes
""",
    "2.4": """\
passdb passwd-file {
  passwd_file_path = /etc/dovecot/users
}
userdb passwd-file {
  passwd_file_path = /etc/dovecot/users
}
auth_internal_failure_delay = 0
auth_verbose = yes
log_debug = category=auth or category=mail or category=lua or category=dict
""",
}
NO_PENALTY = """\
auth_failure_delay = 0
"""


@pytest.fixture(scope="module")
def release(running_host):
    return ".".join(running_host.run("dovecot", "--version").stdout.split(".")[:2])


@pytest.fixture(scope="module", autouse=True)
def ordinary_domain(running_host, release):
    """A passwd-file domain beside PAM, every debug log, and no pause after a wrong password."""
    bob = pwd.getpwnam("bob")
    users, conf = Path("/etc/dovecot/users"), CONF / "20-ordinary.conf"
    replace(users, f"{CAROL}:{{PLAIN}}{CAROLS_PASSWORD}"
            f":{bob.pw_uid}:{bob.pw_gid}::{bob.pw_dir}::\n")
    replace(conf, CAROLS_CONF[release] + NO_PENALTY)
    running_host.restart_dovecot()
    yield
    conf.unlink()
    users.unlink()
    running_host.restart_dovecot()


@pytest.fixture
def address(host):
    return new_address(host)


def new_address(host, domain=None):
    return f"user{next(NUMBERS):05d}@{domain or host.chat_domain}"


def connect(host, user, password, source=None):
    """A logged-in IMAP connection; imaplib's own login takes ASCII only.

    Dovecot makes clients wait longer and longer after failures, so each comes from elsewhere.
    """
    number = next(SOURCES)
    imap = host.imap_connection(source or f"127.1.{number // 250}.{number % 250 + 1}")
    try:
        secret = password if isinstance(password, bytes) else password.encode()
        imap.authenticate("PLAIN", lambda _: b"\0%s\0%s" % (user.encode(), secret))
    except BaseException:
        imap.shutdown()
        raise
    return imap


def login(host, user, password=PASSWORD, **where):
    """What comes of a login: "in", "refused" or "try later"."""
    try:
        connect(host, user, password, **where).logout()
    except imaplib.IMAP4.error as error:
        if "UNAVAILABLE" in str(error):
            return "try later"
        assert "AUTHENTICATIONFAILED" in str(error), error
        return "refused"
    return "in"


def deliver(recipient, sender="stranger@example.net"):
    """The answers of LMTP to a recipient, and to the mail for one that was accepted."""
    with smtplib.LMTP(LMTP) as lmtp:
        lmtp.ehlo()
        lmtp.mail(sender)
        code = lmtp.rcpt(recipient)[0]
        return code if code != 250 else lmtp.data(f"To: {recipient}\n\nNothing.\n")[0]


def ordinary_users_notice_nothing(host):
    assert login(host, "alice", ORDINARY_USERS["alice"]) == "in"
    assert login(host, CAROL, CAROLS_PASSWORD) == "in"
    assert deliver("alice") == 250 and deliver("nosuchuser") == 550


def test_the_first_login_creates_the_account(host, address):
    assert login(host, address) == "in"
    home = host.mailbox(address)
    assert home.owner() == "_chatmaild" and home.stat().st_mode & 0o777 == 0o700
    assert (home / "password").read_text().startswith("{SHA512-CRYPT}$6$")
    assert (home / "password").stat().st_mode & 0o777 == 0o600
    assert (home / "enforceE2EEincoming").exists()
    assert login(host, address) == "in"
    assert login(host, address, WRONG) == "refused"
    assert login(host, address, "") == "refused"
    assert login(host, address.upper()) == "in", "as Dovecot lowercases names"
    ordinary_users_notice_nothing(host)
    assert login(host, "alice", WRONG) == login(host, CAROL, WRONG) == "refused"
    assert login(host, "nobody@ordinary.example", WRONG) == "refused"


def test_a_first_login_over_smtp_creates_the_account_too(host, address):
    with host.smtp(address, "an ASCII password"):
        pass
    assert login(host, address, "an ASCII password") == "in"


@pytest.mark.parametrize("name, password", [
    ("short", PASSWORD), ("postmaster", PASSWORD), (".........", PASSWORD), ("abcdefghi", "short"),
    ("abcdefghi", "x" * 512), ("x" * 300, PASSWORD), ("a b'c\"d`e", PASSWORD),
])
def test_what_makes_no_account(host, name, password):
    assert login(host, f"{name}@{host.chat_domain}", password) == "refused"
    assert not host.mailbox(f"{name}@{host.chat_domain}"[:200]).exists()


def test_all_messages_that_postfix_gives_at_a_time_are_taken(host, address):
    """It gives twenty; what is put off here waits for minutes."""
    assert login(host, address) == "in"
    with contextlib.ExitStack() as stack:
        sessions = [stack.enter_context(smtplib.LMTP(LMTP)) for _ in range(20)]
        for session in sessions:
            session.ehlo()
            session.mail("stranger@example.net")
        assert {session.rcpt(address)[0] for session in sessions} == {250}


def test_what_chat_users_get(host, address, release):
    with connect(host, address, PASSWORD) as imap:
        capabilities = imap.capability()[1][0].split()
        assert {b"XDELTAPUSH", b"XCHATMAIL", b"METADATA", b"QUOTA"} <= set(capabilities)
        assert b"STORAGE 0 512000" in imap.getquotaroot("INBOX")[1][1][0]
        imap.append("INBOX", None, None, b"Subject: x\r\n\r\n" + b"x" * 5000)
    [message] = host.mailbox(address).glob("[nc]*/*,S=*")
    assert message.read_bytes()[:2] == b"\x1f\x8b", "compressed"
    assert message.owner() == "_chatmaild"
    seen = (host.mailbox(address) / "password").stat().st_mtime
    assert seen % 86400 == 0 and time.time() - seen < 2 * 86400
    assert deliver(address) == 250
    assert deliver(address.replace("@", "+tag@")) == 250
    assert len(list(host.mailbox(address).glob("[nc]*/*,S=*"))) == 3
    listed = host.run("doveadm", "user", "*").stdout.split()
    assert address in listed and "alice" in listed


def test_ordinary_users_get_nothing_of_it(host):
    with host.imap("alice", ORDINARY_USERS["alice"]) as imap:
        assert not {b"XDELTAPUSH", b"XCHATMAIL", b"METADATA", b"QUOTA"} & set(
            imap.capability()[1][0].split())


def test_mail_to_a_chat_name_does_not_reach_a_system_user_of_that_name(host):
    assert deliver(f"alice@{host.chat_domain}") == 550


def test_a_login_is_remembered_to_the_day(host, address):
    assert login(host, address) == "in"
    password = host.mailbox(address) / "password"
    os.utime(password, (86400, 86400))
    assert login(host, address) == "in"
    until(lambda: password.stat().st_mtime > 86400, "the login is recorded")
    assert password.stat().st_mtime % 86400 == 0


def test_a_blocked_account(host, address):
    assert login(host, address) == "in"
    (host.mailbox(address) / "blocked").touch()
    assert login(host, address) == "refused" and deliver(address) == 550
    (host.mailbox(address) / "blocked").unlink()
    assert login(host, address) == "in"


SCHEMES = ("SHA512-CRYPT", "BLF-CRYPT", "ARGON2ID", "SHA256-CRYPT", "SSHA512", "PLAIN")


@pytest.mark.parametrize("scheme", SCHEMES)
def test_an_account_of_a_relay(host, address, scheme):
    """A mailbox that was moved here, with a hash that we would not make."""
    home = host.mailbox(address)
    home.mkdir(mode=0o700)
    hashed = host.run("doveadm", "pw", "-s", scheme, "-p", PASSWORD).stdout
    assert hashed.startswith(f"{{{scheme}}}")
    (home / "password").write_text(hashed)
    host.run("chown", "-R", "_chatmaild:_chatmaild", home)
    assert login(host, address) == "in" and login(host, address, WRONG) == "refused"
    assert (home / "password").read_text() == hashed


@pytest.mark.parametrize("password", [
    bytes(range(0x20, 0x7f)), bytes(range(0x80, 0x100)), b"x" * 511, b"123456789", b" " * 9,
    bytes(byte for byte in range(2, 0x20) if byte not in b"\t\r\n"), b"%{user}%u%%%w$HOME`id`",
], ids=["ASCII", "Latin-1", "longest", "shortest", "blanks", "controls", "percent"])
def test_passwords_are_octets(host, address, password):
    assert login(host, address, password) == "in"
    assert login(host, address, password) == "in"
    other = password[:-1] + bytes([password[-1] ^ 1])
    assert login(host, address, other) == "refused"


@pytest.mark.parametrize("octet", b"\0\1\t\r\n", ids=["NUL", "SOH", "TAB", "CR", "LF"])
def test_what_dovecot_does_not_hand_over_makes_no_account(host, address, octet):
    """Or one whose owner comes back in, where this Dovecot does hand it over."""
    password = b"in front" + bytes([octet]) + b"behind"
    first = login(host, address, password)
    assert first == login(host, address, password)
    if first == "refused":
        assert not host.mailbox(address).exists()


def test_a_hash_without_a_scheme(host, address):
    """As /etc/shadow has it."""
    assert login(host, address) == "in"
    password = host.mailbox(address) / "password"
    password.write_text(password.read_text().removeprefix("{SHA512-CRYPT}"))
    assert login(host, address) == "in" and login(host, address, WRONG) == "refused"
    assert login(host, address, password.read_text().strip()) == "refused"


@pytest.mark.parametrize("stored", ["{NO-SUCH-SCHEME}x", "{SSHA}no base64", ""])
def test_a_hash_that_dovecot_cannot_use_is_no_wrong_password(host, address, stored):
    assert login(host, address) == "in"
    (host.mailbox(address) / "password").write_text(stored + "\n")
    assert login(host, address) == "try later"


@pytest.mark.parametrize("name, answer", [
    ("password", "try later"), ("blocked", "try later"), ("settings", "in")])
def test_nobody_waits_for_a_named_pipe_in_a_mailbox(host, address, name, answer):
    """It would hold an auth worker, of which the host has a few, until Dovecot kills that."""
    assert login(host, address) == "in"
    path = host.mailbox(address) / name
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    try:
        start = time.monotonic()
        assert login(host, address) == answer
        assert time.monotonic() - start < 30, "an auth worker is killed after a minute"
    finally:
        path.unlink()       # check, which other tests run, would name its owner


def test_an_account_over_whose_removal_the_run_was_killed(host, address):
    """It may have an owner who logged in at that moment: no mail bounces, and a login is enough."""
    assert login(host, address) == "in"
    home = host.mailbox(address)
    home.rename(home.with_name(f".aside-{address}"))
    assert deliver(address) == 451
    with host.smtp(port=25, source=host.stranger) as smtp:
        smtp.ehlo()
        smtp.mail("stranger@example.net")
        assert smtp.rcpt(address)[0] == 451
    with reconfigured(host, with_key("signup", "closed")):
        assert login(host, address, WRONG) == "refused"
        assert login(host, address) == "in" and deliver(address) == 250


def test_deliveries_create_nothing(host, address):
    assert deliver(address) == 550
    assert login(host, address) == "in", "and the refusal was not remembered"
    assert deliver(address) == 250


# -- when we are in trouble -----------------------------------------------------------------------


@contextlib.contextmanager
def down(host):
    with host.without("doveauth", "lastlogin", "metadata"):
        yield


@contextlib.contextmanager
def killed(host):
    host.services["doveauth"].kill()
    yield
    host.services["doveauth"].start()


@contextlib.contextmanager
def hung(host):
    with host.hanging("doveauth"):
        yield


@contextlib.contextmanager
def instead(host, talk):
    """Something else answers on doveauth's socket."""
    with host.without("doveauth"), listening(talk):
        yield


@contextlib.contextmanager
def listening(talk):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(SOCKET))
        listener.listen()

        def serve():
            with contextlib.suppress(OSError):
                while True:
                    connection = listener.accept()[0]
                    threading.Thread(target=talk, args=(connection,), daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        yield
        listener.shutdown(socket.SHUT_RDWR)
        SOCKET.unlink()


def garbage(host):
    def talk(connection):
        with contextlib.suppress(OSError), connection:
            while True:
                connection.sendall(b"\xff\0garbage" * 1000)
    return instead(host, talk)


def hangs_up(host):
    return instead(host, lambda connection: connection.close())


def claims_success(host):
    def talk(connection):
        with connection:
            connection.sendall(b'O{"user": "somebody", "password": "{PLAIN}anything"}\n')
    return instead(host, talk)


def dribbles(host):
    def talk(connection):
        with contextlib.suppress(OSError), connection:
            connection.recv(1)
            threading.Event().wait(60)
    return instead(host, talk)


def test_a_first_login_that_a_restart_cuts_off_is_tried_again(host, address):
    """Whoever answers hangs up on the first caller, and hands the second one to doveauth."""
    path, callers = f"{SOCKET}.real", []

    def talk(connection):
        callers.append(connection)
        if len(callers) == 1:
            connection.recv(4)
            return connection.close()
        with connection, socket.socket(socket.AF_UNIX) as real:
            real.connect(path)
            real.sendall(connection.recv(4096))
            connection.sendall(real.recv(4096))

    SOCKET.rename(path)
    try:
        with listening(talk):
            assert login(host, address) == "in"
    finally:
        Path(path).rename(SOCKET)
    assert len(callers) == 2


@pytest.mark.parametrize("trouble", [
    down, killed, hung, garbage, hangs_up, claims_success, dribbles,
], ids=lambda function: function.__name__)
def test_whoever_has_an_account_needs_no_doveauth(host, address, trouble):
    assert login(host, address) == "in"
    newcomer = new_address(host)
    with trouble(host):
        assert login(host, address) == "in"
        assert login(host, address, WRONG) == "refused"
        assert deliver(address) == 250
        start = time.monotonic()
        assert login(host, newcomer) == "try later"
        assert in_time(time.monotonic() - start, 10), "Postfix itself gives up then"
        assert login(host, newcomer) == "try later"
        assert not host.mailbox(newcomer).exists()
        ordinary_users_notice_nothing(host)
    host.restart_dovecot()      # or wait until a worker asks again
    assert login(host, newcomer) == "in"


def test_a_flood_of_newcomers_while_doveauth_hangs_does_not_hold_up_others(host):
    """Who waited in vain once, of the workers that Dovecot has for everybody, asks no more soon."""
    addresses = [new_address(host) for _ in range(64)]
    outcomes = []
    before = host.logs()["dovecot.log"]
    with host.hanging("doveauth"):
        flood = [threading.Thread(target=lambda a=a: outcomes.append(login(host, a)))
                 for a in addresses]
        for thread in flood:
            thread.start()
        while any(thread.is_alive() for thread in flood):
            assert login(host, "alice", ORDINARY_USERS["alice"]) == "in"
        for thread in flood:
            thread.join()
    assert outcomes == ["try later"] * 64
    waited = host.logs()["dovecot.log"][len(before):].count("doveauth: timeout")
    assert waited < 45, "there are 30 workers, and the other newcomers were told at once"
    host.restart_dovecot()


A_DIRECTORY = object()


@contextlib.contextmanager
def changed(path, content):
    """A file with other content, or missing (None), for a while; permissions as before."""
    before = path.read_bytes()
    path.unlink()
    if content is A_DIRECTORY:
        path.mkdir()
    elif content is not None:
        path.write_text(content)
        path.chmod(0o644)
    try:
        yield
    finally:
        path.rmdir() if path.is_dir() else path.unlink(missing_ok=True)
        path.write_bytes(before)
        path.chmod(0o644)


INI = Path("/etc/chatmaild/chatmaild.ini")
BROKEN = {
    "no ini": (INI, None),
    "empty ini": (INI, ""),
    "ini is a directory": (INI, A_DIRECTORY),
    "no mail_domains": (INI, "[chatmaild]\nmail_domians = chat.example.org\n"),
    "broken ini": (INI, "[chatmaild]\nmail_domains = chat.example.org\n}{\n"),
    "wrong value": (INI, "[chatmaild]\nmail_domains = chat.example.org\nmax_mailbox_size = much\n"),
    "no Lua": (MAIN_LUA, None),
    "no syntax": (MAIN_LUA, "this is no Lua"),
    "an error": (MAIN_LUA, "error('broken')"),
    "nothing": (MAIN_LUA, "return 5"),
    "no functions": (MAIN_LUA, "return function() return {} end"),
}


def chat_is_put_off_and_nobody_else(host, address):
    assert login(host, address) == "try later"
    assert login(host, new_address(host)) == "try later"
    assert deliver(address) == 451 and deliver(new_address(host)) == 451
    ordinary_users_notice_nothing(host)


@pytest.mark.parametrize("path, content", BROKEN.values(), ids=BROKEN)
def test_a_broken_part_of_ours_is_a_temporary_failure_of_chat_alone(host, address, path, content):
    assert login(host, address) == "in"
    with changed(path, content):
        host.restart_dovecot()
        chat_is_put_off_and_nobody_else(host, address)
    host.restart_dovecot()
    assert login(host, address) == "in" and deliver(address) == 250


def test_a_lost_configuration_where_the_mailboxes_are_elsewhere(host, address):
    """Nothing in the usual places tells then which domains are for chat, but what Lua remembers."""
    elsewhere = Path("/srv/chat")
    host.run("install", "-d", "-o", "_chatmaild", "-m", "0750", elsewhere)
    away = host.mailboxes.with_name("away")
    host.mailboxes.rename(away)
    try:
        with reconfigured(host, with_key("mailboxes_dir", elsewhere)):
            assert login(host, address) == "in" and deliver(address) == 250
            assert (elsewhere / host.chat_domain / address / "password").exists()
            for content in (None, "", "[chatmaild]\nmailboxes_dir = /srv/chat\n"):
                with changed(INI, content):
                    chat_is_put_off_and_nobody_else(host, address)
                    host.restart_dovecot()
                    chat_is_put_off_and_nobody_else(host, address)
            assert login(host, address) == "in"
    finally:
        away.rename(host.mailboxes)
    host.services["doveauth"].reload()
    host.restart_dovecot()


def test_which_domains_are_remembered_follows_the_configuration(host, address):
    """Even if each of Dovecot's workers sees only some of the changes."""
    def lookup(user):
        return host.run("doveadm", "user", user, check=False).returncode

    other = "somebody1@other.example.org"
    assert login(host, address) == "in"
    with changed(INI, INI.read_text().replace(host.chat_domain, "other.example.org")):
        assert lookup(address) == os.EX_NOUSER
        INI.unlink()
        assert lookup(address) == os.EX_NOUSER and lookup(other) == os.EX_TEMPFAIL
        INI.touch()
    assert lookup(address) == os.EX_OK
    with changed(INI, None):
        assert lookup(address) == os.EX_TEMPFAIL and lookup(other) == os.EX_NOUSER


def test_a_repaired_configuration_needs_no_reload(host, address):
    assert login(host, address) == "in"
    with changed(host.ini, "["):
        assert login(host, address) == "try later"
    assert login(host, address) == "in"


@contextlib.contextmanager
def reconfigured(host, change):
    """The services use `change(chatmaild.ini)` meanwhile."""
    before = host.ini.read_text()
    host.configure(change(before))
    try:
        yield
    finally:
        host.configure(before)


def with_key(key, value):
    def change(text):
        changed, count = re.subn(rf"(?m)^#?{key} = .*$", f"{key} = {value}", text)
        assert count == 1, key
        return changed
    return change


def test_a_host_without_room_for_newcomers_is_no_wrong_password(host, address):
    """`max_load_1m` goes the same way; nobody can have a certain load."""
    assert login(host, address) == "in"
    with reconfigured(host, with_key("min_free_disk_space", "999T")):
        assert login(host, new_address(host)) == "try later"
        assert login(host, address, WRONG) == "refused"
        assert login(host, address) == "in"


def test_a_full_disk(host, address):
    """On a small disk of its own, full to the last block."""
    host.run("mount", "-t", "tmpfs", "-o", "size=256k,mode=0750,uid=_chatmaild,gid=_chatmaild",
             "tmpfs", host.mailboxes)
    domain = host.mailboxes / host.chat_domain
    host.run("install", "-d", "-o", "_chatmaild", "-g", "_chatmaild", "-m", "700", domain)
    try:
        def both(text):
            return with_key("min_free_disk_space", "0")(with_key("min_free_inodes", "0")(text))
        with reconfigured(host, both):
            assert login(host, address) == "in"
            newcomer = new_address(host)
            filler = host.mailboxes / "filler"
            with contextlib.suppress(OSError), open(filler, "wb", buffering=0) as file:
                while True:
                    file.write(b"x" * 4096)
            assert login(host, newcomer) == "try later"
            assert os.listdir(domain) == [address]
            ordinary_users_notice_nothing(host)
            authenticated = host.run("doveadm", "auth", "test", "-x", "service=imap", address,
                                     PASSWORD, check=False)
            assert authenticated.returncode == 0
            filler.unlink()
            assert login(host, newcomer) == "in"
    finally:
        host.run("umount", "--lazy", host.mailboxes)
    host.services["doveauth"].reload()


def test_a_disk_that_is_not_there_is_a_temporary_failure(host, address):
    assert login(host, address) == "in"
    away = host.mailboxes.with_name("away")
    (host.mailboxes / host.chat_domain).rename(away)
    try:
        assert login(host, address) == "try later"
        assert deliver(address) == 451
        ordinary_users_notice_nothing(host)
    finally:
        away.rename(host.mailboxes / host.chat_domain)
    assert login(host, address) == "in"


def test_a_disk_that_turned_read_only_is_a_temporary_failure(host, address):
    """As the kernel does it after an error."""
    assert login(host, address) == "in"
    host.run("mount", "--bind", host.mailboxes, host.mailboxes)
    host.run("mount", "-o", "remount,bind,ro", host.mailboxes)
    try:
        assert login(host, new_address(host)) == "try later"
        assert deliver(address) == 451
        ordinary_users_notice_nothing(host)
        for command in (["expire"], ["accounts", "delete", "--yes", address]):
            done = host.chatmaild(*command, check=False)
            assert done.returncode == 1 and "Read-only file system" in done.stderr, command
    finally:
        host.run("umount", "--lazy", host.mailboxes)
    assert login(host, address) == "in" and deliver(address) == 250


def test_without_the_directory_of_our_sockets_only_newcomers_wait(host, address):
    """Somebody cleaned /run up."""
    assert login(host, address) == "in"
    run = Path("/run/chatmaild")
    away = run.with_name("away")
    run.rename(away)
    try:
        assert login(host, address) == "in" and deliver(address) == 250
        assert login(host, new_address(host)) == "try later"
        ordinary_users_notice_nothing(host)
    finally:
        away.rename(run)


# -- signup ---------------------------------------------------------------------------------------


def test_the_limit_counts_networks_of_clients(host):
    with reconfigured(host, with_key("max_client_signups_per_hour", "2")):
        outcomes = [login(host, new_address(host), source=host.stranger) for _ in range(3)]
        assert outcomes == ["in", "in", "refused"]
        assert login(host, new_address(host)) == "in", "loopback is not limited"
    log = host.services["doveauth"].log_text()
    assert "reason=client-limit" in log and host.stranger not in log


def test_a_quota_and_a_password_of_ones_own(host, address):
    connect(host, address, PASSWORD).logout()
    host.chatmaild("accounts", "set", address, "--quota", "2M")
    imap = connect(host, address, PASSWORD)
    assert b"STORAGE 0 2048" in imap.getquotaroot("INBOX")[1][1][0]
    replace(secret := Path("/root/secret"), "another password\n")
    host.chatmaild("accounts", "password", address, "--password-file", secret)
    with pytest.raises((imaplib.IMAP4.abort, OSError)):     # Dovecot says BYE, or is gone
        for _ in range(2):
            imap.noop()
    imap.shutdown()
    assert login(host, address) == "refused"
    assert login(host, address, "another password") == "in"


def test_two_chat_domains(host, release):
    other = "other.example.org"
    conf = CONF / "05-chatmaild.conf"
    text = conf.read_text()
    filtered = f"username_filter = *@{host.chat_domain}"
    assert filtered in text
    with changed(conf, text.replace(filtered, f"{filtered} *@{other}")), \
            reconfigured(host, lambda ini: with_key("mail_domains", f"{host.chat_domain} {other}")(
                ini) + f"\n[domain {other}]\nmax_mailbox_size = 1M\nusername_max_length = 20\n"):
        host.restart_dovecot()
        long_name = f"a-long-name-{next(NUMBERS)}"
        assert login(host, f"{long_name}@{host.chat_domain}") == "refused"
        with connect(host, f"{long_name}@{other}", PASSWORD) as imap:
            assert b"STORAGE 0 1024" in imap.getquotaroot("INBOX")[1][1][0]
        assert host.mailbox(f"{long_name}@{other}").is_dir()
        assert login(host, new_address(host)) == "in"
        ordinary_users_notice_nothing(host)
    host.restart_dovecot()


def test_a_hundred_clients_race_for_one_address(host, address):
    # A Dovecot 2.4 that just started, on a busy machine, waits 5 s for its own statistics service
    # and gives up on its workers meanwhile.
    assert login(host, new_address(host)) == "in"
    before = host.services["doveauth"].log_text().count("account created")
    outcomes = []
    ready = threading.Barrier(100)

    def client():
        ready.wait()
        outcomes.append(login(host, address))

    race = [threading.Thread(target=client) for _ in range(100)]
    for thread in race:
        thread.start()
    for thread in race:
        thread.join()
    assert outcomes == ["in"] * 100
    assert host.services["doveauth"].log_text().count("account created") == before + 1
    home = host.mailbox(address)
    assert (home / "password").read_text().count("$6$") == 1
    assert not [each for each in os.listdir(home.parent) if each.startswith(".new-")]
    assert login(host, address) == "in" and login(host, address, WRONG) == "refused"


def test_no_password_in_any_log(host):
    """The last test: Dovecot's debug logs of all the others hold none, spelled in any way."""
    logs = host.logs()
    assert "Debug" in logs["dovecot.log"]
    for secret in (PASSWORD, WRONG, CAROLS_PASSWORD, *ORDINARY_USERS.values(), "pässword",
                   "an ASCII password", "p\\xc3", "in front", "$HOME`id`", "0123456789:;"):
        for name, text in logs.items():
            assert secret not in text, f"{secret} in {name}"
