"""Another machine beside this one: a root file system made from Debian's packages, and a way to run in it.

It has mounts, processes and a network of its own, and shares the kernel. The way in is `pivot_root`: in a chroot
`docker exec` fails, which would be an artefact of the test.

Made once and kept in WORKBOOK_ROOTS (about a minute and 700 MB each); a folder that is there is taken as it is.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from machine import stand_in

HERE = Path(__file__).parents[2]
# What the host has to have, and the Debian package that it comes in.
TOOLS = {
    "mmdebstrap": "mmdebstrap",
    "slirp4netns": "slirp4netns",
    "unshare": "util-linux",
    "pivot_root": "util-linux",
    "setpriv": "util-linux",
    "git": "git",
}
PLACE = "/srv/workbook"
LEARNER = 1000
_ENTER = r"""
set -eu
root=$1
# The network comes from outside, by this process' number; nothing may ask for a name before it is there.
echo started
read -r _
mount --make-rprivate /
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
# of this network namespace, with the control groups of the machine
mount -t sysfs sysfs "$root/sys"
mount --rbind /sys/fs/cgroup "$root/sys/fs/cgroup"
# A /dev of its own: in the machine's, root inside could delete the machine's devices.
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
(cd /dev && cp --archive --parents null zero full random urandom tty $(ls fuse net/tun) "$root/dev/")
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts "$root/dev/pts"
mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
ln -s pts/ptmx "$root/dev/ptmx"
for pair in fd: stdin:/0 stdout:/1 stderr:/2; do ln -s "/proc/self/fd${pair#*:}" "$root/dev/${pair%%:*}"; done
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
for pair in $SHARED; do
    mkdir -p "$root${pair#*:}"
    mount --bind "${pair%%:*}" "$root${pair#*:}"
    mount -o remount,bind,ro "$root${pair#*:}"
done
mkdir -p "$root/.outside"
cd "$root"
pivot_root . .outside
umount -l /.outside
echo nameserver 10.0.2.3 >/etc/resolv.conf
exec env -i HOME=/root LANG=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin bash -c "$SCRIPT"
"""


@dataclass(frozen=True)
class Ran:
    """What a script in a root did: its exit status and all that it printed."""

    status: int
    output: str


def missing() -> str:
    """Why no root can be made or entered here; "" where it can."""
    if os.geteuid() != 0:
        return "only root may make and enter a root file system"
    absent = sorted({package for tool, package in TOOLS.items() if shutil.which(tool) is None})
    if absent:
        return f"not installed here: {', '.join(absent)}"
    return "" if mirror() else "apt knows no Debian archive"


def mirror() -> str:
    """The Debian archive in apt's configuration; "" without one."""
    told = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(ORIGIN)|$(LABEL)|$(REPO_URI)", "Created-By: Packages"],
        capture_output=True,
        text=True,
        check=False,
    )
    for line in told.stdout.splitlines():
        origin, label, address = line.split("|", 2)
        if (origin, label) == ("Debian", "Debian"):
            return address
    return ""


def kept() -> Path:
    """The folder of what is made once."""
    return Path(os.environ.get("WORKBOOK_ROOTS") or HERE / ".sandbox" / "roots")


def make(suite: str, packages: Sequence[str]) -> Path:
    """The root of a Debian suite with those packages, made where it isn't there yet."""
    names = sorted(packages)
    digest = hashlib.sha256(json.dumps([suite, names]).encode()).hexdigest()[:8]
    kept().mkdir(parents=True, exist_ok=True)
    root = kept() / f"{suite}-{digest}"
    if root.is_dir():
        return root
    with tempfile.TemporaryDirectory(prefix=".new-", dir=kept()) as folder:
        new = Path(folder) / "root"
        bundle = Path(folder) / "ca.crt"
        bundle.write_bytes(stand_in.host_ca_bundle())
        command = ["mmdebstrap", "--quiet", "--mode=root", "--variant=minbase", f"--include={','.join(names)}"]
        command += [
            f"--customize-hook=useradd --create-home --uid {LEARNER} --shell /bin/bash learner --root $1",
            f'--customize-hook=mkdir -p "$1/etc/ssl/certs" && cp {bundle} "$1/etc/ssl/certs/ca-certificates.crt"',
        ]
        subprocess.run([*command, suite, str(new), mirror()], check=True)
        new.rename(root)
    return root


