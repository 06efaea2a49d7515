"""Accounts move from one host to another, or come back from a backup, as they were."""

import io
import json
import os
import tarfile
import time
from pathlib import Path

import pytest

from chatmaild import cli
from chatmaild.accounts import transfer
from chatmaild.accounts.mailboxes import Mailboxes
from chatmaild.config import inifile
from chatmaild.errors import StoreError
from chatmaild.push.tokens import DeviceTokens

DOMAIN = "chat.example.org"
ALICE, BOB = f"alice@{DOMAIN}", f"bob@{DOMAIN}"
HASH = "{SHA512-CRYPT}$6$salt$secret"
DAY = 86_400
NOW = 1_800_000_000
MESSAGE = "1799000000.M1P1.mx,S=20,W=21:2,S"


class Host:
    def __init__(self, path, capsys):
        self.path, self.capsys = path, capsys
        path.mkdir()
        self.ini = path / "chatmaild.ini"
        self.ini.write_text(f"[chatmaild]\nmail_domains = {DOMAIN}\nmail_user = root\n"
                            f"mailboxes_dir = {path}/mail\npush_tokens_dir = {path}/tokens\n")
        (path / "tokens").mkdir(mode=0o700)
        self.tokens = DeviceTokens(path / "tokens")
        self.mailboxes = Mailboxes(inifile.load(self.ini))
        self.mailboxes.prepare()

    def find(self, address):
        return self.mailboxes.find(address)

    def accounts(self, *arguments):
        """Exit code, stdout, stderr of ``chatmaild accounts ...``."""
        code = cli.main(["-c", str(self.ini), "accounts", *map(str, arguments)])
        captured = self.capsys.readouterr()
        return code, captured.out, captured.err

    def left_behind(self):
        return [name for name in os.listdir(self.path / "mail" / DOMAIN) if name[0] == "."
                and not name.startswith(".ended")]


@pytest.fixture
def old(tmp_path, capsys):
    return Host(tmp_path / "old", capsys)


@pytest.fixture
def new(tmp_path, capsys):
    return Host(tmp_path / "new", capsys)


def put(home, path, content=b"From: a@b\r\n\r\nhello\r\n"):
    file = Path(home, path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)


@pytest.fixture
def alice(old):
    """An account with all that one can have."""
    box = old.find(ALICE)
    box.create(HASH, NOW)
    put(box.home, f"cur/{MESSAGE}")
    put(box.home, ".Chats/new/1799000001.M1P1.mx,S=20", b"x" * 20)
    put(box.home, "dovecot-uidlist", b"3 V1 N2\n1 :1799000000.M1P1.mx,S=20,W=21\n")
    box.set_settings({"max_mailbox_size": 1 << 30})
    box.enforce_encryption(False)
    old.tokens.add(old.tokens.ref(ALICE), "fcm-token", 1_799_999_000)
    return box


def snapshot(box):
    files = {str(path.relative_to(box.home)): path.read_bytes()
             for path in Path(box.home).rglob("*") if path.is_file()}
    files.pop("metadata.json", None)
    return files, box.last_login(), box.is_blocked(), box.enforces_encryption(), box.settings()


def test_a_whole_account_moves(old, new, alice, tmp_path, monkeypatch):
    monkeypatch.setattr("time.time", lambda: float(NOW))
    assert old.accounts("export", "--complete", ALICE, tmp_path / "a.tar")[0] == 0
    assert new.accounts("import", tmp_path / "a.tar") == (0, f"{ALICE}: 2 messages\n", "")
    came = new.find(ALICE)
    assert snapshot(came) == snapshot(alice)
    ref = new.tokens.ref(ALICE)
    assert new.tokens.take_over(ref, came.home, NOW) == 1
    assert new.tokens.current(ref, NOW) == ("fcm-token",)
    assert new.left_behind() == []
    assert new.accounts("import", tmp_path / "a.tar")[::2] == (
        1, f"chatmaild: {ALICE}: there is such an account already; delete it first, or give the "
        "new one another ADDRESS\n")


def test_mail_alone_makes_a_new_account(old, new, alice, tmp_path):
    old.accounts("export", ALICE, tmp_path / "a.tar")
    code, out, _ = new.accounts("import", tmp_path / "a.tar", BOB, "--json")
    [made] = json.loads(out)
    assert code == 0 and made["address"] == BOB and len(made["password"]) == 22
    came = new.find(BOB)
    assert came.enforces_encryption() and came.settings() == {} and not new.find(ALICE).exists()
    assert Path(came.home, "cur", MESSAGE).exists()


