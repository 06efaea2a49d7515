#!/usr/bin/python3
"""Makes the tables of bench/README.md and bench/results/filter.svg from bench/results/*.json.

    bench/tables.py
"""

import json
import re
from pathlib import Path

from record import RESULTS

README = RESULTS.parent / "README.md"
WIDTH, BAR, LEFT = 640, 22, 130
"""Of the chart, in pixels."""


def machine(result):
    found = result["machine"]
    return (f"{found['cpu']}, {found['cores']} cores, Debian {found['debian']}, Postfix "
            f"{found['postfix']}, Python {found['python']}; {found['date']}, {found['commit']}")


def table(header, rows):
    return "\n".join(["| " + " | ".join(header) + " |", "|---" * len(header) + "|",
                      *("| " + " | ".join(map(str, row)) + " |" for row in rows)])


def filters(result):
    figures, rows = result["figures"], []
    for name in figures["3 KB"]["filters"]:
        small, large = (figures[size]["filters"][name] for size in ("3 KB", "2 MB"))
        rows.append([name, small["messages/s"], small["of accept-all"], small["CPU ms"],
                     figures["added ms"][name], large["messages/s"], large["of accept-all"],
                     large["CPU ms"], figures["peak MB"].get(name, "")])
    return table(["filter", "3 KB: messages/s", "of accept-all", "CPU ms", "added ms",
                  "2 MB: messages/s", "of accept-all", "CPU ms", "peak MB, 20 × 20 MB"], rows)


def incoming(result):
    keys = ("none/s", "accept-all/s", "incoming/s", "of none", "of accept-all", "of bare",
            "bare of accept-all")
    rows = [[what, *(found.get(key, "") for key in keys)]
            for what, found in result["figures"].items() if isinstance(found, dict)]
    return table(["port 25, 3 KB", "no milter/s", "accept-all/s", "ours/s", "of no milter",
                  "of accept-all", "of bare", "bare of accept-all"], rows)


def pi(result):
    return table(["one core at half speed", ""], list(result["figures"].items()))


def doveauth(result):
    return table(["doveauth", ""], list(result["figures"].items()))


def cluster(result):
    return table(["two hosts, one chat domain", "aim", ""], result["figures"])


TOLERANCE = 2.0
"""How many times as much as with the fewest accounts a job may cost with the most to count as
constant, and an account with the most as with the next fewer to count as linear: caches are small.
"""


def growth(result):
    figures = result["figures"]
    counts = list(figures)
    rows = [[job, *(_cell(figures[count][job]) for count in counts), _growth(figures, job)]
            for job in figures[counts[0]]]
    return table(["", *(f"{int(count):,} accounts" for count in counts), "grows"], rows)


def _growth(figures, job):
    text = _grows([(int(count), found[job]["seconds"]) for count, found in figures.items()])
    if all("MB" in found[job] for found in figures.values()):
        memory = _grows([(int(count), found[job]["MB"]) for count, found in figures.items()])
        text += f"; memory: {memory}" if memory != text else ""
    return text


def _grows(costs):
    """How the cost grows, from pairs of the number of accounts and the cost, in their order."""
    (_, first), (fewer, former), (most, last) = costs[0], costs[-2], costs[-1]
    if last <= TOLERANCE * first:
        return "constant"
    return "linear" if last / most <= TOLERANCE * former / fewer else "more than linear"


def _cell(found):
    seconds = found["seconds"]
    text = f"{seconds:.2f} s" if seconds >= 0.1 else f"{1000 * seconds:.2g} ms"
    return text + (f", {found['MB']:.0f} MB" if "MB" in found else "")


def chart(result):
    """Messages of 3 KB a second through each filter, as bars."""
    found = {name: each["messages/s"]
             for name, each in result["figures"]["3 KB"]["filters"].items()}
    most = max(found.values())
    bars = []
    for number, (name, rate) in enumerate(found.items()):
        y, width = 40 + number * (BAR + 8), (WIDTH - LEFT - 70) * rate / most
        fill = "#2a7" if name == "filtermail" else "#999"
        bars.append(f'<text x="{LEFT - 8}" y="{y + 16}" text-anchor="end">{name}</text>'
                    f'<rect x="{LEFT}" y="{y}" width="{width:.0f}" height="{BAR}" fill="{fill}"/>'
                    f'<text x="{LEFT + width + 6:.0f}" y="{y + 16}">{rate:.0f}</text>')
    height = 48 + len(found) * (BAR + 8)
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
            'font-family="sans-serif" font-size="14">\n'
            f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>\n'
            f'<text x="{LEFT}" y="22">messages of 3 KB a second, 10 sessions</text>\n'
            + "\n".join(bars) + "\n</svg>\n")


def main():
    text = README.read_text()
    for name, make in (("filter", filters), ("incoming", incoming), ("growth", growth),
                       ("pi", pi), ("doveauth", doveauth), ("cluster", cluster)):
        path = Path(RESULTS / f"{name}.json")
        if not path.exists():
            continue
        result = json.loads(path.read_text())
        text, count = re.subn(
            rf"(<!-- {name} -->\n).*?(<!-- end -->)",
            lambda match: f"{match[1]}\n{make(result)}\n\n{machine(result)}\n{match[2]}",
            text, flags=re.DOTALL)
        if not count:
            raise SystemExit(f"{README}: no place for {name}")
        if name == "filter":
            (RESULTS / "filter.svg").write_text(chart(result))
    README.write_text(text)


if __name__ == "__main__":
    main()
