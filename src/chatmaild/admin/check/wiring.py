"""Is this host wired at all, and what would `chatmaild wire` do about a finding?

Cures are steps of its plan, so `check` and `wire` never give different advice.
"""

import dataclasses
from collections.abc import Iterable, Iterator

from chatmaild.admin.check.dovecot import is_ours
from chatmaild.admin.check.findings import Finding, Level, failure
from chatmaild.admin.servers.doveconf import Dovecot
from chatmaild.admin.servers.milters import milters
from chatmaild.admin.servers.postconf import Postfix
from chatmaild.admin.wiring.steps import Kind, Plan

COMMAND = "chatmaild wire --apply"


def is_unwired(postfix: Postfix, dovecot: Dovecot) -> bool:
    """Whether neither server asks us about anything."""
    asked = any(milter.is_ours for service in postfix.servers()
                for milter in milters(postfix.get("smtpd_milters", service)))
    return not asked and not any(is_ours(block) for kind in ("passdb", "userdb")
                                 for block in dovecot.tree.all(kind))


def unwired(plan: Plan) -> Iterator[Finding]:
    """Yield one finding for a host that was never wired, and one for each line in the way."""
    yield failure("unwired", "Postfix and Dovecot",
                  f"neither asks chatmaild about anything yet; {len(plan.steps)} changes are to be "
                  "made", f"chatmaild wire     (shows them)\n{COMMAND}")
    for obstacle in plan.obstacles:
        yield failure("obstacle", obstacle.place, obstacle.text, obstacle.way_out)


def with_cures(findings: Iterable[Finding], plan: Plan | None) -> Iterator[Finding]:
    """Yield `findings`; where `wire` would do something, that is their cure."""
    for finding in findings:
        steps = plan.curing(finding.code) if plan else []
        if finding.level is Level.OK or not steps:
            yield finding
            continue
        lines = [COMMAND + "     which changes:",
                 *(f"  {line}" for step in steps for line in step.describe())]
        yield dataclasses.replace(finding, cure="\n".join(lines))


def other_instances(postfix: Postfix, plan: Plan) -> Iterator[Finding]:
    """Find other instances of Postfix at which chat users could evade our filter."""
    steps = [step for step in plan.steps
             if step.kind in (Kind.PARAMETER, Kind.OPTION, Kind.SERVICE)
             and step.place.rpartition("/")[0] != postfix.directory]
    for place in dict.fromkeys(step.place.rpartition("/")[0] for step in steps):
        yield failure("instance-open", f"{place}/master.cf", "this instance lets chat users log "
                      "in and send past our filter", f"{COMMAND}     (refuses them there)")
