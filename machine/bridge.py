"""A network bridge for the private engine, separate from those of other engines on this machine.

Docker's own bridge would break other engines: a second dockerd on `docker0` hands out addresses twice and clears the
first one's firewall chains when it starts. With `--bridge=none` it deletes `docker0` (measured with 20.10). So we make
a bridge, start dockerd with options that leave the firewall alone, and add three rules that let containers out.
"""

from __future__ import annotations

import fcntl
import ipaddress
import socket
import struct
import subprocess
import sys
import zlib
from pathlib import Path

# linux/sockios.h
SIOCBRADDBR = 0x89A0
SIOCBRDELBR = 0x89A1
SIOCGIFFLAGS = 0x8913
SIOCSIFFLAGS = 0x8914
SIOCSIFADDR = 0x8916
SIOCSIFNETMASK = 0x891C
IFF_UP = 0x1


def make(name: str) -> bool:
    """Make the bridge with a subnet of its own, unless it exists. Return False if the kernel refuses.

    Without a given subnet, dockerd takes the one that it had last time, even if another engine has it now.
    """
    if exists(name):
        return True
    try:
        _ioctl(SIOCBRADDBR, name)
        _set_address(name, free_subnet(name, routes(Path("/proc/net/route").read_text())))
    except OSError:
        if exists(name):
            _ioctl(SIOCBRDELBR, name)
        return False
    return True


def routes(table: str) -> list[ipaddress.IPv4Network]:
    """Return the networks to which this machine has a route, without the default route.

    The text is that of /proc/net/route.
    """
    rows = [line.split() for line in table.splitlines()[1:]]
    found = [
        ipaddress.IPv4Network((_address(row[1]), str(ipaddress.IPv4Address(_address(row[7])))), strict=False)
        for row in rows
    ]
    return [one for one in found if one.prefixlen]


def free_subnet(name: str, taken: list[ipaddress.IPv4Network]) -> ipaddress.IPv4Network:
    """Return a free /24 of 10.0.0.0/8. It is the same for a name as long as that is free.

    Raises OSError if none is free.
    """
    first = zlib.crc32(name.encode()) % 2**16
    for place in range(first, first + 2**16):
        subnet = ipaddress.IPv4Network((10 << 24 | place % 2**16 << 8, 24))
        if not any(subnet.overlaps(one) for one in taken):
            return subnet
    raise OSError("every subnet of 10.0.0.0/8 is taken")


def exists(name: str) -> bool:
    """Tell whether this machine has a network interface of that name."""
    return Path("/sys/class/net", name).exists()


def open_way_out(name: str, subnet: str, *, path: str) -> bool:
    """Let the bridge's containers reach the network by the host's address. Return False if the firewall can't be set.

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
    """Delete the bridge and its rules, if there are any."""
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


def _set_address(name: str, subnet: ipaddress.IPv4Network) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        for request, address in ((SIOCSIFADDR, subnet[1]), (SIOCSIFNETMASK, subnet.netmask)):
            interface = struct.pack("16sHH4s16x", name.encode(), socket.AF_INET, 0, address.packed)
            fcntl.ioctl(control, request, interface)


def _address(field: str) -> int:
    # The kernel prints the number in the machine's byte order.
    return int.from_bytes(int(field, 16).to_bytes(4, sys.byteorder), "big")


def _request(name: str, flags: int) -> bytes:
    return struct.pack("16sH22x", name.encode(), flags)
