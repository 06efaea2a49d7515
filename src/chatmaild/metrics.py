"""Metrics in the text format that Prometheus and node_exporter's textfile collector read.

Source: https://prometheus.io/docs/instrumenting/exposition_formats/, version 0.0.4.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

Labels = tuple[tuple[str, str], ...]
_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


class Metric(NamedTuple):
    """One metric with a value for each set of labels."""

    name: str
    meaning: str
    kind: str
    """``gauge`` or ``counter``."""
    values: Mapping[Labels, float]


def render(metrics: Iterable[Metric]) -> str:
    """The text to expose."""
    lines = []
    for metric in metrics:
        lines.append(f"# HELP {metric.name} {metric.meaning}")
        lines.append(f"# TYPE {metric.name} {metric.kind}")
        for labels, value in metric.values.items():
            inner = ",".join(f'{name}="{text.translate(_ESCAPES)}"' for name, text in labels)
            lines.append(f"{metric.name}{'{' + inner + '}' if inner else ''} {value}")
    return "\n".join(lines) + "\n"
