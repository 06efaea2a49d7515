"""Run one host of the network, until its agent ends:

    python3 boot.py SITE SUITE DESCRIPTOR

with an inherited file descriptor that the agent takes calls from."""

import os
import subprocess
import sys
from pathlib import Path

TREE = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TREE / "tests"))
sys.dont_write_bytecode = True

from network.sites import NETWORK, NETWORK6, RESOLVER, SITES, NetworkSite  # noqa: E402
from network.world import WIRE  # noqa: E402
from rig import debian, machine  # noqa: E402


def plug_in(site: NetworkSite, root: Path, outside: int) -> None:
    """Give the host its addresses, on a line to the wire, and its names."""
    there = f"/proc/self/fd/{outside}"
    for command in (
        "ip link set lo up",
        f"ip link add world type veth peer name {site.key} netns {there}",
        f"ip address add {site.address}/{NETWORK} dev world",
        f"ip address add {site.address6}/{NETWORK6} dev world nodad",
        "ip link set world up",
        f"nsenter --net={there} ip link set {site.key} master {WIRE} up",
        f"hostname {site.name.partition('.')[0]}",
    ):
        subprocess.run(command.split(), check=True, pass_fds=[outside])
    short = site.name.partition(".")[0]
    machine.write_files(root / "etc", {
        "hosts": f"127.0.0.1 localhost\n::1 localhost\n{site.address} {site.name} {short}\n",
        "hostname": f"{short}\n", "mailname": f"{site.domain}\n",
        "resolv.conf": f"nameserver {RESOLVER}\n"})


def main() -> int:
    name, suite, descriptor = sys.argv[1:]
    os.umask(0o022)
    os.set_inheritable(int(descriptor), True)
    site = SITES[name]
    root = debian.cluster_root if site.kind == "cluster" else debian.root
    return machine.run(
        root(suite), TREE,
        ["/usr/bin/python3", "-m", f"{site.kind}.agent", name, descriptor],
        network=lambda root, outside: plug_in(site, root, outside))


if __name__ == "__main__":
    sys.exit(main())
