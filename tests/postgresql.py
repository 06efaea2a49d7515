"""A PostgreSQL of Debian's for tests: in a directory of its own, on a unix socket.
"""

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from rig.until import until

BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
DATABASE = "chatmaild"


class Server:
    """A primary, or a standby of one, with a database for chatmaild."""

    def __init__(self, directory: Path, primary: "Server | None" = None, listen: str = "",
                 fsync: bool = False, tls: tuple[Path, Path] | None = None):
        self.directory = directory
        self._listen, self._fsync = listen, "on" if fsync else "off"
        self._data = directory / "data"
        # initdb refuses to be root
        self._user = "postgres" if os.geteuid() == 0 else None
        if self._user:
            owner = pwd.getpwnam(self._user)
            os.chown(directory, owner.pw_uid, owner.pw_gid)
        if primary:
            self._run("pg_basebackup", "-D", self._data, "-R", "-h", primary.directory,
                      "-U", "postgres", "-c", "fast")
        else:
            self._run("initdb", "-D", self._data, "-U", "postgres", "-A", "trust", "-N",
                      "--no-instructions")
            with open(self._data / "pg_hba.conf", "a") as rules:
                rules.write(f"{'hostssl' if tls else 'host'} all all 192.0.2.0/24 trust\n")
        for file, name in zip(tls or (), ("server.crt", "server.key")):
            shutil.copy(file, self._data / name)
            (self._data / name).chmod(0o600)
            shutil.chown(self._data / name, self._user)
        if tls:     # a standby copies all of it
            with open(self._data / "postgresql.conf", "a") as settings:
                settings.write("ssl = on\n")
        self.start()
        if not primary:
            self.sql(f"CREATE DATABASE {DATABASE}", database="postgres")

    def conninfo(self, user: str = "chatmaild", *others: "Server") -> str:
        """For this server and `others`, as a line of a file."""
        hosts = ",".join(str(server.directory) for server in (self, *others))
        return f"host={hosts} dbname={DATABASE} user={user}"

    def sql(self, statement: str, user: str = "postgres", database: str = DATABASE) -> str:
        """The rows that `statement` gives, a line each."""
        return subprocess.run(
            [BINARIES[-1] / "psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-h", self.directory,
             "-U", user, "-d", database, "-c", statement],
            check=True, text=True, capture_output=True, cwd="/").stdout.strip()

    def start(self) -> None:
        options = (f"-k {self.directory} -c listen_addresses={self._listen} "
                   f"-c fsync={self._fsync} -c max_connections=100 -c log_parameter_max_length=0")
        self._run("pg_ctl", "-D", self._data, "-w", "-l", self.directory / "log", "-o", options,
                  "start")

    def kill(self) -> None:
        """All its processes at once, as by a power loss."""
        if self.pid:
            self._run("pg_ctl", "-D", self._data, "-m", "immediate", "-w", "stop")

    @property
    def pid(self) -> int:
        """That of its first process; 0 if it does not run."""
        with contextlib.suppress(FileNotFoundError):
            return int((self._data / "postmaster.pid").read_text().split()[0])
        return 0

    @contextlib.contextmanager
    def hanging(self) -> Iterator[None]:
        """Connections are accepted by the kernel, and nothing is answered."""
        first = self.pid
        _stop(first)
        pids = [first, *self._children()]       # no more are made
        for pid in pids[1:]:
            _stop(pid)
        try:
            yield
        finally:
            for pid in reversed(pids):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    def _children(self) -> list[int]:
        listed = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text()
        return [int(pid) for pid in listed.split()]

    def promote(self) -> None:
        self._run("pg_ctl", "-D", self._data, "-w", "promote")

    def caught_up(self, primary: "Server") -> None:
        """Returns when this standby has all that the primary has."""
        position = primary.sql("SELECT pg_current_wal_lsn()")
        until(lambda: self.sql(f"SELECT pg_last_wal_replay_lsn() >= '{position}'") == "t",
              "the standby to catch up")

    def fall_behind(self) -> None:
        """From now on this standby gets nothing of what happens on the primary."""
        self.sql("ALTER SYSTEM SET primary_conninfo = ''")
        self.sql("SELECT pg_reload_conf()")
        until(lambda: self.sql("SELECT count(*) FROM pg_stat_wal_receiver") == "0",
              "the standby to hear nothing any more")

    def wait_for_standby(self) -> None:
        """From now on a commit is on the standby, too, before anybody is told that it is done."""
        self._wait_for("*")
        until(lambda: self.sql("SELECT sync_state FROM pg_stat_replication") == "sync",
              "the standby to be waited for")

    @contextlib.contextmanager
    def missing_its_standby(self) -> Iterator[None]:
        """A commit waits for a standby that is not there."""
        self._wait_for("nobody_at_all")
        try:
            yield
        finally:
            self._wait_for("")

    def _wait_for(self, standbys: str) -> None:
        self.sql(f"ALTER SYSTEM SET synchronous_standby_names = '{standbys}'")
        self.sql("SELECT pg_reload_conf()")
        until(lambda: self.sql("SHOW synchronous_standby_names") == standbys, "the setting")

    def _run(self, program: str, *arguments: str | Path) -> None:
        done = subprocess.run([BINARIES[-1] / program, *arguments], user=self._user, cwd="/",
                              stdin=subprocess.DEVNULL, text=True, stdout=subprocess.PIPE
                              if program == "initdb" else subprocess.DEVNULL,
                              stderr=subprocess.STDOUT)
        assert done.returncode == 0, f"{program}: {done.stdout}"


def _stop(pid: int) -> None:
    """Returns when the process does nothing any more; if it has ended, there is nothing to do."""
    with contextlib.suppress(ProcessLookupError, FileNotFoundError):
        os.kill(pid, signal.SIGSTOP)
        until(lambda: Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] in "TZ",
              "a process of PostgreSQL to stop")


@contextlib.contextmanager
def server(primary: Server | None = None, listen: str = "", fsync: bool = False,
           tls: tuple[Path, Path] | None = None) -> Iterator[Server]:
    """One that runs, and is gone afterwards; it listens on the address `listen`, too (for TLS only,
    with a certificate and its key), and with `fsync` its data survive a power loss. Skips, or
    fails in CI, where there is none."""
    try:
        import psycopg2  # noqa: F401
        missing = [] if BINARIES else ["postgresql"]
    except ImportError:
        missing = ["python3-psycopg2"]
    if missing:
        text = f"needs the package {missing[0]}"
        pytest.fail(text) if os.environ.get("CI") == "true" else pytest.skip(text)
    directory = Path(tempfile.mkdtemp(prefix="chatmaild-pg-"))   # a socket's path must be short
    try:
        made = Server(directory, primary, listen, fsync, tls)
        try:
            yield made
        finally:
            made.kill()
    finally:
        shutil.rmtree(directory, ignore_errors=True)
