"""``chatmaild web``: writes the static pages of a chat domain."""

import argparse
import contextlib
import os
import time
from pathlib import Path

from chatmaild.admin.web import directory, facts, invitation, look, mailconfig
from chatmaild.config import inifile
from chatmaild.config.config import Config, DomainConfig
from chatmaild.config.values import domain_names
from chatmaild.console import Console
from chatmaild.daemon import privileges
from chatmaild.daemon.owners import user_name
from chatmaild.errors import StoreError, UsageError


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("directory", type=Path, metavar="DIRECTORY",
                        help="root of the domain's web site")
    parser.add_argument("--check", action="store_true",
                        help="change nothing; say whether the pages are current (0) or not (1)")
    parser.add_argument("--domain", help="chat domain (default: the only one)")
    look.configure(parser)
    parser.add_argument("--mx", action="append", type=_name, default=[], metavar="NAME",
                        help="mail exchanger of the domain, for an MTA-STS policy; may be given "
                        "several times")
    parser.add_argument("--mta-sts", choices=("testing", "enforce", "none"), default="testing",
                        help="mode of that policy (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def _name(text: str) -> str:
    try:
        name, = domain_names(text.removesuffix("."))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text}: not a name such as mx.example.org") from None
    return name


def run(args: argparse.Namespace, console: Console) -> int:
    """Write the pages, or with ``--check`` compare them. Returns the exit status."""
    from chatmaild.admin.web import pages
    config = inifile.load(args.config)
    domain = chosen(args.domain, config)
    told = facts.of(domain, config)
    site = pages.Site(told, pages.languages(args.language), args.templates)
    files = site.pages() | {path: mailconfig.autoconfig(told)
                            for path in mailconfig.AUTOCONFIG_PATHS}
    if args.mx:
        files[mailconfig.MTA_STS_PATH] = mailconfig.mta_sts(args.mx, args.mta_sts)
    become_owner(args.directory)
    if args.check:
        return _check(args.directory, files, console)
    changed = directory.write(args.directory, files)
    changed += _tidy(args.directory)
    for path in changed:
        console.line(path)
    _conclude(args, told, files, changed, console)
    return 0


def chosen(name: str | None, config: Config) -> DomainConfig:
    """Return the domain of that name, or the only one. Raises `UsageError`."""
    names = ", ".join(config.mail_domains) or "none yet, see mail_domains in chatmaild.ini"
    if name is None and len(config.domains) == 1:
        return next(iter(config.domains.values()))
    if name is None or name.lower() not in config.domains:
        raise UsageError(f"say which chat domain with --domain; there are: {names}")
    return config.domains[name.lower()]


def become_owner(path: Path) -> None:
    """Go on as the user who owns the web site.

    Others, such as a web application, may write there too; a link of theirs must not lead root
    elsewhere. Raises `StoreError`, `UsageError`.
    """
    try:
        owner = os.stat(path).st_uid
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror}; make it first: install -d {path}") from None
    privileges.become(user_name(owner))


def _check(place: Path, files: dict[str, bytes], console: Console) -> int:
    found = directory.differences(place, files)
    found += [f"{path.relative_to(place)}: an invitation that no longer works"
              for path in invitation.overdue(place, time.time())]
    for text in found:
        console.line(text)
    if not found:
        console.line(f"{place}: current")
    console.result({"current": not found, "differences": found})
    return 1 if found else 0


def _tidy(place: Path) -> list[str]:
    """Remove the pages of expired invitations; return their paths."""
    gone = []
    for path in invitation.overdue(place, time.time()):
        with contextlib.suppress(OSError):
            path.unlink()
            gone.append(str(path.relative_to(place)))
    return gone


def _conclude(args: argparse.Namespace, told: facts.Facts, files: dict[str, bytes],
              changed: list[str], console: Console) -> None:
    notes = []
    if not told.admin_uri:
        notes.append("the pages do not say whom to write to: set metadata_admin in chatmaild.ini")
    if policy := files.get(mailconfig.MTA_STS_PATH):
        notes.append(f'to announce the policy: _mta-sts.{told.domain}. IN TXT "v=STSv1; '
                     f'id={mailconfig.policy_id(policy)}"')
    if not changed:
        console.line(f"{args.directory}: current, nothing to write")
    for note in notes:
        console.line(f"note: {note}")
    console.result({"changed": changed, "notes": notes})