def test_a_relays_domain_comes_as_it_is(old, new, alice, tmp_path):
    """A relay's mailboxes have the same layout; what it keeps beside them is not ours."""
    old.find(BOB).create(HASH, NOW - 40 * DAY)
    relay = tmp_path / "old" / "mail" / DOMAIN
    (relay / "echo@other.example" / "cur").mkdir(parents=True)
    (relay / "doveauth.lock").touch()
    code, out, err = new.accounts("import", relay)
    assert code == 1 and "echo@other.example: not in a chat domain" in err
    assert out == f"{ALICE}: 2 messages\n{BOB}: 0 messages\n"
    assert new.find(BOB).last_login() == (NOW - 40 * DAY) // DAY * DAY
    assert snapshot(new.find(ALICE)) == snapshot(alice)
    assert new.accounts("import", relay / BOB, f"bobby@{DOMAIN}")[0] == 0
    assert new.find(f"bobby@{DOMAIN}").hash() == HASH


def test_a_blocked_account_stays_so_and_a_blocked_address_takes_none(old, new, alice, tmp_path):
    alice.block()
    old.accounts("export", "--complete", ALICE, tmp_path / "a.tar")
    new.accounts("import", tmp_path / "a.tar")
    assert new.find(ALICE).is_blocked() and new.find(ALICE).exists()
    new.find(BOB).block()
    code, _, err = new.accounts("import", tmp_path / "a.tar", BOB)
    assert code == 1 and "unblock" in err and not new.find(BOB).exists()


