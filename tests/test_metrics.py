"""The text format of Prometheus."""

import threading

import pytest

from chatmaild.metrics import Counter, Histogram, Metric, parse, render


def test_a_counter_by_labels():
    counter = Counter("seen_total", "Seen.", "kind")
    for kind in ("b", "a", "b"):
        counter.add(kind)
    assert render([counter.metric()], (("service", "x"),)) == (
        "# HELP seen_total Seen.\n# TYPE seen_total counter\n"
        'seen_total{service="x",kind="a"} 1\nseen_total{service="x",kind="b"} 2\n')


def test_a_counter_without_labels_begins_at_zero():
    assert render([Counter("seen_total", "Seen.").metric()]).endswith("seen_total 0\n")


def test_a_histogram_counts_up():
    histogram = Histogram("seconds", "Time.", "way", (0.1, 1.0))
    for value in (0.1, 0.5, 3):
        histogram.add("in", value)
    assert render([histogram.metric()]).splitlines()[2:] == [
        'seconds_bucket{way="in",le="0.1"} 1', 'seconds_bucket{way="in",le="1.0"} 2',
        'seconds_bucket{way="in",le="+Inf"} 3', 'seconds_sum{way="in"} 3.6',
        'seconds_count{way="in"} 3']


def test_no_addition_is_lost_between_threads():
    counter = Counter("seen_total", "Seen.", "kind")
    threads = [threading.Thread(target=lambda: [counter.add("x") for _ in range(5000)])
               for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert list(counter.metric().values.values()) == [20_000]


def test_what_is_rendered_can_be_parsed():
    metric = Metric("x", "X.", "gauge", {(): 1.5, (("a", "b"), ("c", "d")): 2})
    assert parse(render([metric])) == {"x": {(): 1.5, (("a", "b"), ("c", "d")): 2.0}}


@pytest.mark.parametrize("text", ["nonsense\n", "x{a=1} 2 3\n", "x one\n", "<html>\n"])
def test_anything_else_is_refused(text):
    with pytest.raises(ValueError):
        parse(text)
