"""``chatmaild invite``: makes logins to hand out where ``signup = invite``."""

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from chatmaild.accounts.entries import Entries
from chatmaild.accounts.invites import MAX_TOKENS, Invitation
from chatmaild.accounts.mailboxes import Mailboxes
from chatmaild.admin import links
from chatmaild.admin.web import look
from chatmaild.config import inifile
from chatmaild.config.config import Config, DomainConfig
from chatmaild.console import Console, counted
from chatmaild.daemon import privileges
from chatmaild.errors import StoreError, UsageError

Result = TypeVar("Result")

DAYS = 14
"""Days for which an invitation works unless told otherwise."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    commands = parser.add_subparsers(dest="action", metavar="ACTION", required=True)

    def add(name: str, help: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=help, description=help,
                                      formatter_class=parser.formatter_class)
        command.set_defaults(usage=command)
        command.add_argument("--domain", help="chat domain (default: the only one)")
        command.add_argument("--json", action="store_true", help="print one JSON document")
        return command

    command = add("create", "print links, each of which makes one account")
    command.add_argument("--uses", type=int, default=1, metavar="N",
                         help=f"how many links, at most {MAX_TOKENS:,} (default: 1)")
    command.add_argument("--days", type=int, default=DAYS, metavar="D",
                         help=f"how long they work (default: {DAYS})")
    command.add_argument("--no-qr", action="store_true", help="print no QR codes")
    command.add_argument("--web", type=Path, metavar="DIRECTORY",
                         help="write a page for each link into the web site there, and print its "
                         "address")
    look.configure(command)
    add("list", "list the invitations that nobody has used yet")
    command = add("revoke", "take back what is left of one batch")
    command.add_argument("batch", metavar="BATCH", help="as printed by create and list")
    command.add_argument("--web", type=Path, metavar="DIRECTORY",
                         help="remove the pages of the batch, too, from the web site there")


def run(args: argparse.Namespace, console: Console) -> int:
    """Run the chosen action. Returns the exit status."""
    config = inifile.load(args.config)
    if args.action == "create":
        _refuse_without_effect(args)
    if args.action != "list" and args.web:
        action = {"create": _create_pages, "revoke": _revoke_pages}[args.action]
        return action(args, config, console)
    action = {"create": _create, "list": _list, "revoke": _revoke}[args.action]
    privileges.become(config.mail_user)
    return action(args, config, console)


def _refuse_without_effect(args: argparse.Namespace) -> None:
    """Raise `UsageError` for an option that changes nothing with or without ``--web``."""
    given = [option for option, is_given in (
        ("--language", args.language), ("--templates", args.templates != look.OWN_TEMPLATES))
        if is_given]
    if given and not args.web:
        raise UsageError(f"{' and '.join(given)}: without effect: only pages have that, which "
                         "--web DIRECTORY writes")
    if args.web and args.no_qr:
        raise UsageError("--no-qr: without effect: with --web the codes are on the pages, and none "
                         "is printed")


def _domain(args: argparse.Namespace, config: Config) -> DomainConfig:
    """Return the domain that --domain names, or the only one. Raises `UsageError`."""
    names = ", ".join(config.mail_domains)
    if args.domain is None and len(config.domains) == 1:
        return next(iter(config.domains.values()))
    if args.domain is None:
        raise UsageError(f"say which chat domain with --domain: {names}" if names else
                         f"{config.path}: mail_domains names no chat domain yet")
    domain = config.domains.get(args.domain.lower())
    if domain is None:
        raise UsageError(f"{args.domain}: not a chat domain; those are "
                         f"{names or 'not configured yet'}")
    return domain


def _domains(args: argparse.Namespace, config: Config) -> Sequence[str]:
    return [_domain(args, config).name] if args.domain else config.mail_domains


def _create(args: argparse.Namespace, config: Config, console: Console) -> int:
    domain = _domain(args, config)
    if domain.signup == "open":
        return _open(domain, args, console)
    batch, invitations = _made(domain, args.uses, args.days, config)
    made = []
    for invitation in invitations:
        link = links.login(invitation.address, invitation.password)
        links.show(console, link, qr=not args.no_qr)
        made.append({"address": invitation.address, "password": invitation.password,
                     "link": link})
    if console.is_terminal:
        console.line(f"Batch {batch}: each link makes one account within "
                     f"{counted(args.days, 'day')} and is its login from then on. To take back: "
                     f"chatmaild invite revoke {batch}")
    console.result({"batch": batch, "domain": domain.name, "days": args.days,
                    "invitations": made})
    return 0


def _made(domain: DomainConfig, uses: int, days: int, config: Config
          ) -> tuple[str, list[Invitation]]:
    """Return batch and invitations. Raises `UsageError` if there can be none, `StoreError`."""
    if domain.signup == "closed":
        raise UsageError(f"signup = closed for {domain.name}: nobody signs up there, invited or "
                         "not; make accounts with: chatmaild accounts create ADDRESS")
    if not 1 <= uses <= MAX_TOKENS:
        raise UsageError(f"--uses {uses}: must be from 1 to {MAX_TOKENS}")
    if not 1 <= days <= 3650:
        raise UsageError(f"--days {days}: must be from 1 to 3650")
    with Entries(config) as entries:
        return entries.invites(Mailboxes(config)).create(domain, uses, days, time.time())


def _open(domain: DomainConfig, args: argparse.Namespace, console: Console) -> int:
    """Print the one link that works for everybody: nobody needs a token here."""
    given = [option for option, is_default in (
        ("--uses", args.uses == 1), ("--days", args.days == DAYS)) if not is_default]
    if given:
        raise UsageError(f"{' and '.join(given)}: without effect, for signup = open for "
                         f"{domain.name}: its one link works for everybody and for ever")
    link = links.signup(domain.name)
    links.show(console, link, qr=not args.no_qr)
    if console.is_terminal:
        console.line(f"signup = open for {domain.name}: this link makes a new account for anybody, "
                     "any number of times.")
    console.result({"batch": None, "domain": domain.name, "link": link})
    return 0


def _create_pages(args: argparse.Namespace, config: Config, console: Console) -> int:
    """Make a page for each invitation.

    The tokens belong to mail_user, the pages to the owner of the web site. So a child process
    makes the tokens.
    """
    from chatmaild.admin.web import command as web, facts, invitation, pages
    domain = _domain(args, config)
    if domain.signup == "open":
        raise UsageError(f"signup = open for {domain.name}: nobody needs an invitation; the page "
                         f"for everybody is made by: chatmaild web {args.web}")
    site = pages.Site(facts.of(domain, config), pages.languages(args.language), args.templates)
    batch, invitations = _as_mail_user(config, _made, domain, args.uses, args.days, config)
    until = _day(int(time.time()) + args.days * 86_400)
    web.become_owner(args.web)
    paths = invitation.write(args.web, [
        site.invitation(links.login(one.address, one.password), until) for one in invitations
    ], batch, until)
    addresses = [f"https://{domain.name}/{path}" for path in paths]
    for address in addresses:
        console.line(address)
    if console.is_terminal:
        console.line(f"Batch {batch}: each page makes one account until {until}. To take back: "
                     f"chatmaild invite revoke --web {args.web} {batch}; chatmaild web "
                     f"{args.web} removes pages whose day has passed.")
    console.result({"batch": batch, "domain": domain.name, "days": args.days,
                    "pages": addresses})
    return 0


def _as_mail_user(config: Config, function: Callable[..., Result], *arguments: object) -> Result:
    """Call a function in a child process of mail_user, so that this one keeps its rights."""
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor
    privileges.known_user(config.mail_user)
    with ProcessPoolExecutor(1, multiprocessing.get_context("fork"), privileges.become,
                             (config.mail_user,)) as pool:
        return pool.submit(function, *arguments).result()


def _list(args: argparse.Namespace, config: Config, console: Console) -> int:
    now = time.time()
    with Entries(config) as entries:
        invites = entries.invites(Mailboxes(config))
        found = [batch for domain in _domains(args, config) for batch in invites.batches(domain)]
    console.table(
        ("BATCH", "DOMAIN", "LEFT", "MADE", "WORKS UNTIL"),
        [(batch.id, batch.domain, f"{batch.left:,}", _day(batch.created),
          _day(batch.expires - 1) if batch.expires > now else "expired") for batch in found],
        right="llrll",
    )
    console.result([
        {"batch": batch.id, "domain": batch.domain, "left": batch.left,
         "created": _day(batch.created), "works_until": _day(batch.expires - 1),
         "expired": batch.expires <= now} for batch in found
    ])
    return 0


def _revoke(args: argparse.Namespace, config: Config, console: Console) -> int:
    count = _revoked(_domains(args, config), args.batch, config)
    return _revocation(args.batch, count, 0, console)


def _revoke_pages(args: argparse.Namespace, config: Config, console: Console) -> int:
    """Revoke the invitations of a batch, and remove the pages of all, as the site's owner."""
    from chatmaild.admin.web import command as web, invitation
    count = _as_mail_user(config, _revoked, _domains(args, config), args.batch, config)
    web.become_owner(args.web)
    return _revocation(args.batch, count, invitation.remove(args.web, args.batch), console)


def _revoked(domains: Sequence[str], batch: str, config: Config) -> int:
    with Entries(config) as entries:
        invites = entries.invites(Mailboxes(config))
        return sum(invites.revoke(domain, batch) for domain in domains)


def _revocation(batch: str, count: int, pages: int, console: Console) -> int:
    """Print what was revoked. Raises `StoreError` if there was nothing."""
    if not count and not pages:
        raise StoreError(f"{batch}: no such batch, or all of it is used; see: chatmaild invite "
                         "list")
    console.line(f"{counted(count, 'invitation')} taken back")
    if pages:
        console.line(f"{counted(pages, 'page')} removed")
    console.result({"batch": batch, "revoked": count, "pages": pages})
    return 0


def _day(seconds: int) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(seconds))
