"""Whatever the tree and the policy: what `chatmaild expire` removes, and what it leaves alone.

The model here decides about each message on its own, from what the test knows it made; it shares
no code with the product.
"""

import contextlib
import io
import os
import shutil
import stat
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from hypothesis import given, settings, strategies as st

from chatmaild import cli

NOW = -int(-(time.time() - 28_800) // 86_400) * 86_400 + 28_800
"""The next time that it is eight: a directory of this run is less than a day old, so none of the
folders is unused."""
DAY = 86_400
CHAT, OTHER = "chat.example", "ordinary.example"

# Ages in seconds: around every limit that the policies below can have, and anything else.
ages = st.one_of(
    st.builds(lambda days, off: days * DAY + off, st.integers(0, 42), st.integers(-1, 1)),
    st.integers(-5 * DAY, 400 * DAY))
sizes = st.sampled_from([0, 1, 900, 99_999, 100_000, 199_999, 200_000, 200_001, 300_000, 2_000_000])
local_parts = st.sampled_from(["alice", "bob", "carol"])
folders = st.sampled_from(["", "", ".Sent", ".A.B", ".&AMQ-"])


@dataclass(frozen=True)
class Message:
    domain: str
    local: str
    folder: str
    kind: str
    style: str
    """dovecot, unsized, foreign, or link: a symbolic link with a name as Dovecot's."""
    age: int
    """Of the name; for a foreign name of the file."""
    mtime_age: int
    size: int

    @property
    def home(self):
        return f"{self.domain}/{self.local}@{self.domain}"

    def name(self, number):
        stamp = f"{NOW - self.age}.M{number}P7.host"
        return {"dovecot": f"{stamp},S={self.size},W={self.size + 9}:2,S", "unsized": f"{stamp}:2,",
                "foreign": f"{number}.eml", "link": f"{stamp},S={self.size}"}[self.style]

    def path(self, number):
        return os.path.join(self.home, self.folder, self.kind, self.name(number))

    @property
    def clock(self):
        age = self.age if self.style != "foreign" and self.age >= 0 else max(self.mtime_age, 0)
        return NOW - age

    def octets(self):
        return self.size if self.style in ("dovecot", "link") else 3

    def is_due(self, policy):
        age = NOW - self.clock
        return age > policy.mails * DAY or (
            self.kind == "cur" and self.octets() > 200_000 and age > policy.large * DAY)


messages = st.builds(
    Message, domain=st.sampled_from([CHAT, CHAT, CHAT, OTHER]), local=local_parts, folder=folders,
    kind=st.sampled_from(["cur", "cur", "new", "tmp"]),
    style=st.sampled_from(["dovecot"] * 5 + ["unsized", "foreign", "link"]),
    age=ages, mtime_age=ages, size=sizes)


@dataclass(frozen=True)
class Policy:
    mails: int
    large: int
    quota: int
    inactive: int

    def ini(self, root):
        return (f"[chatmaild]\nmail_domains = {CHAT}\nmailboxes_dir = {root}\nmail_user = root\n"
                f"delete_mails_after = {self.mails}\ndelete_large_after = {self.large}\n"
                f"max_mailbox_size = {self.quota}\n"
                f"delete_inactive_users_after = {self.inactive}\n")


policies = st.builds(
    Policy, mails=st.integers(2, 40), large=st.integers(1, 40),
    quota=st.sampled_from([10**6, 3 * 10**6, 10**9]), inactive=st.integers(30, 120))
# Days since the last login of each account; None: no account.
logins = st.fixed_dictionaries({
    local: st.one_of(st.none(), st.integers(0, 6), st.integers(8, 200))
    for local in ("alice", "bob", "carol")})


class Tree:
    """A tree in a directory of its own, from what hypothesis made up."""

    def __init__(self, directory, mail, policy, logins):
        self.directory = Path(directory)
        self.root = self.directory / "mail"
        self.policy = policy
        self.logins = logins
        self.ini = self.directory / "chatmaild.ini"
        self.victim = self.directory / "victim"
        self.victim.write_text("outside")
        self.messages = {}
        for number, message in enumerate(mail):
            self._put(message.path(number), message)
            self.messages[message.path(number)] = message
        (self.root / CHAT).mkdir(parents=True, exist_ok=True)
        for local, days in logins.items():
            for domain in (CHAT, OTHER):
                home = self.root / domain / f"{local}@{domain}"
                if days is not None and (domain == CHAT or home.is_dir()):
                    home.mkdir(exist_ok=True)
                    (home / "password").write_text("{CRYPT}$x\n")
                    os.utime(home / "password", (NOW - days * DAY - 5,) * 2)
        for home in self.root.glob("*/*@*"):
            (home / "dovecot-uidlist").write_text("3 V1")
            os.utime(home, (NOW - 3 * DAY,) * 2)
        self.write_ini()

    def _put(self, path, message):
        path = self.root / path
        path.parent.mkdir(parents=True, exist_ok=True)
        if message.style == "link":
            path.symlink_to(self.victim)
        else:
            path.write_bytes(b"abc")
        os.utime(path, (NOW - message.mtime_age,) * 2, follow_symlinks=False)

    def write_ini(self):
        self.ini.write_text(self.policy.ini(self.root))

    def copy(self, directory):
        """The same in another directory."""
        shutil.copytree(self.directory, directory, symlinks=True, dirs_exist_ok=True)
        twin = object.__new__(Tree)
        twin.__dict__.update(self.__dict__, directory=Path(directory),
                             root=Path(directory) / "mail", ini=Path(directory) / "chatmaild.ini")
        twin.write_ini()
        return twin

    def expire(self, *arguments):
        """Exit code and lines of standard output."""
        with contextlib.redirect_stdout(io.StringIO()) as out, \
                contextlib.redirect_stderr(io.StringIO()):
            code = cli.main(["-c", str(self.ini), "expire", "--now", str(NOW), *arguments])
        return code, out.getvalue().splitlines()

    def state(self):
        """What is there, by path relative to the tree, but for the state file and the memory of
        accounts that ended."""
        found = {}
        for path in [*self.directory.rglob("*")]:
            info = path.lstat()
            regular = stat.S_ISREG(info.st_mode)
            if (path.name not in (".expire.json", "chatmaild.ini")
                    and not path.name.startswith(".ended-")):
                found[str(path.relative_to(self.root.parent))] = (
                    stat.S_IFMT(info.st_mode), info.st_size if regular else 0,
                    int(info.st_mtime) if not path.is_dir() else 0)
        return found

    # The model

    def tracked(self):
        return any(days is not None and days <= 6 for days in self.logins.values())

    def is_inactive(self, home):
        days = self.logins.get(Path(home).name.partition("@")[0])
        return days is not None and days * DAY + 5 > self.policy.inactive * DAY

    def check(self, before, after):
        """Whether the step from one state to the other is what the policy asks for."""
        homes = {f"mail/{CHAT}/{local}@{CHAT}" for local in self.logins}
        for path in before:
            if not any(path == home or path.startswith(f"{home}/") for home in homes):
                assert after.get(path) == before[path], f"{path} is none of our business"
        assert after.keys() <= before.keys()
        for home in homes:
            if self.is_inactive(home) and self.tracked():
                assert home not in after
            else:
                self.check_mailbox(home, before, after)

    def check_mailbox(self, home, before, after):
        mail = {f"mail/{path}": message for path, message in self.messages.items()
                if f"mail/{message.home}" == home}
        kept = {path: each for path, each in mail.items() if not each.is_due(self.policy)}
        has_account = self.logins[Path(home).name.partition("@")[0]] is not None
        for path in mail.keys() - kept.keys():
            assert path not in after, "older than the policy allows"
        if not has_account and not any(path in after for path in kept):
            assert home not in after, "nobody's and empty"
        else:
            for path in before:
                if path.startswith(f"{home}/") and path not in mail:
                    assert path in after, f"{path} is no message"
        assert all(path in after for path, each in kept.items() if each.kind == "tmp")
        stored = [path for path, each in kept.items() if each.kind != "tmp"]
        total = sum(kept[path].octets() for path in stored)
        trimmed = sorted(stored, key=lambda path: self.order(path, kept[path]))
        gone = [path for path in trimmed if path not in after]
        if total <= self.policy.quota * 80 // 100:
            assert not gone
            return
        assert gone == trimmed[:len(gone)], "the oldest first"
        assert all(kept[path].clock < NOW - DAY for path in gone), "the last 24 hours are spared"
        target = self.policy.quota * 70 // 100
        left = total - sum(kept[path].octets() for path in gone)
        more = [path for path in trimmed[len(gone):] if kept[path].clock < NOW - DAY]
        assert left <= target or not more
        if gone:
            assert left + kept[gone[-1]].octets() > target, "no more than needed"

    @staticmethod
    def order(path, message):
        return message.clock, message.folder, message.kind, os.path.basename(path)


@settings(max_examples=100, deadline=None)
@given(st.lists(messages, max_size=25), policies, logins)
def test_what_is_due_goes_and_nothing_else(mail, policy, logins):
    with tempfile.TemporaryDirectory() as directory:
        tree = Tree(directory, mail, policy, logins)
        before = tree.state()
        code, dry = tree.expire("--dry-run")
        assert tree.state() == before, "a dry run changes nothing"
        assert not (tree.root / ".expire.json").exists()
        inactive = any(tree.is_inactive(local) for local in logins)
        assert code == (1 if inactive and not tree.tracked() else 0)
        assert tree.expire("-v")[0] == code
        after = tree.state()
        tree.check(before, after)
        named = {os.path.relpath(line.split(" ", 1)[1], directory) for line in dry[:-1]}
        gone = before.keys() - after.keys()
        assert named <= gone
        assert all(path in named or str(Path(path).parent) in gone for path in gone)
        again, lines = tree.expire("-v")
        assert (again, len(lines)) == (code, 1), "nothing is left to do"


@settings(max_examples=50, deadline=None)
@given(st.lists(messages, min_size=3, max_size=25), policies, logins, st.integers(0, 25))
def test_a_kill_and_another_run_end_as_one_run(mail, policy, logins, point):
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as two:
        tree = Tree(one, mail, policy, logins)
        before = tree.state()
        twin = tree.copy(two)
        assert twin.state() == before
        undisturbed, _ = twin.expire()
        killed_at(point, tree.expire)
        code, _ = tree.expire()
        assert code == undisturbed
        after, expected = tree.state(), twin.state()
        if after != expected:   # only a mailbox half trimmed for quota may differ
            assert expected.keys() <= after.keys()
            for home in {path.rpartition(f"@{CHAT}")[0] + f"@{CHAT}"
                         for path in after.keys() - expected.keys()}:
                stored = sum(
                    message.octets() for path, message in tree.messages.items()
                    if f"mail/{path}" in after and message.kind != "tmp"
                    and f"mail/{message.home}" == home)
                assert policy.quota * 70 // 100 < stored <= policy.quota * 80 // 100


def killed_at(point, run):
    """Run in a child that dies, as by SIGKILL, before its change number `point` on the disk."""
    pid = os.fork()
    if pid == 0:
        try:
            left = point

            def dying(call):
                def change(*arguments, **options):
                    nonlocal left
                    if left == 0:
                        os._exit(0)
                    left -= 1
                    return call(*arguments, **options)
                return change

            for name in ("unlink", "rename", "rmdir", "mkdir", "utime", "fsync"):
                setattr(os, name, dying(getattr(os, name)))
            run()
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
