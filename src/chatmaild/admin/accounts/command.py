"""The arguments of ``chatmaild accounts``, and the function for each action."""

import argparse

from chatmaild.admin.accounts import changing, looking, moving
from chatmaild.config import inifile
from chatmaild.console import Console
from chatmaild.daemon import privileges


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    actions = _Actions(parser)
    _configure_looking(actions)
    _configure_changing(actions)
    _configure_moving(actions)


class _Actions:
    """Adds the actions to the parser."""

    def __init__(self, parser: argparse.ArgumentParser):
        self._formatter = parser.formatter_class
        self._commands = parser.add_subparsers(dest="action", metavar="ACTION", required=True)

    def add(self, name: str, help: str, run: object, addresses: str = "",
            opens_files: bool = False) -> argparse.ArgumentParser:
        """Add an action. `addresses` is "address" or "addresses", for one or several.

        An action that `opens_files` of the admin becomes the mail user itself, afterwards.
        """
        command: argparse.ArgumentParser = self._commands.add_parser(
            name, help=help, description=help, formatter_class=self._formatter)
        command.set_defaults(act=run, opens_files=opens_files, usage=command)
        command.add_argument("--json", action="store_true", help="print one JSON document")
        if addresses == "addresses":
            command.add_argument(addresses, nargs="+", metavar="ADDRESS")
        elif addresses:
            command.add_argument(addresses, metavar="ADDRESS")
        return command


def _configure_looking(actions: _Actions) -> None:
    command = actions.add("list", "list accounts with last login, size and state", looking.list_all)
    command.add_argument("domain", nargs="?", metavar="DOMAIN", help="chat domain (default: all)")
    command.add_argument("--match", metavar="TEXT", help="only addresses with TEXT in them; with "
                         "* and ? a pattern for the whole address")
    command.add_argument("--sort", choices=looking.ORDERS, default="address",
                         help="in which order (default: address)")
    command.add_argument("--reverse", action="store_true", help="the other way round")
    command.add_argument("--names", action="store_true",
                         help="print addresses only, without a look into the mailboxes")
    command.add_argument("--everywhere", action="store_true",
                         help="those of all hosts that share the chat domains, and where they live")
    actions.add("show", "show one account", looking.show, "address")


def _configure_changing(actions: _Actions) -> None:
    for name, help, run in (
            ("create", "create an account and print its login", changing.create),
            ("password", "give an account a new password and print it", changing.password)):
        command = actions.add(name, help, run, "address", opens_files=True)
        command.add_argument("--password-file", metavar="FILE",
                             help="take the password from the first line of FILE (-: standard "
                             "input) instead of making one up")
        command.add_argument("--no-qr", action="store_true", help="print no QR code")
    actions.add("block", "nobody logs in, nothing is delivered; mail stays", changing.block,
                "addresses")
    actions.add("unblock", "undo block", changing.unblock, "addresses")
    command = actions.add("delete", "delete account and mail", changing.delete, "addresses")
    command.add_argument("--block", action="store_true",
                         help="block the address, so that no login makes it anew; one that is "
                         "blocked already stays so without this")
    command.add_argument("--yes", action="store_true", help="do not ask")
    command = actions.add("set", "change an account", changing.set_up, "address")
    command.add_argument("--incoming-cleartext", choices=("yes", "no"),
                         help="whether unencrypted mail to this address is accepted")
    for option, (key, metavar, help) in changing.OWN.items():
        command.add_argument(option, dest=key, metavar=metavar,
                             help=f"{help}; \"default\": as chatmaild.ini says")


def _configure_moving(actions: _Actions) -> None:
    command = actions.add("export", "write the mail of an account as a tar archive", moving.export,
                          "address", opens_files=True)
    command.add_argument("file", nargs="?", default="-", metavar="FILE",
                         help="file to write, which must not exist (default: standard output)")
    command.add_argument("--complete", action="store_true",
                         help="the whole account, for \"accounts import\": password hash, "
                         "settings, last login and push tokens too")
    command = actions.add("import", "make accounts of an archive or of mailboxes elsewhere",
                          moving.bring_in, opens_files=True)
    command.add_argument("source", metavar="SOURCE",
                         help="what \"export\" wrote (-: standard input), or a directory: a "
                         "mailbox, or one of a chatmail relay's domains")
    command.add_argument("address", nargs="?", metavar="ADDRESS",
                         help="the new name of the account (default: the old one)")


def run(args: argparse.Namespace, console: Console) -> int:
    """Run the chosen action. Returns the exit status."""
    config = inifile.load(args.config)
    if not args.opens_files:
        privileges.become(config.mail_user)
    code: int = args.act(args, config, console)
    return code
