"""A demonstration: steps, one line each, with the server's own words."""

import time
from collections.abc import Callable


class Unexpected(Exception):
    """A server did not answer as it should; the text is what it said."""


def expect(so: bool, otherwise: str) -> None:
    """Raises `Unexpected`."""
    if not so:
        raise Unexpected(otherwise)


def show(description: str, step: Callable[[], str]) -> bool:
    """Take a step, and print what came of it. Whether it was as expected."""
    started = time.monotonic()
    try:
        reply, good = step(), True
    except Exception as error:      # whatever it is, it was not as expected, and the rest goes on
        reply, good = str(error).splitlines()[0], False
    took = f"{time.monotonic() - started:.2f} s"
    print(f"  {'ok ' if good else 'NOT'}  {description:<48} {took:>8}   {reply}", flush=True)
    return good
