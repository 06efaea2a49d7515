"""``chatmaild report``: shows what the chat domains hold, and when expiry last succeeded."""

import argparse
import math
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from chatmaild import metrics
from chatmaild.admin import serviceactivity
from chatmaild.config import lastgood
from chatmaild.config.config import Config
from chatmaild.console import Console, counted, duration, octets, printable
from chatmaild.daemon import privileges
from chatmaild.disk import atomic
from chatmaild.errors import StoreError
from chatmaild.metrics import Labels
from chatmaild.push import metrics as push_metrics
from chatmaild.push.metrics import Standing
from chatmaild.retention import census, runstate
from chatmaild.retention.census import AGE_DAYS, LOGIN_DAYS, SIZES, Census
from chatmaild.retention.rules import DAY
from chatmaild.retention.runstate import LastRun

BAR = 40
"""Characters of the longest bar."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("--textfile", type=Path, metavar="FILE",
                        help="write Prometheus metrics for node_exporter there, print nothing")
    parser.add_argument("--json", action="store_true", help="print one JSON document instead")


def run(args: argparse.Namespace, console: Console) -> int:
    """Print the report. Returns 1 if something could not be read."""
    loaded = lastgood.load(args.config, args.last_good)
    config = loaded.config
    if not args.textfile:
        privileges.become_owner(config.mailboxes_dir)
    now = int(time.time())
    problems = list(loaded.problems)

    def complain(path: str, error: OSError) -> None:
        problems.append(f"{printable(path)}: {error.strerror}")

    progress = console.progress(lambda: _entries(config), "mailboxes")
    try:
        taken = {domain.name: census.take(config, domain, now, complain, progress.step)
                 for domain in config.domains.values()}
    finally:
        progress.close()
    found = {name: each for name, each in taken.items() if each}    # of others nothing is known
    last = _loaded(problems, runstate.load, config)
    overdue = runstate.is_overdue(config, last, now)
    if args.textfile:
        _write(args.textfile, metrics.render(
            _metrics(found, last, overdue, now, is_broken=bool(loaded.problems))))
    else:
        push = _loaded(problems, push_metrics.load, config.push_metrics_file)
        _print(console, found, last, overdue, now)
        if any(domain.push for domain in config.domains.values()):
            console.line(_push(push, now))
        services, silent = serviceactivity.gather(config, problems)
        if config.metrics_listen:
            serviceactivity.show(console, services, silent, _bar)
        console.result(_document(found, last, overdue, push, now, problems)
                       | {"services": serviceactivity.document(services)})
    for problem in problems:
        console.error(problem)
    return 1 if problems else 0


def _loaded(problems: list[str], load: Callable[[Any], Any], source: Any) -> Any:
    try:
        return load(source)
    except StoreError as error:
        problems.append(str(error))
        return None


def _entries(config: Config) -> int:
    total = 0
    for name in config.domains:
        try:
            total += len(os.listdir(config.mailboxes_dir / name))
        except OSError:
            continue
    return total


def _write(path: Path, text: str) -> None:
    try:
        atomic.write_file(os.path.abspath(path), text.encode(), mode=0o644)
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror}") from None


def _document(
    found: dict[str, Census], last: LastRun | None, overdue: bool, push: Standing | None, now: int,
    problems: Sequence[str],
) -> dict[str, Any]:
    def classes(bounds: Sequence[int], counts: Sequence[int]) -> list[dict[str, int | None]]:
        return [{"up_to": bound, "count": count} for bound, count in zip([*bounds, None], counts)]

    domains = {}
    for name, each in found.items():
        domains[name] = asdict(each) | {
            "logins": classes(LOGIN_DAYS, each.logins), "ages": classes(AGE_DAYS, each.ages),
            "sizes": classes(SIZES, each.sizes), "bytes": each.octets}
        del domains[name]["octets"]
    return {
        "now": now, "domains": domains, "problems": list(problems),
        "expire": {
            "last_good": last.good if last else None,
            "last_run": last.finished if last else None,
            "problems": last.problems if last else None,
            "held_back": dict(last.held_back) if last else {},
            "overdue": overdue,
        },
        "push": asdict(push) if push else None,
    }


def _gauge(name: str, meaning: str, values: dict[Labels, float]) -> metrics.Metric:
    return metrics.Metric(f"chatmaild_{name}", meaning, "gauge", values)


def _expire_metrics(
    found: dict[str, Census], last: LastRun | None, overdue: bool
) -> list[metrics.Metric]:
    held_back = last.held_back if last else {}
    return [
        _gauge("expire_last_success_timestamp_seconds",
               "End of the last chatmaild expire without a problem; 0: never.",
               {(): (last and last.good) or 0}),
        _gauge("expire_overdue", "1 if the last good run is more than two days old.",
               {(): int(overdue)}),
        _gauge("expire_last_run_problems", "Problems of the last run.",
               {(): last.problems if last else 0}),
        _gauge("expire_last_run_removed", "What the last run removed, by reason.",
               {(("reason", reason),): count
                for reason, count in (last.removed if last else {}).items()}),
        _gauge("expire_held_back_accounts",
               "Inactive accounts not removed because logins are not being recorded.",
               {(("domain", domain),): held_back.get(domain, 0) for domain in found}),
    ]


def _metrics(
    found: dict[str, Census], last: LastRun | None, overdue: bool, now: int, is_broken: bool,
) -> list[metrics.Metric]:
    def by_domain(name: str, meaning: str, attribute: str) -> metrics.Metric:
        return _gauge(name, meaning, {
            (("domain", domain),): getattr(each, attribute) for domain, each in found.items()})

    def up_to(name: str, meaning: str, attribute: str, label: str,
              bounds: Sequence[int]) -> metrics.Metric:
        return _gauge(name, meaning, {
            (("domain", domain), (label, str(bound))): sum(getattr(each, attribute)[:index])
            for domain, each in found.items() for index, bound in enumerate(bounds, 1)})

    return [
        by_domain("accounts", "Accounts.", "accounts"),
        up_to("accounts_active", "Accounts with a login in the last days.", "logins", "days",
              LOGIN_DAYS),
        by_domain("messages", "Messages stored.", "messages"),
        up_to("messages_by_age", "Messages saved in the last days.", "ages", "days", AGE_DAYS),
        up_to("messages_by_size", "Messages of at most so many octets.", "sizes", "bytes", SIZES),
        by_domain("mail_bytes", "Size of the messages before compression.", "octets"),
        by_domain("mailboxes_over_quota_mark", "Mailboxes that the next run trims.",
                  "over_quota_mark"),
        *_expire_metrics(found, last, overdue),
        _gauge("config_broken", "1 if chatmaild.ini is, so that the last good one is used.",
               {(): int(is_broken)}),
        _gauge("report_timestamp_seconds", "When these numbers were taken.", {(): now}),
    ]


def _print(
    console: Console, found: dict[str, Census], last: LastRun | None, overdue: bool, now: int
) -> None:
    for name, each in found.items():
        console.line(name)
        console.line(f"  {counted(each.accounts, 'account')}, "
                     f"{counted(each.messages, 'message')}, {octets(each.octets)}")
        if each.without_account:
            console.line(f"  {_mailboxes(each.without_account)} without an account")
        if each.over_quota_mark:
            console.line(f"  {_mailboxes(each.over_quota_mark)} that the next run trims")
        _table(console, "Accounts by days since the last login", LOGIN_DAYS, each.logins, "d")
        _table(console, "Messages by age in days", AGE_DAYS, each.ages, "d")
        _table(console, "Messages by size", SIZES, each.sizes, "B")
        console.line()
    console.line(_last_run(last, now) + ("; OVERDUE" if overdue else ""))
    for domain, count in (last.held_back if last else {}).items():
        console.line(f"{domain}: {counted(count, 'inactive account')} kept, because no login was "
                     "recorded in the last 7 days; chatmaild check finds out why")


def _mailboxes(count: int) -> str:
    return counted(count, "mailbox", "mailboxes")


def _table(
    console: Console, title: str, bounds: Sequence[int], counts: Sequence[int], unit: str
) -> None:
    console.line(f"  {title}")
    most = max(*counts, 1)
    for bound, count in zip([*bounds, None], counts):
        label = f"up to {bound:,} {unit}" if bound else "more"
        console.line(f"    {label:>18} {count:>12,} {_bar(count, most)}".rstrip())


def _bar(count: float, most: float) -> str:
    block = "█" if (sys.stdout.encoding or "").lower().startswith("utf") else "#"
    return block * math.ceil(BAR * count / most)


def _last_run(last: LastRun | None, now: int) -> str:
    if last is None:
        return "chatmaild expire has not run yet: systemctl list-timers chatmaild-expire.timer"
    text = "Last run of chatmaild expire without a problem: "
    text += f"{_ago(now - last.good)} ago" if last.good else "never"
    if last.good != last.finished:
        text += (f"; the last run, {_ago(now - last.finished)} ago, had "
                 f"{counted(last.problems, 'problem')}: journalctl -u chatmaild-expire")
    return text


def _push(push: Standing | None, now: int) -> str:
    if push is None:
        return "Push: chatmaild-notifier has not run yet: systemctl status chatmaild-notifier"
    text = (f"Push since the notifier started: {push.sent:,} sent, "
            f"{counted(push.failed, 'failed attempt')}, {push.expired:,} dropped after 5 hours, "
            f"{counted(push.gone, 'device')} gone; ")
    text += (f"{push.queued:,} wait, the oldest for {duration(push.oldest_seconds)}"
             if push.queued else "none waits")
    if not push.gateway_is_up:
        text += "; the gateway is DOWN"
    if push.is_stale(now):
        text += (f"; {_ago(int(now - push.timestamp))} ago: "
                 "systemctl status chatmaild-notifier")
    return text


def _ago(seconds: int) -> str:
    return counted(seconds // DAY, "day") if seconds >= 2 * DAY else duration(max(seconds, 0))
