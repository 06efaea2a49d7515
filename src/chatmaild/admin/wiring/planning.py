"""Makes the whole plan for a host. A function of what was observed."""

from chatmaild.admin.wiring import dovecot, kernel, postfix, severalhosts
from chatmaild.admin.wiring.observation import Host
from chatmaild.admin.wiring.steps import Obstacle, Plan, Step
from chatmaild.config.config import Config


def plan(host: Host, config: Config, own_address: str = "") -> Plan:
    """Plan what `wire` does. Raises `PostfixError` for a table that cannot be read.

    `own_address`: the address for submission services of chat's own; "" for none.
    """
    found = [*postfix.plan(host, config, own_address),
             *dovecot.plan(host, config, bool(own_address)), *kernel.plan(host),
             *severalhosts.plan(host, config)]
    for other in host.others:
        found += postfix.plan_other(other, config)
    obstacles = [item for item in found if isinstance(item, Obstacle)]
    notes = []
    if any(isinstance(item, Step) and item.name == "message_size_limit" for item in found):
        notes.append("message_size_limit holds for ordinary mail too")
    return Plan(tuple(item for item in found if isinstance(item, Step)),
                tuple(dict.fromkeys(obstacles)), tuple(notes))
