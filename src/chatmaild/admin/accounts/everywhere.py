"""``accounts list --everywhere``: the accounts of all hosts, as the directory knows them."""

import argparse
from collections.abc import Callable, Sequence

from chatmaild.accounts.directory import PATIENCE, Directory
from chatmaild.accounts.directoryrows import Entry
from chatmaild.config.config import Config
from chatmaild.console import Console
from chatmaild.errors import UsageError


def list_all(domains: Sequence[str], matches: Callable[[str], bool], args: argparse.Namespace,
             config: Config, console: Console) -> int:
    """List address, home and state. Raises `UsageError` on a host without a directory."""
    if args.sort != "address":
        raise UsageError(f"--sort {args.sort}: each host knows that about its own accounts only; "
                         "run this there without --everywhere")
    directory = Directory.of(config, lines=1, patience=PATIENCE)
    if directory is None:
        raise UsageError(f"{config.path}: directory is not set, so this host has all accounts")
    with directory:
        found = [entry for domain in domains
                 for entry in directory.entries(domain, everywhere=True) if matches(entry.address)]
    found.sort(key=lambda entry: entry.address, reverse=args.reverse)
    if args.names:
        for entry in found:
            console.line(entry.address)
    else:
        console.table(("ADDRESS", "HOST", "STATE"),
                      ((entry.address, entry.node, _state(entry)) for entry in found))
    console.results(entry.address if args.names else
                    {"address": entry.address, "node": entry.node, "blocked": entry.blocked,
                     "moving": entry.moving} for entry in found)
    return 0


def _state(entry: Entry) -> str:
    words = ["blocked"] if entry.blocked else []
    words += [f"moves to {entry.moving}"] if entry.moving else []
    words += ["is being deleted"] if entry.leaving else []
    return ", ".join(words) or "ok"
