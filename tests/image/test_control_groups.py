"""Limits inside the container where the kernel has control groups of version 2 alone, as every present Linux has.

A virtual machine of Debian's packages has such a kernel, whatever this machine's is. It is emulated, so it takes
minutes and needs no KVM. An engine in it starts a privileged container, and a second engine in that one a third with
limits.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.soak import roots

ENTRYPOINT = Path(__file__).parents[2] / "image" / "entrypoint.sh"
_PACKAGES = (
    *("linux-image-cloud-amd64", "initramfs-tools", "kmod", "busybox-static", "procps"),
    *("docker.io", "docker-cli", "iptables", "iproute2", "socat"),
)
_TOOLS = {"qemu-system-x86_64": "qemu-system-x86", "mke2fs": "e2fsprogs"}
_INIT = r"""#!/bin/bash
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tmpfs run /run
mount -t tmpfs tmp /tmp
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs shm /dev/shm
ip link set lo up
sysctl -qw net.ipv4.ip_forward=1
for module in overlay bridge veth br_netfilter nf_tables nft_compat iptable_nat xt_MASQUERADE xt_addrtype \
    xt_conntrack; do
    modprobe "$module" 2>/dev/null
done
echo "SAID groups: $(stat -fc %T /sys/fs/cgroup)"
dockerd >/tmp/dockerd.log 2>&1 &
for _ in $(seq 300); do docker version >/dev/null 2>&1 && break; sleep 1; done
mkdir -p /tmp/outer/usr /tmp/outer/etc /tmp/outer/opt/workbook /tmp/outer/probe
for name in bin sbin lib lib64; do ln -s "usr/$name" "/tmp/outer/$name"; done
tar -c -C /tmp/outer . | docker import - outer >/dev/null
for form in without with; do
    begin=; [ $form = without ] || begin="/probe/entrypoint.sh"
    echo "SAID $form: $(docker run --rm --privileged -v /usr:/usr:ro -v /etc:/etc:ro -v /probe:/probe:ro \
        -v /var/lib/docker --tmpfs /run --tmpfs /tmp outer sh $begin /probe/inner.sh 2>&1 | tail -n 1)"
done
tail -n 5 /tmp/dockerd.log
sync
echo o >/proc/sysrq-trigger
sleep 60
"""
_INNER = r"""#!/bin/sh
dockerd >/tmp/d.log 2>&1 &
for _ in $(seq 300); do docker version >/dev/null 2>&1 && break; sleep 1; done
mkdir -p /tmp/image/bin
cp /usr/bin/busybox /tmp/image/bin/
tar -c -C /tmp/image . | docker import - inner >/dev/null
docker run --rm --memory 256m --pids-limit 100 inner /bin/busybox cat /sys/fs/cgroup/memory.max 2>&1 | tail -n 1
"""


def missing() -> str:
    """What this machine lacks for the virtual machine; "" where all is there."""
    if os.uname().machine != "x86_64":
        return "the virtual machine's kernel is for x86_64"
    absent = sorted(package for tool, package in _TOOLS.items() if shutil.which(tool) is None)
    return f"not installed here: {', '.join(absent)}" if absent else roots.missing()


pytestmark = [
    pytest.mark.skipif(os.environ.get("WORKBOOK_SOAK") != "1", reason="emulates a machine for minutes: make soak"),
    pytest.mark.skipif(bool(missing()), reason=missing() or "all is there"),
]


def said(root: Path, folder: Path) -> dict[str, str]:
    """What the virtual machine's first program says of each form, after the machine has switched itself off."""
    disk = folder / "disk.ext4"
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-d", str(root), str(disk), "4G"], check=True)
    [kernel] = sorted((root / "boot").glob("vmlinuz-*"))
    [initial] = sorted((root / "boot").glob("initrd.img-*"))
    command = ["qemu-system-x86_64", "-accel", "tcg,thread=multi", "-smp", "2", "-m", "2048"]
    command += ["-nographic", "-no-reboot", "-nic", "none", "-drive", f"file={disk},format=raw,if=virtio,cache=unsafe"]
    command += ["-kernel", str(kernel), "-initrd", str(initial)]
    command += ["-append", "root=/dev/vda rw console=ttyS0 init=/probe/init quiet"]
    ran = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False, timeout=1500
    )
    found = dict(re.findall(r"SAID (\w+): ([^\r\n]*)", ran.stdout))
    assert found.keys() == {"groups", "without", "with"}, ran.stdout[-4000:] + ran.stderr
    return found


def test_limit_holds_on_control_groups_of_version_2(tmp_path: Path) -> None:
    with roots.fresh(roots.make("trixie", _PACKAGES)) as root:
        probe = root / "probe"
        probe.mkdir()
        for name, text in {"init": _INIT, "inner.sh": _INNER}.items():
            (probe / name).write_text(text, encoding="utf-8")
            (probe / name).chmod(0o755)
        shutil.copy(ENTRYPOINT, probe / "entrypoint.sh")
        found = said(root, tmp_path)
    assert found["groups"] == "cgroup2fs"
    # What the entrypoint is for: the same container without it has no limits to give.
    assert "cannot enter cgroupv2" in found["without"]
    assert found["with"] == str(256 * 2**20)
