"""``chatmaild doveauth``: answers Dovecot about accounts, and creates one at its first login.

The answers are a contract with dovecot/chatmaild.lua (doc/design/accounts.md). Existing accounts
are answered at once from the hash on disk. Only a creation takes a thread, to hash and to wait for
the disk. On one of several hosts the directory is asked about addresses without an account here,
and decides who gets an address.
"""


import argparse
import asyncio
import json
import logging
import time
from collections.abc import Callable, Collection, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from chatmaild.accounts import departure, signup
from chatmaild.accounts.hoststate import Host
from chatmaild.accounts.invites import Invites, Uninvited
from chatmaild.accounts.lifecycle import Creation
from chatmaild.accounts.mailboxes import Mailbox, Mailboxes
from chatmaild.accounts.makers import Makers
from chatmaild.accounts.signup import Denial
from chatmaild.config.config import Config
from chatmaild.console import Console
from chatmaild.daemon import dictproto, dictserver, logs, sockets
from chatmaild.errors import DirectoryError, StoreError
from chatmaild.metrics import Counter, Metric

if TYPE_CHECKING:
    from chatmaild.accounts.directory import Directory
    from chatmaild.accounts.directoryrows import Entry

log = logging.getLogger(__name__)

PASSDB = b"shared/passdb/"
USERDB = b"shared/userdb/"

configure = sockets.configure

T = TypeVar("T")


