"""``chatmaild wire``: shows the changes to Postfix and Dovecot, and makes them if asked."""

import argparse
import os

from chatmaild.admin.wiring import applying, observation, otherhosts, planning, record
from chatmaild.admin.wiring.steps import Plan, Step
from chatmaild.config import inifile
from chatmaild.config.values import one_address
from chatmaild.console import Console, counted
from chatmaild.errors import UsageError


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("--apply", action="store_true", help="carry the plan out")
    parser.add_argument("--own-submission", metavar="ADDRESS", type=_address,
                        help="give chat submission services of its own at this address")
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def _address(text: str) -> str:
    try:
        return one_address(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r}: {error}") from None


def run(args: argparse.Namespace, console: Console) -> int:
    """Show the plan, and carry it out with ``--apply``. Returns the exit status."""
    config = inifile.load(args.config)
    if not config.mail_domains:
        raise UsageError(f"{args.config}: mail_domains is empty: name a chat domain first")
    if os.geteuid() != 0:
        raise UsageError("run as root")

    known = otherhosts.ask(config)

    def look() -> Plan:
        return planning.plan(observation.observe(known), config, args.own_submission or "")
    with record.alone():
        left = applying.recover() if args.apply else []
        interrupted = record.load().under_way is not None
        plan = look()
        _show(plan, console)
        for line in left:
            console.line(line)
        if interrupted:
            console.line("An earlier run was interrupted; --apply, or chatmaild unwire, first puts "
                         "back what it had begun.")
        applied = args.apply and not plan.obstacles and bool(plan.steps)
        if applied:
            applying.apply(plan, look)
    console.result({"steps": [step.as_dict() for step in plan.steps],
                    "obstacles": [vars(obstacle) for obstacle in plan.obstacles],
                    "notes": plan.notes, "applied": applied, "interrupted": interrupted})
    _conclude(plan, args, console)
    return 1 if plan.obstacles else 0


def _show(plan: Plan, console: Console) -> None:
    for place in dict.fromkeys(step.place for step in plan.steps):
        for step in plan.of(place):
            _show_step(step, console)
    for obstacle in plan.obstacles:
        console.line(f"STANDS IN THE WAY  {obstacle.place}: {obstacle.text}")
        for line in obstacle.way_out.splitlines():
            console.line(f"    {line}")
    for note in plan.notes:
        console.line(f"note: {note}")


def _show_step(step: Step, console: Console) -> None:
    first, *rest = step.describe()
    console.line(f"{first}    ({step.why})")
    for line in rest:
        console.line(f"  {line}")


def _conclude(plan: Plan, args: argparse.Namespace, console: Console) -> None:
    console.line()
    changes = counted(len(plan.steps), "change")
    if plan.obstacles:
        console.line("Nothing was changed: change the lines named above, then run this again.")
    elif not plan.steps:
        console.line("This host is wired: nothing to change.")
    elif args.apply:
        console.line(f"{changes} made; both servers were reloaded. To give all back: chatmaild "
                     "unwire --apply")
    else:
        console.line(f"{changes}. Nothing was changed yet: chatmaild wire --apply")
