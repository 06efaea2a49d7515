"""The directory of chat domains on several hosts: which addresses exist, and where each lives.

It is a PostgreSQL database, with any replication its owner has set up. The mailbox is on the disk
of the host where the address lives; that host never asks the directory about it. The primary alone
decides whether an address exists, since a standby may lag.
"""

import contextlib
import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from typing import Any

from chatmaild.accounts import directorysql as sql
from chatmaild.accounts.directorylines import PRIMARY, Kind, Lines, Question, Session, conninfo
from chatmaild.accounts.directoryrows import Claim, Entry, Node
from chatmaild.accounts.invites import TOKEN_LENGTH, Uninvited
from chatmaild.config.config import Config
from chatmaild.errors import ConfigError, DirectoryError

LIMIT = 0.8
"""Seconds to wait for one host of the database; the Lua file waits for 2 in all, with a hash."""

HURRY = 0.4
"""Seconds instead of `LIMIT` for Postfix, all of whose mail waits meanwhile."""

SEARCH, HURRIED_SEARCH, CHANGE = Kind(silence=2.0), Kind(silence=5.0), Kind(silence=2.0)
"""A database that does not answer one of these costs the others of its kind no time; nor those of
another kind: where a standby is waited for, changes hang, and nothing else."""

LINES = 4
"""Connections that a service keeps to the primary: it can ask so many questions at a time."""

PATIENCE = 10.0
"""Seconds that commands and the daily run wait instead of `LIMIT`."""

STANDBY = "prefer-standby"

BATCH = 10_000
"""Rows in one transaction of a command."""


