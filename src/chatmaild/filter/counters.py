"""What a filter counts: verdicts, messages, and how long Postfix waited."""

from collections.abc import Iterator

from chatmaild.filter.outside import Dns
from chatmaild.metrics import Counter, Histogram, Metric

BOUNDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
"""Seconds."""


class Counters:
    """The counters of one process. Any thread may add to them."""

    def __init__(self) -> None:
        self.verdicts = Counter(
            "chatmaild_filter_verdicts_total", "Verdicts on messages and on recipients; reasons "
            "as in the log.", "direction", "verdict", "reason")
        self.errors = Counter("chatmaild_filter_errors_total",
                              "Unexpected errors, for which mail was deferred.")
        self._messages = Counter("chatmaild_filter_messages_total",
                                 "Messages read to their end.", "direction")
        self._octets = Counter("chatmaild_filter_octets_total", "Octets of these.", "direction")
        self._seconds = Histogram(
            "chatmaild_filter_answer_seconds", "From the end of a message to the verdict on it, "
            "the DNS included.", "direction", BOUNDS)

    def read(self, direction: str, octets: int, seconds: float) -> None:
        """A message was read to its end, and answered after `seconds`."""
        self._messages.add(direction)
        self._octets.add(direction, amount=octets)
        self._seconds.add(direction, seconds)

    def metrics(self, dns: Dns) -> Iterator[Metric]:
        """All of them, for Prometheus, with those of `dns`."""
        for counter in (self.verdicts, self.errors, self._messages, self._octets):
            yield counter.metric()
        yield self._seconds.metric()
        yield Metric("chatmaild_dns_lookups_total", "Names of DKIM keys that were needed, by what "
                     "came of it.", "counter",
                     {(("result", result),): count for result, count in dns.counts().items()})
