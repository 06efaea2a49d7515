"""Metrics in the text format that Prometheus and node_exporter's textfile collector read.

Source: https://prometheus.io/docs/instrumenting/exposition_formats/, version 0.0.4. No label may
hold an address, a stranger's domain or a token: reasons and directions are our own words, domains
come from chatmaild.ini.
"""

import re
import threading
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

Labels = tuple[tuple[str, str], ...]
_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})

_SAMPLE = re.compile(r'([a-z_0-9]+)(?:\{([^{}]*)\})? (\S+)', re.ASCII)
_LABEL = re.compile(r'(?<![a-z_0-9])([a-z_0-9]+)="([^"\\]*)",?', re.ASCII)


class Metric(NamedTuple):
    """One metric with a value for each set of labels."""

    name: str
    meaning: str
    kind: str
    """``gauge``, ``counter`` or ``histogram``."""
    values: Mapping[Labels, float]
    parts: Mapping[str, Mapping[Labels, float]] = {}
    """Of a histogram: the values under the name with each of these suffixes."""


class Counter:
    """A counter that any thread may add to; begins at 0 with its process."""

    def __init__(self, name: str, meaning: str, *labels: str):
        self._name, self._meaning, self._labels = name, meaning, labels
        self._lock = threading.Lock()
        self._values: dict[tuple[str, ...], float] = {} if labels else {(): 0}

    def add(self, *labels: str, amount: float = 1) -> None:
        """Add `amount` for these values of the labels, given in the order of `__init__`."""
        with self._lock:
            self._values[labels] = self._values.get(labels, 0) + amount

    def metric(self) -> Metric:
        """The values now."""
        with self._lock:
            values = dict(self._values)
        return Metric(self._name, self._meaning, "counter", {
            tuple(zip(self._labels, each)): value for each, value in sorted(values.items())})


class Histogram:
    """How often something took how long, for each value of one label; any thread may add to it."""

    def __init__(self, name: str, meaning: str, label: str, bounds: Sequence[float]):
        self._name, self._meaning, self._label = name, meaning, label
        self._bounds = bounds
        self._lock = threading.Lock()
        self._counts: dict[str, list[int]] = {}
        self._sums: dict[str, float] = {}

    def add(self, label: str, value: float) -> None:
        """Count one `value`, in the unit of the bounds."""
        with self._lock:
            if label not in self._counts:
                self._counts[label] = [0] * (len(self._bounds) + 1)
                self._sums[label] = 0.0
            self._counts[label][bisect_left(self._bounds, value)] += 1
            self._sums[label] += value

    def metric(self) -> Metric:
        """The buckets, sums and counts now."""
        with self._lock:
            counts = {label: list(each) for label, each in sorted(self._counts.items())}
            sums = dict(self._sums)
        names = [*map(str, self._bounds), "+Inf"]
        buckets: dict[Labels, float] = {
            ((self._label, label), ("le", name)): sum(each[:upto])
            for label, each in counts.items() for upto, name in enumerate(names, 1)}
        return Metric(self._name, self._meaning, "histogram", {}, {
            "_bucket": buckets,
            "_sum": {((self._label, label),): sums[label] for label in counts},
            "_count": {((self._label, label),): sum(each) for label, each in counts.items()}})


def render(metrics: Iterable[Metric], common: Labels = ()) -> str:
    """The text to expose; `common` labels are added to each value."""
    lines = []
    for metric in metrics:
        lines.append(f"# HELP {metric.name} {metric.meaning}")
        lines.append(f"# TYPE {metric.name} {metric.kind}")
        for suffix, values in {"": metric.values, **metric.parts}.items():
            for labels, value in values.items():
                inner = ",".join(f'{name}="{text.translate(_ESCAPES)}"'
                                 for name, text in common + labels)
                name = metric.name + suffix
                lines.append(f"{name}{'{' + inner + '}' if inner else ''} {value}")
    return "\n".join(lines) + "\n"


def parse(text: str) -> dict[str, dict[Labels, float]]:
    """Name -> labels -> value of what `render` wrote. Raises `ValueError` for anything else."""
    found: dict[str, dict[Labels, float]] = {}
    for line in text.splitlines():
        if line[:1] == "#":
            continue
        match = _SAMPLE.fullmatch(line)
        if not match:
            raise ValueError("not the text format of Prometheus as written here")
        labels = tuple(_LABEL.findall(match[2] or ""))
        found.setdefault(match[1], {})[labels] = float(match[3])
    return found
