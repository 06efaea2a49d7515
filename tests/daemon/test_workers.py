"""Shares of one piece of work in several processes."""

import os
import signal

from rig.until import until

from chatmaild.daemon import workers


def test_each_share_is_done_once_and_its_result_comes_back():
    def work(share, step):
        step()
        return {"share": share, "process": os.getpid()}

    results = workers.run(3, work, lambda: None)
    assert [result["share"] for result in results] == [0, 1, 2]
    assert len({result["process"] for result in results}) == 3
    assert results[0]["process"] == os.getpid()


def test_a_process_that_ends_early_has_no_result():
    def work(share, step):
        if share == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        if share == 2:
            raise ValueError("a mistake")
        return {}

    assert workers.run(4, work, lambda: None) == [{}, None, None, {}]


def test_nobody_goes_on_when_the_parent_is_gone(tmp_path):
    reading, writing = os.pipe()

    def work(share, step):
        if share == 0:
            os._exit(0)
        os.close(reading)
        while True:
            step()

    parent = os.fork()
    if parent == 0:
        workers.run(2, work, lambda: None)
    os.waitpid(parent, 0)
    os.close(writing)
    os.set_blocking(reading, False)

    def child_is_gone():
        try:
            return os.read(reading, 1) == b""
        except BlockingIOError:
            return False

    until(child_is_gone, "the child to notice")
    os.close(reading)


def test_a_mutex_is_held_by_one_at_a_time(tmp_path):
    mutex = workers.Mutex()
    path = tmp_path / "lines"

    def work(share, step):
        for _ in range(200):
            with mutex:
                for letter in str(share) * 4:
                    with open(path, "a") as file:
                        file.write(letter)
        return {}

    workers.run(3, work, lambda: None)
    text = path.read_text()
    assert {text[n:n + 4] for n in range(0, len(text), 4)} == {"0000", "1111", "2222"}