class Directory:
    """The directory, for the host `node`. Threads may share it.

    Every method raises `DirectoryError` if the database does not answer within `patience` seconds.
    """

    def __init__(self, conninfo: str, node: str, lines: int = LINES, patience: float = LIMIT,
                 logs: bool = False):
        """With `logs`, write to the log when the database is lost and found again."""
        self.node = node
        self._patience = patience
        self.key = conninfo, node
        self._primary = Lines(conninfo, PRIMARY, lines, node, logs)
        self._standby = Lines(conninfo, STANDBY, 1, node, logs)

    @classmethod
    def of(cls, config: Config, lines: int = LINES, patience: float = LIMIT,
           logs: bool = False) -> "Directory | None":
        """Return the directory of the configuration; None on a host that is alone.

        Raises `ConfigError`. An unreachable database is no error yet.
        """
        if config.directory is None:
            return None
        try:
            return cls(conninfo(config.directory), config.node, lines, patience, logs)
        except DirectoryError as error:
            raise ConfigError([str(error)]) from None

    @classmethod
    def reopened(cls, before: "Directory | None", config: Config) -> "Directory | None":
        """Like `of`, for a service that reads its configuration again.

        Returns `before` if it is still the right one.
        """
        if before and config.directory:
            with contextlib.suppress(DirectoryError):
                if before.key == (conninfo(config.directory), config.node):
                    return before
        after = cls.of(config, logs=True)
        if before:
            before.close(wait=False)
        return after

    def __enter__(self) -> "Directory":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self, wait: bool = True) -> None:
        """End the connections; with `wait`, return when they have ended."""
        self._primary.close(wait)
        self._standby.close(wait)

    # -- for services ------------------------------------------------------------------------

    def find(self, address: str, in_hurry: bool = False) -> Entry | None:
        """Return the entry of `address`; None if the primary has none.

        That of an account elsewhere may come from a standby. What lives here is believed from the
        primary only: who asks has no mailbox of it, and would make one, which on the word of a
        standby that lags might be that of an account which has left or was deleted.

        `in_hurry` is who asks about everybody and cannot do anything else meanwhile, as Postfix.
        """
        question = Question(sql.FIND, (self.node, address))
        how = (HURRY, HURRIED_SEARCH) if in_hurry else (self._patience, SEARCH)
        try:
            row = self._primary.ask(question, *how)
            return Entry(*row) if row else None
        except DirectoryError:
            row = self._standby.ask(question, *how)
            if row is None or Entry(*row).is_own:
                raise       # the standby may not know it yet, or know it still
            return Entry(*row)

    def claim(self, address: str, hash: str, password: bytes = b"", invited: bool = True,
              now: float = 0, here: bool = False) -> Claim:
        """Claim `address` for this host, if it is free, with the password hash `hash`.

        A host that accepts no new accounts claims it for another host, unless it is wanted `here`
        all the same. Unless `invited`, the `password` must begin with the token of an invitation,
        which the same transaction spends; otherwise this raises `Uninvited`. `now` is in seconds
        since the epoch. The claim is then on the disk of the primary; and of the standby, if
        synchronous_commit asks for that.
        """
        values = {"address": address, "hash": hash, "own": self.node, "now": int(now),
                  "here": here, "domain": address.rpartition("@")[2], "token": token_hash(password)}

        def work(cursor: Any) -> Claim:
            cursor.execute(sql.CLAIM, values)
            made = cursor.rowcount == 1
            if made and not invited:
                cursor.execute(sql.SPEND, values)
                if cursor.rowcount != 1:
                    raise Uninvited
            elif not made:      # by an earlier claim, whose answer may have got lost
                cursor.execute(sql.CONFIRM, values)
            entry = self._entry(cursor, address)
            if entry is None:
                raise DirectoryError("directory: no host takes new accounts; see: chatmaild "
                                     "directory status")
            return Claim(entry, made)

        claim: Claim = self._primary.ask(work, self._patience, CHANGE)
        return claim

    def confirm(self, address: str) -> None:
        """Return when the claim of `address`, which lives here, is where `claim` puts it.

        Who asked for that claim may have gone before: without an answer it is not given up.
        """
        if not self._change(sql.CONFIRM, address):
            raise DirectoryError("directory: an address has left this host this moment")

    def leave(self, address: str) -> None:
        """Note that `address` is about to be deleted here; call `release` or `stay` afterwards."""
        self._change("UPDATE account SET leaving = true" + sql.OF_OWN, address)

    def stay(self, address: str) -> None:
        """Note that `address` is not deleted after all."""
        self._change("UPDATE account SET leaving = false" + sql.OF_OWN, address)

    def release(self, address: str, keep_blocked: bool = False) -> None:
        """Free `address` after `leave`, when it has no mailbox here any more.

        With `keep_blocked` it stays taken, as blocked. Does nothing if somebody else has it by now.
        """
        if keep_blocked:
            self._change("UPDATE account SET leaving = false, blocked = true, hash = NULL"
                         + sql.OF_OWN + " AND leaving", address)
        else:
            self._change("DELETE FROM account" + sql.OF_OWN + " AND leaving", address)

    def update(self, address: str, hash: str | None, blocked: bool, cleartext: bool) -> None:
        """Set the entry of `address` to what the disk here says; make it if it is missing.

        An address that lives elsewhere stays as it is.
        """
        self.put([(address, hash, blocked, cleartext)])

    def tell(self, settings: dict[str, dict[str, str]]) -> Future[Any]:
        """Have the directory know the settings of this host, as soon as it can be reached.

        Waits for nothing. The tables of the first release have no place for them.
        """
        values = {"settings": json.dumps(settings), "own": self.node}
        return self._primary.begin(lambda cursor: cursor.execute(sql.TELL, values))

    # -- for commands ------------------------------------------------------------------------

    def put(self, rows: Sequence[tuple[str, str | None, bool, bool]]) -> list[str]:
        """Do `update` with each of `rows` as its arguments; returns those that live elsewhere."""
        def work(cursor: Any) -> list[str]:
            cursor.execute("SELECT id FROM node WHERE name = %s", (self.node,))
            own = cursor.fetchone()
            if own is None:
                raise DirectoryError(f"directory: it has no node {self.node}; chatmaild directory "
                                     "join ADDRESS adds this host")
            cursor.execute(sql.PUT, (own[0], *(list(column) for column in zip(*rows))))
            here = {address for address, in cursor.fetchall()}
            return [address for address, *_ in rows if address not in here]

        found: list[str] = self._primary.ask(work, 60 if len(rows) > 1 else self._patience)
        return found

    def entries(self, domain: str, everywhere: bool = False) -> Iterator[Entry]:
        """Yield the entries of a domain on this host, or `everywhere`, in order of address.

        Reads them in several transactions.
        """
        last = ""
        condition = "WHERE a.address LIKE %(suffix)s AND a.address > %(last)s"
        condition += "" if everywhere else " AND n.name = %(own)s"

        def work(cursor: Any) -> list[Entry]:
            cursor.execute(sql.ENTRY + condition + " ORDER BY a.address LIMIT %(batch)s",
                           {"own": self.node, "last": last, "batch": BATCH,
                            "suffix": "%@" + domain.replace("_", r"\_")})
            return [Entry(*row) for row in cursor.fetchall()]

        while found := self._primary.ask(work, 60):
            yield from found
            last = found[-1].address

    def nodes(self) -> list[Node]:
        """Return every host, with the number of addresses that live there."""
        def work(cursor: Any) -> list[Node]:
            cursor.execute(sql.NODES)
            return [Node(*row) for row in cursor.fetchall()]

        found: list[Node] = self._primary.ask(work, 60)
        return found

    def told(self) -> dict[str, dict[str, dict[str, str]]]:
        """Return what each host told of its settings; nothing if it did not yet."""
        def work(cursor: Any) -> dict[str, dict[str, dict[str, str]]]:
            cursor.execute("SELECT name, settings FROM node")
            return dict(cursor.fetchall())
        found: dict[str, dict[str, dict[str, str]]] = self._primary.ask(work, self._patience)
        return found

    def join(self, ip: str) -> None:
        """Add this host, or change its address. Raises `DirectoryError` if another one has it."""
        for node in self.nodes():
            if node.ip == ip and node.name != self.node:
                raise DirectoryError(f"{ip}: is the address of {node.name} in the directory; if "
                                     "this host was called so, set node to that, or rename it there"
                                     ": several-hosts.md")
        self._execute("INSERT INTO node (name, address) VALUES (%(own)s, %(ip)s) ON CONFLICT (name)"
                      " DO UPDATE SET address = excluded.address", {"own": self.node, "ip": ip})

    def accept(self, node: str, accepts: bool) -> None:
        """Set whether new accounts are made on the host `node`."""
        if not self._execute("UPDATE node SET accepts = %(accepts)s WHERE name = %(node)s",
                             {"accepts": accepts, "node": node}):
            raise DirectoryError(f"directory: there is no node {node}; see: chatmaild directory "
                                 "status")

    def begin_move(self, address: str, target: str) -> bool:
        """Mark `address`, which lives here, as moving to the host `target`.

        False if it lives elsewhere, or is moving to another host.
        """
        return bool(self._execute(
            sql.BEGIN_MOVE, {"address": address, "own": self.node, "target": target}))

    def end_move(self, address: str, hash: str, cleartext: bool) -> bool:
        """Note that `address` lives here now, as it arrived; False if it was not moving here."""
        return bool(self._execute(sql.END_MOVE, {"address": address, "own": self.node,
                                                 "hash": hash, "cleartext": cleartext}))

    def cancel_move(self, address: str) -> bool:
        """Undo `begin_move`: `address` stays here. False if it does not live here."""
        return bool(self._change("UPDATE account SET moving = NULL" + sql.OF_OWN, address))

    def invite(self, domain: str, batch: str, tokens: Sequence[bytes], created: int, expires: int
               ) -> None:
        """Store invitations, by the hashes of their tokens. Times in seconds since the epoch."""
        def work(cursor: Any) -> None:
            cursor.executemany(sql.INVITE, [(token_hash(token), domain, batch, created, expires)
                                            for token in tokens])
        self._primary.ask(work, 60)

    def invitations(self, domain: str) -> list[tuple[str, int, int, int]]:
        """Return each batch as (name, created, expires, number of unused ones), oldest first."""
        def work(cursor: Any) -> list[tuple[str, int, int, int]]:
            cursor.execute(sql.INVITATIONS, (domain,))
            return list(cursor.fetchall())
        found: list[tuple[str, int, int, int]] = self._primary.ask(work, 60)
        return found

    def revoke(self, domain: str, batch: str) -> int:
        """Revoke the unused invitations of a batch; returns how many."""
        return self._execute("DELETE FROM invitation WHERE domain = %(domain)s AND "
                             "batch = %(batch)s", {"domain": domain, "batch": batch})

    def forget_invitations(self, domain: str, now: float) -> int:
        """Remove expired invitations; returns how many."""
        return self._execute("DELETE FROM invitation WHERE domain = %(domain)s AND "
                             "expires <= %(now)s", {"domain": domain, "now": int(now)})

    def sessions(self) -> set[Session]:
        """Return who is connected to the primary: every host whose services run."""
        def work(cursor: Any) -> set[Session]:
            cursor.execute(sql.SESSIONS)
            return {session for name, in cursor.fetchall() if (session := Session.of(name))}
        found: set[Session] = self._primary.ask(work, self._patience)
        return found

    def ahead(self) -> float:
        """Return by how many seconds at least the primary's clock is ahead; < 0 if it is behind."""
        def work(cursor: Any) -> float:
            before = time.time()
            cursor.execute("SELECT extract(epoch FROM clock_timestamp())::float8")
            theirs = float(cursor.fetchone()[0])
            return max(theirs - time.time(), 0.0) or min(theirs - before, 0.0)
        found: float = self._primary.ask(work, self._patience)
        return found

    def version(self) -> int | None:
        """Return the version of the tables; None if there are none."""
        def work(cursor: Any) -> int | None:
            cursor.execute("SELECT to_regclass('chatmaild_directory')")
            if cursor.fetchone()[0] is None:
                return None
            cursor.execute("SELECT version FROM chatmaild_directory")
            return int(cursor.fetchone()[0])
        found: int | None = self._primary.ask(work, 5)
        return found

    # -- inside ------------------------------------------------------------------------------

    def _entry(self, cursor: Any, address: str) -> Entry | None:
        cursor.execute(sql.ENTRY + "WHERE a.address = %(address)s",
                       {"own": self.node, "address": address})
        row = cursor.fetchone()
        return Entry(*row) if row else None

    def _change(self, statement: str, address: str) -> int:
        return self._execute(statement, {"address": address, "own": self.node})

    def _execute(self, statement: str, values: dict[str, Any]) -> int:
        """Execute a statement; returns the number of rows."""
        def work(cursor: Any) -> int:
            cursor.execute(statement, values)
            return int(cursor.rowcount)
        count: int = self._primary.ask(work, self._patience, CHANGE)
        return count


def token_hash(password: bytes) -> str:
    """Return the stored hash of the token that a password begins with."""
    return hashlib.sha256(password[:TOKEN_LENGTH]).hexdigest()
