"""``chatmaild check``: looks at a host and proves its wiring, or names the line to change."""

import argparse
import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from chatmaild.admin.check import (
    copies, delivery, diversions, dns, dovecot as check_dovecot, headers, host, logins, mail, names,
    others, packetfilter, passwords, policyservers, postfix as check_postfix, reach, refusals,
    sessions, signing, sockets, trust, wiring,
)
from chatmaild.admin.check.findings import Finding, Level, failure, unseen
from chatmaild.admin.dns import addresses, command as dns_command, observation as dns_observation
from chatmaild.admin.dns.questions import Told, gather, gather_mx
from chatmaild.admin.servers import doveconf, postconf
from chatmaild.admin.servers.doveconf import Dovecot
from chatmaild.admin.servers.postconf import Postfix
from chatmaild.admin.wiring import observation, otherhosts, planning
from chatmaild.admin.wiring.otherhosts import Known
from chatmaild.admin.wiring.steps import Plan
from chatmaild.config import lastgood
from chatmaild.config.config import Config
from chatmaild.config.values import host_name
from chatmaild.console import Console
from chatmaild.dkim import resolver
from chatmaild.errors import ChatmaildError, ConfigError, UsageError

Observed = TypeVar("Observed")

MARKS = {Level.OK: "ok", Level.WARNING: "warning", Level.UNSEEN: "not seen",
         Level.FAILURE: "FAILURE"}

LOCAL = "localhost"
PROBE = "gmail.com"

NEEDS = {"host": ("live", "dns"), "probe": ("dns",), "server": ("dns",), "address": ("dns",)}
"""Options without a meaning unless one of others is given."""

