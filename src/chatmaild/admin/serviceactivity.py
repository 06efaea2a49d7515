"""Gathers the services' metrics for ``chatmaild report``, and shows them to people."""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from chatmaild import metrics
from chatmaild.config.config import Config
from chatmaild.console import Console, counted, octets
from chatmaild.daemon import metricsocket
from chatmaild.errors import StoreError
from chatmaild.metrics import Labels

Values = Mapping[str, Mapping[Labels, float]]
"""Metric -> labels -> value."""

Bar = Callable[[float, float], str]
"""A count and the largest one -> its bar."""

PREFIX = "chatmaild_"

MOST = 8
"""Reasons that are shown of one kind; the log has the others."""


def gather(config: Config, problems: list[str]) -> tuple[dict[str, dict[Labels, float]], list[str]]:
    """Return the values of all services together, and those that did not answer."""
    found: dict[str, dict[Labels, float]] = {}
    silent = []
    for service in metricsocket.SERVICES:
        try:
            text = metricsocket.ask(config, service)
            values = metrics.parse(text) if text is not None else None
        except (StoreError, ValueError) as error:
            problems.append(f"{service}: {error}")
            continue
        if values is None:
            silent.append(service)
            continue
        for name, each in values.items():
            found.setdefault(name, {}).update(each)
    return found, silent


def document(values: Values) -> list[dict[str, Any]]:
    """Return the values for ``--json``."""
    return [{"name": name, "labels": dict(labels), "value": value}
            for name, each in sorted(values.items()) for labels, value in each.items()]


def show(console: Console, values: Values, silent: list[str], bar: Bar) -> None:
    """Print what happened since the services started. `bar` draws a part of a whole."""
    for direction in ("outgoing", "incoming"):
        read = _sum(values, "filter_messages_total", direction=direction)
        size = _sum(values, "filter_octets_total", direction=direction)
        seconds = _sum(values, "filter_answer_seconds_sum", direction=direction)
        console.line(f"{direction.capitalize()} mail since the filter started: "
                     f"{counted(int(read), 'message')} read, {octets(size)}, "
                     f"{1000 * seconds / (read or 1):.1f} ms each")
        verdicts: Counter[str] = Counter()      # both filters may have some of either direction
        for labels, count in values.get(f"{PREFIX}filter_verdicts_total", {}).items():
            named = dict(labels)
            if named["direction"] == direction:
                verdicts[f"{named['verdict']} {named['reason']}"] += int(count)
        _bars(console, verdicts, bar)
    for title, name in (("Accounts made", "accounts_created_total"),
                        ("First logins refused", "signups_refused_total"),
                        ("Logins seen", "logins_total"),
                        ("DNS lookups for DKIM keys", "dns_lookups_total")):
        each = values.get(PREFIX + name, {})
        console.line(f"{title}: {sum(each.values()):,.0f}")
        _bars(console, {" ".join(text for key, text in labels if key != "service"): count
                        for labels, count in each.items()}, bar)
    if silent:
        console.line(f"Not running, or not listening on metrics_listen: {', '.join(silent)}")


def _sum(values: Values, name: str, **wanted: str) -> float:
    return sum(value for labels, value in values.get(PREFIX + name, {}).items()
               if wanted.items() <= dict(labels).items())


def _bars(console: Console, counts: Mapping[str, float], bar: Bar) -> None:
    most = max([*counts.values(), 1])
    for name, count in sorted(counts.items(), key=lambda item: -item[1])[:MOST]:
        console.line(f"    {name:>36} {count:>12,.0f} {bar(count, most)}".rstrip())