def archive(*entries, mode="w"):
    """A tar archive of (name, content), or of ready members."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as tar:
        for name, content in entries:
            info = name
            if isinstance(name, str):
                info = tarfile.TarInfo(name)
                info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


def link(name, target):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = tarfile.SYMTYPE, target
    return info, b""


def receive(host, content):
    complaints = []
    found = list(transfer.receive(io.BytesIO(content), host.find, lambda box: HASH,
                                  complaints.append, lambda: None))
    return found, complaints


@pytest.mark.parametrize("entry", [
    (f"{ALICE}/../evil", b"x"), (f"{ALICE}/cur/../../evil", b"x"), (f"{ALICE}/cur/.hidden", b"x"),
    (f"{ALICE}/.../cur/x", b"x"), (f"{ALICE}/evil", b"x"), (f"{ALICE}/.a/.b/cur/x", b"x"),
    (f"{ALICE}/tmp/x", b"x"), (f"{ALICE}/cur/{'x' * 300}", b"x"), (f"{ALICE}/.F/password", b"x"),
    (f"{ALICE}/cur/", b"x"), link(f"{ALICE}/cur/x", "/etc/passwd"), link(f"{ALICE}/.F", "/etc"),
])
def test_what_belongs_into_no_mailbox_is_left_out_and_told(new, entry):
    found, complaints = receive(new, archive((f"{ALICE}/cur/{MESSAGE}", b"hello"), entry))
    assert [moved.messages for moved in found] == [1] and len(complaints) == 1
    assert "does not belong in a mailbox" in complaints[0]
    below = Path(new.path, "mail").rglob("*")
    assert not [path for path in below if path.is_symlink() or path.name in ("evil", "x")]


def test_of_what_is_there_twice_the_first_counts(new):
    message = f"{ALICE}/cur/{MESSAGE}"
    found, complaints = receive(new, archive(
        (message, b"hello"), (message, b"another"), (f"{BOB}/password", HASH.encode())))
    assert [moved.messages for moved in found] == [1, 0] and "twice" in complaints[0]
    assert Path(new.find(ALICE).home, "cur", MESSAGE).read_bytes() == b"hello"


@pytest.mark.parametrize("mtime", ["1e300", "nan", "-1", "9e18"])
def test_a_time_that_no_file_can_have_is_now(new, mtime):
    info = tarfile.TarInfo(f"{ALICE}/password")
    info.size, info.pax_headers = len(HASH), {"mtime": mtime}
    receive(new, archive((info, HASH.encode())))
    assert time.time() - 2 * DAY < new.find(ALICE).last_login() <= time.time()


@pytest.mark.parametrize("entry, said", [
    ((f"{ALICE}/password", b"plain"), "no hash"), ((f"{ALICE}/password", b"{X}" * 2000), "no hash"),
    ((f"{ALICE}/settings", b"a = b"), "not a setting"),
])
def test_an_account_that_cannot_work_is_not_made_and_the_next_one_is(new, entry, said):
    found, _ = receive(new, archive(entry, (f"{BOB}/password", HASH.encode())))
    assert said in str(found[0]) and found[1].mailbox.address == BOB
    assert not new.find(ALICE).exists() and new.find(BOB).hash() == HASH
    assert new.left_behind() == []


def whole():
    return archive((f"{BOB}/password", HASH.encode()), (f"{ALICE}/password", HASH.encode()),
                   (f"{ALICE}/cur/{MESSAGE}", b"x" * 2000))


@pytest.mark.parametrize("kept", range(512, 6 * 512 + 2048, 512))
def test_an_archive_cut_short_makes_no_half_account(new, kept):
    with pytest.raises(StoreError):
        receive(new, whole()[:kept])
    assert not new.find(ALICE).exists() and new.left_behind() == []


def test_what_came_before_the_cut_is_told_and_the_file_named(new, tmp_path):
    (tmp_path / "cut.tar").write_bytes(whole()[:2048])
    assert new.accounts("import", tmp_path / "cut.tar") == (
        1, f"{BOB}: 0 messages\n", f"chatmaild: {tmp_path}/cut.tar: the archive is cut short; the "
        "last account in it was not made\n")


def test_a_compressed_archive_cut_short_makes_no_half_account(new):
    content = archive((f"{ALICE}/password", HASH.encode()),
                      (f"{ALICE}/cur/{MESSAGE}", os.urandom(9999)), mode="w:gz")
    with pytest.raises(StoreError):
        receive(new, content[:-2000])
    assert receive(new, content)[0][0].messages == 1


def told(name, content, kind=tarfile.REGTYPE, **headers):
    """An entry with these pax headers, or of an old kind."""
    info = tarfile.TarInfo(name)
    info.size, info.type = len(content), kind
    info.pax_headers = {key.replace("_", "."): value for key, value in headers.items()}
    return info, content


LARGE = str(1 << 26)


@pytest.mark.parametrize("entry", [
    told(f"{ALICE}/cur/x", b"x", comment="x" * (1 << 20)),
    told("x", b"x" * (2 << 20), tarfile.GNUTYPE_LONGNAME),
    told("x", b"x" * (2 << 20), tarfile.GNUTYPE_LONGLINK),
    told("x", b"x" * (2 << 20), tarfile.XGLTYPE),
    told(f"{ALICE}/cur/x", b"x", tarfile.GNUTYPE_SPARSE),
    told(f"{ALICE}/cur/x", b"1\n0\n1\n".ljust(512), GNU_sparse_major="1", GNU_sparse_minor="0",
         GNU_sparse_realsize=LARGE),
    told(f"{ALICE}/cur/x", b"1\n" + b"1" * 5000, GNU_sparse_major="1", GNU_sparse_minor="0"),
    told(f"{ALICE}/cur/x", b"x", GNU_sparse_map="0,1", GNU_sparse_size=LARGE),
    told(f"{ALICE}/cur/x", b"x", GNU_sparse_size=LARGE),
])
def test_a_small_archive_takes_no_memory_or_disk_without_end(new, entry):
    with pytest.raises(StoreError, match="header of more than|sparse file"):
        receive(new, archive(entry, (f"{ALICE}/password", HASH.encode())))
    assert not new.find(ALICE).exists() and new.left_behind() == []


@pytest.mark.parametrize("content", [b"", b"no archive" * 1000, b"\x1f\x8b" + b"x" * 600])
def test_what_is_no_archive(new, content):
    with pytest.raises(StoreError, match="archive"):
        receive(new, content)


def test_an_archive_without_an_account_is_named(new, tmp_path):
    (tmp_path / "empty.tar").write_bytes(bytes(10240))
    code, _, err = new.accounts("import", tmp_path / "empty.tar")
    assert code == 1 and err.endswith("empty.tar: no account in it\n")


def test_a_source_that_is_not_there(new, tmp_path):
    assert new.accounts("import", tmp_path / "nothing")[0] == 2
    (tmp_path / "empty").mkdir()
    code, _, err = new.accounts("import", tmp_path / "empty")
    assert code == 2 and "name@domain" in err