CURES = {
    "macro processing error":
        "what -o smtpd_milters= names in master.cf must not name $smtpd_milters in turn:\n"
        "main.cf:    host_milters = (what smtpd_milters was)\n"
        "            smtpd_milters = $host_milters\n"
        "            chat_submission_milters = unix:chatmaild/filtermail.sock, $host_milters",
}
"""What helps against complaints of Postfix and Dovecot that explain themselves badly."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("--live", action="store_true",
                        help="also log in with a throw-away address, send with it, and remove it")
    parser.add_argument("--dns", action="store_true",
                        help="also ask the DNS about the chat domains, look at the certificates "
                        "that clients see, and whether mail can leave")
    parser.add_argument("--host", metavar="NAME", type=_host,
                        help="where --live connects to, and --dns where the host cannot reach its "
                        "public address (default: localhost)")
    dns_command.configure_host(parser)
    parser.add_argument("--probe", metavar="DOMAIN", type=_host,
                        help=f"whose mail exchangers --dns tries to reach (default: {PROBE})")
    parser.add_argument("--problems", action="store_true",
                        help="show only what is not in order")
    parser.add_argument("--postfix", metavar="DIRECTORY",
                        help="configuration directory of Postfix (default: its own)")
    parser.add_argument("--dovecot", metavar="FILE",
                        help="configuration file of Dovecot (default: its own)")
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def _host(text: str) -> str:
    with contextlib.suppress(ValueError):
        if addresses.parse(text) or host_name(text):
            return text
    raise argparse.ArgumentTypeError(f"{text[:80]!r}: neither the name of a host nor its address")


def run(args: argparse.Namespace, console: Console) -> int:
    """Check this host. Returns 1 if anything failed or could not be looked at."""
    for option, wanted in NEEDS.items():
        if getattr(args, option) and not any(getattr(args, other) for other in wanted):
            raise UsageError(f"--{option} needs {' or '.join(f'--{other}' for other in wanted)}")
    try:
        loaded = lastgood.load(args.config, args.last_good)
        config, problems = loaded.config, loaded.problems
    except ConfigError as error:
        problems = error.problems
    if problems:
        findings = [failure("config", where, text) for where, _, text in (
            problem.partition(": ") for problem in problems)]
        _report(findings, args, console)
        return 2
    findings = list(examine(config, args))
    _report(findings, args, console)
    return 0 if all(f.level in (Level.OK, Level.WARNING) for f in findings) else 1


def examine(config: Config, args: argparse.Namespace) -> Iterator[Finding]:
    """Yield all findings, in the order in which to mend them."""
    yield from host.check(config)
    if not config.mail_domains:
        if args.live or args.dns:
            yield unseen("idle-unproven", "--live" if args.live else "--dns",
                         "nothing to try without a chat domain")
        return
    problems: list[Finding] = []
    postfix = _observe(lambda: postconf.observe(args.postfix), "postfix", problems)
    dovecot = _observe(lambda: doveconf.observe(args.dovecot), "dovecot", problems)
    yield from problems
    known = otherhosts.ask(config)
    plan = _plan(postfix, dovecot, known, config) if postfix and dovecot else None
    if postfix and dovecot and plan and wiring.is_unwired(postfix, dovecot):
        yield from wiring.unwired(plan)
    else:
        yield from wiring.with_cures(_servers(postfix, dovecot, config), plan)
        if postfix and plan:
            yield from wiring.other_instances(postfix, plan)
    packets = packetfilter.rules() if config.directory else ""
    yield from wiring.with_cures(others.check(known, packets, postfix, dovecot, config), plan)
    yield from sockets.check(config, postfix)
    yield from dns.check(config)
    if args.dns and postfix:
        yield from _dns(config, postfix, args)
    if args.live:
        from chatmaild.admin.check import live
        yield from live.check(config, postfix, dovecot, args.host or LOCAL)


def _dns(config: Config, postfix: Postfix, args: argparse.Namespace) -> Iterator[Finding]:
    """Check the DNS of the chat domains, and the servers that it leads to."""
    domains, probe = config.mail_domains, args.probe or PROBE
    here = dns_observation.observe(postfix, domains, tuple(args.address))

    def ask(questions: Iterable[resolver.DnsQuestion]) -> dict[resolver.DnsQuestion, Told]:
        return dict(resolver.ask_all(questions, args.server))
    answers = gather(domains, here, ask)
    yield from names.check(domains, here, answers)
    yield from reach.check(domains, answers, args.host or LOCAL)
    if not here.relay:
        answers = gather_mx(probe, ask)
    yield reach.port_25(probe, answers, here.relay)


def _servers(
    postfix: Postfix | None, dovecot: Dovecot | None, config: Config
) -> Iterator[Finding]:
    if postfix is not None:
        yield from check_postfix.check(postfix, config)
        yield from trust.check(postfix, config)
        yield from signing.check(postfix)
        yield from headers.check(postfix, config)
        yield from delivery.check(postfix, dovecot, config)
        yield from copies.check(postfix, config)
        yield from diversions.check(postfix, config)
        yield from refusals.check(postfix, config)
        yield from policyservers.check(postfix, config)
        yield from logins.of_postfix(postfix, dovecot, config)
        yield from passwords.of_postfix(postfix)
    if dovecot is not None:
        yield from check_dovecot.check(dovecot, config)
        yield from logins.of_dovecot(dovecot)
        yield from passwords.of_dovecot(dovecot)
        yield from mail.check(dovecot, config)
        yield from sessions.check(dovecot, config)


def _plan(postfix: Postfix, dovecot: Dovecot, known: Known, config: Config
          ) -> Plan | None:
    """Return what `wire` would do; None if unknown, for example because we are not root."""
    try:
        return planning.plan(observation.around(postfix, dovecot, known), config)
    except ChatmaildError:
        return None


def _observe(
    look: Callable[[], Observed], program: str, problems: list[Finding]
) -> Observed | None:
    try:
        return look()
    except ChatmaildError as error:
        if os.geteuid() != 0 and "ermission" in str(error):
            problems.append(unseen(program, program, str(error), "run as root"))
        else:
            problems.append(failure(program, program, str(error), CURES.get(
                str(error).rpartition("fatal: ")[2], "")))
        return None


def _report(findings: Iterable[Finding], args: argparse.Namespace, console: Console) -> None:
    counts: dict[str, int] = dict.fromkeys(Level, 0)
    shown = []
    for finding in findings:
        counts[finding.level] += 1
        if finding.level is not Level.OK or not args.problems:
            shown.append(finding)
    for finding in shown:
        console.line(f"{MARKS[finding.level]:9}{finding.place}: {finding.text}")
        for line in finding.cure.splitlines():
            console.line(f"{'':9}    {line}")
    good = not counts[Level.FAILURE] and not counts[Level.UNSEEN]
    console.line()
    console.line(", ".join(f"{counts[level]} {mark.lower()}" for level, mark in MARKS.items()
                           if counts[level]) + (": all is well" if good else ""))
    console.result({
        "ok": good,
        "counts": counts,
        "findings": [finding.as_dict() for finding in shown],
    })
