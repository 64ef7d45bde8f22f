"""A network bridge for the private engine, beside whatever other engines have on this machine.

Docker's own ways would hurt a neighbour: a second dockerd on `docker0` hands out addresses twice and clears the
firewall chains of the first when it starts; with `--bridge=none` it deletes `docker0` (measured with 20.10). So the
bridge is ours, dockerd is told to leave the firewall alone, and three rules of our own give containers a way out.
"""

from __future__ import annotations

import fcntl
import socket
import struct
import subprocess
from pathlib import Path

# linux/sockios.h
SIOCBRADDBR = 0x89A0
SIOCBRDELBR = 0x89A1
SIOCGIFFLAGS = 0x8913
SIOCSIFFLAGS = 0x8914
IFF_UP = 0x1


def make(name: str) -> bool:
    """Make the bridge if it isn't there. False where the kernel refuses (no privilege, no bridges)."""
    if exists(name):
        return True
    try:
        _ioctl(SIOCBRADDBR, name)
    except OSError:
        return False
    return True


def exists(name: str) -> bool:
    """Tell whether this machine has a network interface of that name."""
    return Path("/sys/class/net", name).exists()


def open_way_out(name: str, subnet: str, *, path: str) -> bool:
    """Let what is on the bridge reach the network, under the host's address. False where the firewall can't be set.

    `subnet` is the bridge's, such as 172.18.0.0/16; `path` is where `iptables` is looked for.
    """
    close_way_out(name, path=path)
    for table, chain, rule in _rules(name, subnet):
        if _iptables(["-t", table, "-I", chain, *rule], path) != 0:
            close_way_out(name, path=path)
            return False
    return True


def close_way_out(name: str, *, path: str) -> None:
    """Delete the rules that name this bridge, whatever its subnet was."""
    for table, chain in (("nat", "POSTROUTING"), ("filter", "FORWARD")):
        for rule in _listed(table, chain, path):
            if name in rule:
                _iptables(["-t", table, "-D", *rule[1:]], path)


def remove(name: str, *, path: str) -> None:
    """Delete the bridge and its rules. Nothing happens when there is none."""
    if not exists(name):
        return
    close_way_out(name, path=path)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        flags = struct.unpack("16sH22x", fcntl.ioctl(control, SIOCGIFFLAGS, _request(name, 0)))[1]
        # A bridge that is up can't be deleted.
        fcntl.ioctl(control, SIOCSIFFLAGS, _request(name, flags & ~IFF_UP))
    _ioctl(SIOCBRDELBR, name)


def _rules(name: str, subnet: str) -> list[tuple[str, str, list[str]]]:
    returning = ["-m", "conntrack", "--ctstate", "RELATED,ESTABLISHED"]
    return [
        ("filter", "FORWARD", ["-i", name, "-j", "ACCEPT"]),
        ("filter", "FORWARD", ["-o", name, *returning, "-j", "ACCEPT"]),
        ("nat", "POSTROUTING", ["-s", subnet, "!", "-o", name, "-j", "MASQUERADE"]),
    ]


def _listed(table: str, chain: str, path: str) -> list[list[str]]:
    """Return the rules of a chain as the arguments that would add them."""
    try:
        done = subprocess.run(
            ["iptables", "-w", "5", "-t", table, "-S", chain],
            capture_output=True,
            text=True,
            check=False,
            env={"PATH": path},
        )
    except FileNotFoundError:
        return []
    return [line.split() for line in done.stdout.splitlines() if line.startswith("-A")]


def _iptables(arguments: list[str], path: str) -> int:
    try:
        return subprocess.run(
            ["iptables", "-w", "5", *arguments], capture_output=True, check=False, env={"PATH": path}
        ).returncode
    except FileNotFoundError:
        return 127


def _ioctl(request: int, name: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, request, name.encode().ljust(16, b"\0"))


def _request(name: str, flags: int) -> bytes:
    return struct.pack("16sH22x", name.encode(), flags)