class DoveAuth(dictserver.Service):
    """Answers passdb and userdb questions, and creates accounts."""

    def __init__(self) -> None:
        self._config: Config
        self._root: Path | None = None
        self._known: Collection[str] = ()
        self._limits = signup.SignupLimits()
        self._created = Counter("chatmaild_accounts_created_total",
                                "Accounts made by their first login.", "domain")
        self._refused = Counter("chatmaild_signups_refused_total",
                                "First logins that made no account.", "domain", "reason")
        self._makers = Makers()
        self._creating: dict[str, asyncio.Future[None]] = {}
        self._directory: "Directory | None" = None
        self._askers: ThreadPoolExecutor | None = None

    def configure(self, config: Config) -> None:
        """Use this configuration; make missing directories and sweep away leftovers."""
        if self._directory or config.directory is not None:
            self._open_directory(config)
        self._config = config
        known = self._known if self._root == config.mailboxes_dir else ()
        self._root, self._known = config.mailboxes_dir, config.domains.keys()
        self._mailboxes = Mailboxes(config)
        self._invites = Invites(self._mailboxes)
        self._host = Host(config)
        self._label = logs.AddressLabel(config.log_addresses)
        try:
            self._mailboxes.prepare(known=known)
        except StoreError as error:
            log.error("%s", error)
        for domain in config.domains:
            try:
                self._mailboxes.sweep(domain, time.time())
            except StoreError as error:
                log.error("%s", error)

    def _open_directory(self, config: Config) -> None:
        # Loaded only now: a host that is alone keeps 0.2 MB of memory free.
        from chatmaild.accounts import sharedsettings
        from chatmaild.accounts.directory import LINES, Directory
        self._directory = Directory.reopened(self._directory, config)
        self._askers = self._askers or ThreadPoolExecutor(LINES, "directory")
        if self._directory:
            tell = self._directory.tell
            self._askers.submit(lambda: tell(sharedsettings.of(config, config.node)))

    def metrics(self) -> Iterator[Metric]:
        """Yield the counts of created accounts and refused sign-ups."""
        return (each.metric() for each in (self._created, self._refused))

    def close(self) -> None:
        """End the threads and the connections to the directory."""
        self._makers.close()
        if self._askers:
            self._askers.shutdown()
        if self._directory:
            self._directory.close()

    def lookup(self, request: dictproto.Lookup, hello: dictproto.Hello) -> dictserver.Answer:
        """Answer a question about a login (passdb) or a recipient (userdb)."""
        if request.key.startswith(PASSDB):
            pair = dictproto.split_credentials(request.key[len(PASSDB):])
            if pair is None or request.user not in (b"", pair[1]):
                return dictproto.NOT_FOUND
            return self._passdb(*pair, hello.user)
        if request.key.startswith(USERDB):
            return self._userdb(request.key[len(USERDB):])
        return dictproto.NOT_FOUND

    def iterate(self, request: dictproto.Iterate) -> Iterator[bytes]:
        """Yield a row for each account on this host."""
        if request.path == USERDB:
            for domain in self._config.domains:
                for mailbox in self._mailboxes.of_domain(domain):
                    if mailbox.exists():
                        yield dictproto.row(USERDB + mailbox.address.encode("ascii"))

    def _passdb(self, password: bytes, user: bytes, client: bytes) -> dictserver.Answer:
        mailbox = self._find(user)
        if mailbox is None:
            return dictproto.NOT_FOUND
        try:
            if stored := mailbox.usable_hash():
                return _account(mailbox, stored)
            if not mailbox.is_vacant() and mailbox.is_blocked():
                return dictproto.NOT_FOUND
        except StoreError as error:
            return self._trouble(mailbox, error)
        return self._one_at_a_time(mailbox, partial(self._login, mailbox, password, client))

    def _userdb(self, user: bytes) -> dictserver.Answer:
        mailbox = self._find(user)
        if mailbox is None:
            return dictproto.NOT_FOUND
        try:
            if mailbox.is_blocked():
                return dictproto.NOT_FOUND
            if mailbox.exists():
                return self._user(mailbox)
        except StoreError as error:
            return self._trouble(mailbox, error)
        if directory := self._directory:
            return self._one_at_a_time(mailbox, partial(self._user_elsewhere, mailbox, directory))
        return dictproto.NOT_FOUND

    def _user(self, mailbox: Mailbox) -> bytes:
        owner = self._config.mail_user
        return _json(home=mailbox.home, uid=owner, gid=owner)

    async def _user_elsewhere(self, mailbox: Mailbox, directory: "Directory") -> bytes:
        """Answer about an account elsewhere: never unknown while it has an entry, so mail waits."""
        if mailbox.hash():
            return self._user(mailbox)
        entry = await self._ask(directory.find, mailbox.address)
        if entry is None or entry.blocked or (entry.is_own and entry.leaving):
            return dictproto.NOT_FOUND
        if not entry.is_own:
            return dictproto.FAILURE
        stored = await self._settle(directory, mailbox, entry)
        if stored in (Denial.ENDING, Denial.SWITCHED_OFF):
            return dictproto.FAILURE
        return self._user(mailbox) if isinstance(stored, str) else dictproto.NOT_FOUND

    def _find(self, user: bytes) -> Mailbox | None:
        return self._mailboxes.find(user.decode("ascii")) if user.isascii() else None

    async def _one_at_a_time(
        self, mailbox: Mailbox, answer: Callable[[], Coroutine[Any, Any, bytes]]
    ) -> bytes:
        """Let requests that race for one address wait for the first one."""
        while other := self._creating.get(mailbox.address):
            await other
        done = self._creating[mailbox.address] = asyncio.get_running_loop().create_future()
        try:
            mailbox.recover()
            return await answer()
        except StoreError as error:
            return self._trouble(mailbox, error)
        finally:
            del self._creating[mailbox.address]
            done.set_result(None)

    async def _login(self, mailbox: Mailbox, password: bytes, client: bytes) -> bytes:
        found: "str | Denial | Entry | None" = None
        if not mailbox.is_vacant():     # it was a moment ago
            found = mailbox.hash()
        if found is None:
            found = await (self._claim(self._directory, mailbox, password, client)
                           if self._directory else self._create(mailbox, password, client))
        if isinstance(found, Denial):
            self._refused.add(mailbox.domain.name, found.value)
            log.info("signup refused: reason=%s user=%s domain=%s", found.value,
                     self._label(mailbox.address), mailbox.domain.name)
            # a directory that was promoted may have forgotten them: nobody is unknown meanwhile
            forgotten = self._directory and found is Denial.SWITCHED_OFF
            return (dictproto.FAILURE if found.is_temporary or forgotten else
                    dictproto.NOT_FOUND)
        if not found:
            return dictproto.NOT_FOUND
        if isinstance(found, str):
            return _account(mailbox, found)
        return _json(user=mailbox.address, password=found.hash or "", host=found.node,
                     hostip=found.ip)

    async def _create(
        self, mailbox: Mailbox, password: bytes, client: bytes
    ) -> str | Denial | None:
        """Return the hash of the account, whoever made it; None if it is gone again."""
        claim = None
        if mailbox.awaits_sessions():
            return Denial.ENDING        # counts for no limit of the client
        if refusal := self._judge(mailbox, password, client):
            return refusal
        if mailbox.domain.signup == "invite":
            claim = self._invites.claim(mailbox.domain.name, password, time.time())
            if claim is None:
                return Denial.UNINVITED
        if not self._has_room(client):
            return Denial.HOST_LIMIT
        hashed, outcome = await self._makers.create(mailbox, password, claim)
        return self._made(mailbox, hashed, outcome)

    async def _claim(
        self, directory: "Directory", mailbox: Mailbox, password: bytes, client: bytes
    ) -> "str | Denial | Entry | None":
        """Like `_create` on one of several hosts; returns the entry of an account elsewhere."""
        entry = await self._ask(directory.find, mailbox.address)
        if entry and entry.is_own and entry.leaving:    # and its mailbox is gone
            await self._ask(directory.release, mailbox.address)
            entry = None
        is_sure = entry is None
        if entry is None:
            if refusal := self._judge(mailbox, password, client):
                return refusal
            if not self._has_room(client):
                return Denial.HOST_LIMIT
            hashed = await self._makers.hash(password)
            try:
                claim = await self._ask(directory.claim, mailbox.address, hashed, password,
                                        mailbox.domain.signup != "invite", time.time())
            except Uninvited:
                return Denial.UNINVITED
            entry = claim.entry
        if entry.blocked:
            return Denial.BLOCKED
        return (await self._settle(directory, mailbox, entry, is_sure) if entry.is_own
                else entry)

    async def _settle(self, directory: "Directory", mailbox: Mailbox, entry: "Entry",
                      is_sure: bool = False) -> str | Denial | None:
        """Make the missing mailbox of an account that lives here by its entry; returns its hash.

        If it has just arrived from another host, that is put in its place. Unless the entry
        `is_sure` already, no mailbox is made by one that a promotion would undo.
        """
        if entry.moving:
            raise DirectoryError(f"{mailbox.address}: is moving to {entry.moving}")
        assert entry.hash
        outcome = await self._ask(departure.place, mailbox.home, entry.hash)
        if outcome is None:
            if departure.is_hidden(mailbox.home):
                raise StoreError(f"{departure.path_of(mailbox.home)}: waits for an interrupted "
                                 "move; chatmaild directory reconcile says how it goes on")
            if self._host.is_switched_off():
                return Denial.SWITCHED_OFF  # a directory that was promoted may be mistaken
            if not is_sure:
                await self._ask(directory.confirm, mailbox.address)
            outcome = await self._makers.create_with_hash(mailbox, entry.hash)
        stored = self._made(mailbox, entry.hash, outcome)
        if entry.cleartext:
            mailbox.enforce_encryption(False)
        return stored

    def _has_room(self, client: bytes) -> bool:
        return self._limits.try_host(client, self._config.max_signups_per_hour, time.monotonic())

    def _made(self, mailbox: Mailbox, hashed: str, outcome: Creation) -> str | Denial | None:
        """Count a creation, and return the hash that counts."""
        match outcome:
            case Creation.DONE:
                self._created.add(mailbox.domain.name)
                log.info("account created: user=%s domain=%s", self._label(mailbox.address),
                         mailbox.domain.name)
                return hashed
            case Creation.BLOCKED:
                return Denial.BLOCKED
            case Creation.CLAIM_GONE:
                return Denial.UNINVITED
            case Creation.ENDING:
                return Denial.ENDING
        return mailbox.hash()

    async def _ask(self, question: Callable[..., T], *arguments: Any) -> T:
        """Call what waits for the directory or a disk in a thread, without delaying others."""
        return await asyncio.get_running_loop().run_in_executor(
            self._askers, lambda: question(*arguments))

    def _judge(self, mailbox: Mailbox, password: bytes, client: bytes) -> Denial | None:
        config, now = self._config, time.monotonic()
        local_part = mailbox.address.partition("@")[0]
        refusal = signup.judge_request(local_part, password, mailbox.domain,
                                       config.recipient_delimiter)
        refusal = refusal or signup.judge_host(self._host.look(now), config)
        if refusal is None and not self._limits.try_client(
                client, config.max_client_signups_per_hour, now):
            return Denial.CLIENT_LIMIT
        return refusal

    def _trouble(self, mailbox: Mailbox, error: StoreError) -> bytes:
        log.error("%s", str(error).replace(mailbox.address, self._label(mailbox.address)))
        return dictproto.FAILURE


def _account(mailbox: Mailbox, stored: str) -> bytes:
    return _json(user=mailbox.address, password=stored)


def _json(**fields: str) -> bytes:
    """Return an answer, pieced together, because json.dumps of a dict takes longer."""
    pairs = [f'"{name}": {json.dumps(value)}' for name, value in fields.items()]
    return dictproto.found(f"{{{', '.join(pairs)}}}".encode("ascii"))


def run(args: argparse.Namespace, console: Console) -> int:
    """Serve until told to stop."""
    return dictserver.run(args, DoveAuth())
