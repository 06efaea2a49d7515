"""The notifier's metrics: it writes them; Prometheus and ``chatmaild report`` read them."""

from dataclasses import dataclass
from pathlib import Path

from chatmaild import metrics
from chatmaild.errors import StoreError
from chatmaild.metrics import Labels

INTERVAL = 15.0
"""Seconds between two writings of push_metrics_file."""

MAX_SIZE = 65_536
"""Octets of push_metrics_file; what `render` writes is a fiftieth of that."""


@dataclass(frozen=True)
class Standing:
    """The metrics at one moment. Counters begin at 0 when the service starts."""

    sent: int
    failed: int
    expired: int
    gone: int
    queued: int
    oldest_seconds: float
    gateway_is_up: int
    timestamp: float

    def is_stale(self, now: float) -> bool:
        """Whether the metrics are so old that the notifier seems to have ended."""
        return now - self.timestamp > 4 * INTERVAL


_EXPIRED: Labels = (("reason", "expired"),)
_GONE: Labels = (("reason", "gone"),)

_METRICS: tuple[tuple[str, str, str, dict[Labels, str]], ...] = (
    ("sent_total", "counter", "Notifications that the gateway took.", {(): "sent"}),
    ("failed_total", "counter", "Attempts that failed and are repeated.", {(): "failed"}),
    ("dropped_total", "counter", "Notifications given up: too old, or the token gone.",
     {_EXPIRED: "expired", _GONE: "gone"}),
    ("queue_length", "gauge", "Notifications that wait.", {(): "queued"}),
    ("queue_oldest_seconds", "gauge", "Age of the oldest that waits.", {(): "oldest_seconds"}),
    ("gateway_up", "gauge", "0 during a pause after failures in a row.", {(): "gateway_is_up"}),
    ("timestamp_seconds", "gauge", "When these numbers were taken.", {(): "timestamp"}),
)


def render(standing: Standing, common: Labels = ()) -> str:
    """Return the text of push_metrics_file; with `common` labels that of the notifier's socket."""
    return metrics.render((
        metrics.Metric(f"chatmaild_push_{name}", meaning, kind,
                       {labels: getattr(standing, field) for labels, field in fields.items()})
        for name, kind, meaning, fields in _METRICS), common)


def parse(text: str) -> Standing:
    """Parse what `render` wrote. Raises `ValueError` for anything else."""
    values = metrics.parse(text)
    try:
        return Standing(**{
            field: Standing.__annotations__[field](values[f"chatmaild_push_{name}"][labels])
            for name, _, _, fields in _METRICS for labels, field in fields.items()})
    except (KeyError, OverflowError):
        raise ValueError("a number is missing, or infinite") from None


def load(path: Path) -> Standing | None:
    """Return what the notifier wrote last; None if nothing yet. Raises `StoreError`."""
    try:
        with open(path, encoding="utf-8") as file:
            return parse(file.read(MAX_SIZE))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror}") from None
    except ValueError:
        raise StoreError(f"{path}: not what chatmaild-notifier writes; see push_metrics_file in "
                         "chatmaild.ini(5)") from None
