"""The packet filter of doc/several-hosts.md, with Debian's nft(8), which need not be installed."""

import re
from pathlib import Path

from rig.unpacked import unpacked

GUIDE = Path(__file__).parents[2] / "doc/several-hosts.md"
PACKAGES = ("nftables", "libnftables1", "libnftnl11")
"""Its other libraries are those of iproute2 too."""


def nft() -> str:
    """A program that may run on a host of the machine's own release, as a shell script.

    Raises `rig.debian.Missing` if it cannot be had.
    """
    directories = [unpacked(package) for package in PACKAGES]
    libraries = [path for directory in directories for path in directory.glob("usr/lib/*-linux-*")]
    program, = directories[0].glob("usr/sbin/nft")
    return (f"#!/bin/sh\nLD_LIBRARY_PATH={':'.join(map(str, libraries))}\nexport LD_LIBRARY_PATH\n"
            f'exec {program} "$@"\n')


def rules(addresses: list[str]) -> str:
    """The lines of the guide, for hosts at these addresses."""
    found = re.search(r"^ +table inet .*?^ +}\n\n", GUIDE.read_text(), re.DOTALL | re.MULTILINE)
    assert found and "{ 192.0.2.10, 192.0.2.20 }" in found[0]
    return found[0].replace("192.0.2.10, 192.0.2.20", ", ".join(addresses))