def copy_workbook(root: Path, *, owner: int = 0) -> None:
    """Put this working tree's files into the root, as a learner has them after a clone; what was made there stays."""
    place = Path(f"{root}{PLACE}")
    place.mkdir(parents=True, exist_ok=True)
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=HERE,
        capture_output=True,
        check=True,
    )
    there = [name for name in listed.stdout.split(b"\0") if name and (HERE / os.fsdecode(name)).exists()]
    packing = ["tar", "-c", "--null", "-T", "-"]
    with subprocess.Popen(packing, cwd=HERE, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as packed:
        assert packed.stdin is not None
        packed.stdin.write(b"\0".join(there))
        packed.stdin.close()
        subprocess.run(["tar", "-x", "-C", str(place)], stdin=packed.stdout, check=True)
    assert packed.returncode == 0
    subprocess.run(["chown", "-R", f"{owner}:{owner}", str(place)], check=True)


def run(root: Path, script: str, *, shared: Mapping[Path, str] | None = None, seconds: float = 3600) -> Ran:
    """Run a bash script as root in the root file system, with a network that leads out; nothing outlives it.

    `shared` folders of this machine (folder → place in the root) can be read there. What the script prints is also in
    `ROOT.log` beside the root, while it runs. After `seconds` it is killed.
    """
    pairs = " ".join(f"{folder}:{place}" for folder, place in (shared or {}).items())
    # A test that is killed takes its machine with it.
    bound = ("setpriv", "--pdeathsig", "KILL")
    namespaces = ("--mount", "--pid", "--fork", "--kill-child", "--net", "--uts", "--ipc")
    inside = subprocess.Popen(
        [*bound, "unshare", *namespaces, "sh", "-c", _ENTER, "enter", str(root)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "SCRIPT": script, "SHARED": pairs},
    )
    assert inside.stdin is not None
    assert inside.stdout is not None
    started = inside.stdout.readline()
    assert started == "started\n", started + inside.communicate()[0]
    # unshare stays outside and its child is process 1: both have the new network.
    command = ["slirp4netns", "--configure", "--mtu=65520", "--disable-host-loopback", "--ready-fd=1"]
    way_out = subprocess.Popen(
        [*bound, *command, str(inside.pid), "tap0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    limit = threading.Timer(seconds, inside.kill)
    said: list[str] = []
    try:
        assert way_out.stdout is not None
        assert way_out.stdout.read(1) == b"1", "slirp4netns gave no network"
        limit.start()
        inside.stdin.write("go\n")
        inside.stdin.close()
        with root.with_name(f"{root.name}.log").open("w", encoding="utf-8") as log:
            for line in inside.stdout:
                said.append(line)
                log.write(line)
                log.flush()
        inside.wait()
    finally:
        limit.cancel()
        inside.kill()
        way_out.terminate()
        for process in (inside, way_out):
            process.wait()
            assert process.stdout is not None
            process.stdout.close()
    return Ran(inside.returncode, "".join(said))


@contextlib.contextmanager
def fresh(root: Path) -> Iterator[Path]:
    """A copy of a root for one run, deleted afterwards: of a machine to which a set-up adds what it lacks."""
    with tempfile.TemporaryDirectory(prefix=f"{root.name}-", dir=root.parent) as folder:
        copy = Path(folder) / "root"
        subprocess.run(["cp", "--archive", str(root), str(copy)], check=True)
        yield copy
