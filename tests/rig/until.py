"""Waits for a condition, never for time to pass."""

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def until(condition: Callable[[], T], what: str, seconds: float = 120, pause: float = 0.01) -> T:
    """The first true value of `condition`, asked every `pause` seconds; AssertionError naming
    `what` when it never comes."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds:g} s in vain for {what}")
        time.sleep(pause)
    return value


async def until_async(
    condition: Callable[[], T], what: str, seconds: float = 120, pause: float = 0.001
) -> T:
    """The same for code that runs in the event loop, which goes on meanwhile."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds:g} s in vain for {what}")
        await asyncio.sleep(pause)
    return value
