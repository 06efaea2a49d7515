"""Puts hosts of tests/network at a distance: what they send and what they get arrives later.

A kernel with netem could do this by one command; this needs only tap devices. Packets keep their
size and order, and TCP runs from end to end, so that it starts slowly as over any long line.
"""

import contextlib
import fcntl
import heapq
import ipaddress
import itertools
import multiprocessing
import os
import select
import struct
import subprocess
import time
from collections.abc import Iterator

from network.world import WIRE

_TUN = "/dev/net/tun"
_TUNSETIFF, _TUNSETOFFLOAD = 0x400454CA, 0x400454D0     # linux/if_tun.h
_IFF_TAP, _IFF_NO_PI, _IFF_VNET_HDR = 0x2, 0x1000, 0x4000
_CHECKSUMS_AND_TSO = 0x1 | 0x2 | 0x4
"""Large packets cross in one piece, as on the wire otherwise; their head says how to cut them."""
_ADDRESSES = slice(10 + 14 + 12, 10 + 14 + 20)
"""Behind that head and Ethernet's: from whom an IPv4 packet is, and for whom."""


@contextlib.contextmanager
def away(card: str, far: str, seconds: float, others: float) -> Iterator[None]:
    """Packets between `card` and the address `far` take so long each way; others `others`."""
    bridge, ends = f"{card}-line", [f"{card}-{end}" for end in ("near", "far")]
    with contextlib.ExitStack() as stack:
        taps = [_tap(end) for end in ends]
        for tap in taps:
            stack.callback(os.close, tap)
        _ip("link", "add", "name", bridge, "type", "bridge")
        stack.callback(_ip, "link", "delete", bridge)
        # without ARP, or the host finds a shortcut: this machine answers there for all it has
        _ip("link", "set", bridge, "arp", "off", "up")
        for end, master in zip(ends, (bridge, WIRE)):
            _ip("link", "set", end, "master", master, "up")
        process = multiprocessing.get_context("fork").Process(
            target=_carry, args=(taps, ipaddress.ip_address(far).packed, seconds, others))
        process.start()
        stack.callback(process.join)
        stack.callback(process.kill)
        _ip("link", "set", card, "master", bridge)
        stack.callback(_ip, "link", "set", card, "master", WIRE)
        yield


def _tap(name: str) -> int:
    tap = os.open(_TUN, os.O_RDWR | os.O_NONBLOCK)
    flags = _IFF_TAP | _IFF_NO_PI | _IFF_VNET_HDR
    fcntl.ioctl(tap, _TUNSETIFF, struct.pack("16sH22x", name.encode(), flags))
    fcntl.ioctl(tap, _TUNSETOFFLOAD, _CHECKSUMS_AND_TSO)
    return tap


def _carry(taps: list[int], far: bytes, seconds: float, others: float) -> None:
    """Carry packets from one end to the other, until killed."""
    to = dict(zip(taps, reversed(taps)))
    waiting: list[tuple[float, int, int, bytes]] = []
    for number in itertools.count():
        pause = max(0, waiting[0][0] - time.monotonic()) if waiting else None
        for tap in select.select(taps, [], [], pause)[0]:
            packet = os.read(tap, 1 << 17)
            addresses = packet[_ADDRESSES]
            delay = seconds if far in (addresses[:4], addresses[4:]) else others
            heapq.heappush(waiting, (time.monotonic() + delay, 2 * number + (tap == taps[0]),
                                     to[tap], packet))
        while waiting and waiting[0][0] <= time.monotonic():
            os.write(*heapq.heappop(waiting)[2:])


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)
