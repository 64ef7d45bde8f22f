"""The engines that the workbook is tried with: for each a root file system, how it starts there, and what it runs.

`python -m tests.soak.engines NAME …` runs some of them and writes what was seen into docs/engines.md; without a name it
lists them. `make soak` runs all.
"""

from __future__ import annotations

import datetime as dt
import json
import re
import shlex
import shutil
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from helpers.cell import documents
from tests.soak import roots

PAGE: Final = roots.HERE / "docs" / "engines.md"
_SDK: Final = "/usr/lib/google-cloud-sdk"
_COMMON: Final = ("ca-certificates", "curl", "git", "iptables", "iproute2", "make", "procps", "python3", "python3-venv")
_TRIXIE: Final = (
    *_COMMON,
    *("docker.io", "docker-cli", "docker-buildx"),
    *("dbus", "fuse-overlayfs", "rootlesskit", "slirp4netns", "uidmap"),
    *("aardvark-dns", "catatonit", "crun", "netavark", "podman", "runc"),
)
# What make and a download need; the set-up brings the rest.
BARE: Final = ("ca-certificates", "make")
# No engine can be started, and nothing can be installed.
PLAIN: Final = (*BARE, "curl", "git", "procps", "python3", "python3-venv")
ARCHIVES: Final = "/srv/archives"
_COMPONENTS: Final = (
    "core",
    "core-nix",
    "gcloud-deps",
    "bundled-python3-unix",
    "gcloud-crc32c",
    "beta",
    "local-extract",
)
_SOME: Final = ("04", "06", "08", "10")
# Outputs that may differ from those stored here, each with its reason.
_VERSIONS: Final = "it shows the versions of the machine's tools"
_PACKAGES: Final = "it shows findings in the base image's packages, which are those of another Debian"
_ORDER: Final = "its rows are in the order of digests, which depend on the base image"
_FINDINGS: Final = (
    *("list", "summary", "list-python", "picture", "effective", "follow", "demand", "after", "gate", "gate-strict"),
    *("fault-four-cell", "due"),
)
MAY_DIFFER: Final = {
    "00_start_here.ipynb#tools": _VERSIONS,
    "04_build_and_push.ipynb#attested-list": _ORDER,
    "04_build_and_push.ipynb#solution-two-terminal": "proot can't make a root read-only, and the engine warns of that",
    **{f"07_scan_for_vulnerabilities.ipynb#{cell}": _PACKAGES for cell in _FINDINGS},
    "08_clean_up_old_images.ipynb#index-kept": _ORDER,
    "12_make_the_image_small.ipynb#findings": _PACKAGES,
    "12_make_the_image_small.ipynb#table": _PACKAGES,
}

_WAIT = """
for _ in $(seq 150); do docker version >/dev/null 2>&1 && break; sleep 0.2; done
docker version >/dev/null
"""
_WORKBOOK = f"cd {roots.PLACE} && make setup && .venv/bin/workbook $VERB $ONLY\n"
_DAEMON = f"""
mkdir -p /etc/docker
echo "$SETTINGS" >/etc/docker/daemon.json
dockerd >/var/log/dockerd.log 2>&1 &
{_WAIT}{_WORKBOOK}"""
_SET_UP_ALL = f"""
cd {roots.PLACE}
export WORKBOOK_GCLOUD_ARCHIVE={ARCHIVES}/google-cloud-cli.tar.gz
make $VERB ARGS="$STRICT $ONLY"
"""
# What root may do in a container that asks for nothing more: https://docs.docker.com/engine/security/.
_DEFAULT_CAPABILITIES = (
    *("chown", "dac_override", "fowner", "fsetid", "kill", "setgid", "setuid", "setpcap"),
    *("net_bind_service", "net_raw", "sys_chroot", "mknod", "audit_write", "setfcap"),
)
# Read-only as in a container: https://github.com/moby/moby/blob/master/oci/defaults.go.
_CONTAINED = """
for place in /proc/sys /proc/sysrq-trigger /proc/irq /proc/bus /proc/fs; do
    [ -e $place ] || continue
    mount --bind $place $place
    mount -o remount,bind,ro $place
done
umount --recursive /sys/fs/cgroup
mount -o remount,bind,ro /sys
"""


def as_root_in_a_container(script: str) -> str:
    """Let a script have the rights of root in a container that asks for nothing more."""
    kept = ",".join(f"+{one}" for one in _DEFAULT_CAPABILITIES)
    rights = f"--inh-caps=-all --bounding-set=-all,{kept} --no-new-privs"
    return f"{_CONTAINED}\nsetpriv {rights} bash -c {shlex.quote(script)}\n"


def as_confined_user(script: str) -> str:
    """Let a script have the rights of a user in a container who gets none."""
    who = f"--reuid {roots.LEARNER} --regid {roots.LEARNER} --clear-groups"
    rights = f"{who} --inh-caps=-all --bounding-set=-all --no-new-privs"
    return f"{_CONTAINED}\nexport HOME=/home/learner\nsetpriv {rights} bash -c {shlex.quote(script)}\n"


# The workbook stands inside with its engine: a rootless engine has a network of its own, and `localhost` is not the
# learner's there.
_ROOTLESS = f"""
cat >/run/inside.sh <<'INSIDE'
set -e
rm -f /run/docker /run/containerd /run/xtables.lock
dockerd --rootless --exec-root="$XDG_RUNTIME_DIR/docker" --data-root="$HOME/.local/share/docker" \\
    --pidfile="$XDG_RUNTIME_DIR/docker.pid" --host=unix:///run/docker.sock >/tmp/dockerd.log 2>&1 &
export DOCKER_HOST=unix:///run/docker.sock
{_WAIT}{_WORKBOOK}
INSIDE
chmod 666 /dev/net/tun /dev/fuse
install -d -m 700 -o {roots.LEARNER} /run/user/{roots.LEARNER}
setpriv --reuid {roots.LEARNER} --regid {roots.LEARNER} --init-groups \\
    env HOME=/home/learner XDG_RUNTIME_DIR=/run/user/{roots.LEARNER} ONLY="$ONLY" \\
    rootlesskit --net=slirp4netns --mtu=65520 --disable-host-loopback --port-driver=builtin --copy-up=/etc \\
    --copy-up=/run --propagation=rslave bash /run/inside.sh
"""
# Podman pushes without TLS only where it was told so, port and all: so the sandbox gets a port that is known.
_PODMAN = f"""
mkdir -p /etc/containers/registries.conf.d
cat >/etc/containers/containers.conf <<CONF
[engine]
compat_api_enforce_docker_hub=false
runtime="runc"
cgroup_manager="cgroupfs"
events_logger="file"
[network]
firewall_driver="iptables"
[containers]
default_ulimits=["nofile=$(ulimit -Hn):$(ulimit -Hn)", "nproc=$(ulimit -Hu):$(ulimit -Hu)"]
CONF
cat >/etc/containers/registries.conf.d/workbook.conf <<'CONF'
unqualified-search-registries=["docker.io"]
[[registry]]
location="localhost:5001"
insecure=true
CONF
# What it remembers of blobs in an earlier sandbox at the same address, and asks the next one for.
rm -rf /var/lib/containers/cache
export PODMAN_IGNORE_CGROUPSV1_WARNING=1
podman system service --time=0 unix:///run/docker.sock >/var/log/podman.log 2>&1 &
export DOCKER_HOST=unix:///run/docker.sock
{_WAIT}
cd {roots.PLACE} && make setup
form='{{{{.Repository}}}}:{{{{.Tag}}}}'
WORKBOOK_PYTHON_IMAGE="$(docker images --filter label=workbook.stand-in --format "$form" | grep -m 1 stand-in)"
export WORKBOOK_PYTHON_IMAGE
PYTHONPATH=. .venv/bin/python - "$ONLY" <<'PLAN'
import sys

from rich.console import Console

from cli.run import plans, runner

plan = plans.Plan(plans.choose(sys.argv[1].removeprefix("--only ")), port=5001)
sys.exit(runner.run(plan, Console()).code)
PLAN
"""


@dataclass(frozen=True)
class Engine:
    """One engine. `notebooks` are those that it runs, none for all.

    Where it `records`, it runs all and stores them, and what it stored is compared with what is stored here: outputs do
    not depend on the engine. Where it `is_bare` each run has a new root, and gcloud from an archive instead of this
    machine's.
    """

    title: str
    suite: str
    packages: tuple[str, ...]
    script: str
    notebooks: tuple[str, ...] = _SOME
    settings: str = "{}"
    owner: int = 0
    is_bare: bool = False
    records: bool = False


ENGINES: Final = {
    "classic": Engine("Debian 12: Docker 20.10, classic builder", "bookworm", (*_COMMON, "docker.io"), _DAEMON),
    "buildx": Engine("Debian 13: Docker 26.1, buildx", "trixie", _TRIXIE, _DAEMON),
    "containerd": Engine(
        "Debian 13: Docker 26.1, buildx, containerd image store",
        "trixie",
        _TRIXIE,
        _DAEMON,
        notebooks=(),
        settings='{"features": {"containerd-snapshotter": true}}',
        records=True,
    ),
    "rootless": Engine("Debian 13: Docker 26.1, rootless, uid 1000", "trixie", _TRIXIE, _ROOTLESS, owner=roots.LEARNER),
    "bare": Engine(
        "Debian 13: without Docker, gcloud and Python before `make run`",
        "trixie",
        BARE,
        _SET_UP_ALL,
        notebooks=(),
        is_bare=True,
    ),
    "container": Engine(
        "Debian 13: the workbook's own engine, root with Docker's default capabilities",
        "trixie",
        PLAIN,
        as_root_in_a_container(_SET_UP_ALL),
        notebooks=(),
        is_bare=True,
    ),
    "confined": Engine(
        "Debian 13: the workbook's own engine, uid 1000 without any capability",
        "trixie",
        PLAIN,
        as_confined_user(_SET_UP_ALL),
        notebooks=(),
        owner=roots.LEARNER,
        is_bare=True,
        records=True,
    ),
    "podman": Engine("Debian 13: Podman 5.4 behind Docker's command", "trixie", _TRIXIE, _PODMAN),
}


@dataclass(frozen=True)
class Seen:
    """What a run showed: its exit status, what was printed, and state and seconds of each notebook by its number.

    `differing` are the cells whose stored outputs are not those of this tree, as `notebook#cell`, without those of
    `MAY_DIFFER`.
    """

    status: int
    output: str
    notebooks: dict[str, tuple[str, float]]
    differing: tuple[str, ...] = ()


def run(name: str) -> Seen:
    """Run the engine's notebooks on it."""
    engine = ENGINES[name]
    kept = roots.make(engine.suite, engine.packages)
    if not engine.is_bare:
        sdk = _sdk()
        return _run(engine, kept, {sdk: _SDK} if sdk else {})
    with roots.fresh(kept) as root:
        return _run(engine, root, {archive().parent: ARCHIVES})


def _run(engine: Engine, root: Path, shared: dict[Path, str]) -> Seen:
    roots.copy_workbook(root, owner=engine.owner)
    runs = Path(f"{root}{roots.PLACE}") / "runs"
    shutil.rmtree(runs, ignore_errors=True)
    only = f"--only {','.join(engine.notebooks)}" if engine.notebooks else ""
    verb, strict = ("record", "") if engine.records else ("run", "--strict")
    before = f"set -e\nexport SETTINGS='{engine.settings}' ONLY='{only}' VERB={verb} STRICT={strict}\n"
    if _SDK in shared.values():
        before += "".join(
            f"ln -sfn {_SDK}/bin/{one} /usr/bin/{one}\n" for one in ("gcloud", "docker-credential-gcloud")
        )
    ran = roots.run(root, before + engine.script, shared=shared)
    summaries = sorted(runs.glob("*/summary.json"))
    told = json.loads(summaries[-1].read_text())["notebooks"] if summaries else []
    notebooks = {one["notebook"][:2]: (one["status"], float(one["seconds"])) for one in told}
    return Seen(ran.status, ran.output, notebooks, tuple(_differing(root)) if engine.records else ())


def _differing(root: Path) -> Iterator[str]:
    there = Path(f"{root}{roots.PLACE}") / "notebooks"
    for path in documents.notebooks():
        stored = {cell.id: cell for cell in documents.read(there / path.name).cells}
        for cell in documents.read(path).cells:
            name = f"{path.name}#{cell.id}"
            if stored[cell.id] != cell and name not in MAY_DIFFER:
                yield name


def archive() -> Path:
    """An archive of gcloud as Google publishes one, made once from this machine's by its own lists of files."""
    sdk = _sdk()
    if sdk is None:
        raise FileNotFoundError("There is no gcloud here to make an archive of.")
    made = roots.kept() / "archives" / "google-cloud-cli.tar.gz"
    if made.exists():
        return made
    made.parent.mkdir(parents=True, exist_ok=True)
    lists = [
        path
        for path in sorted((sdk / ".install").glob("*"))
        if re.match(rf"({'|'.join(_COMPONENTS)})(-linux|\.)", path.name)
    ]
    listed = {line for path in lists if path.suffix == ".manifest" for line in path.read_text().splitlines() if line}
    listed |= {str(path.relative_to(sdk)) for path in lists} | {"VERSION", "LICENSE", "properties"}
    partial = made.with_suffix(".partial")
    with tarfile.open(partial, "w:gz", compresslevel=1) as packed:
        for name in sorted(listed):
            path = sdk / name
            if path.is_symlink() or path.is_file():
                packed.add(path, f"google-cloud-sdk/{name}", recursive=False)
    partial.rename(made)
    return made


def row(name: str, seen: Seen, day: dt.date) -> str:
    """The engine's line of the table."""
    told = [f"{number} {seconds:.0f} s" for number, (status, seconds) in seen.notebooks.items() if status == "ok"]
    failed = [number for number, (status, _) in seen.notebooks.items() if status != "ok"]
    total = sum(seconds for _, seconds in seen.notebooks.values())
    notebooks = ", ".join(told) + (f"; failed: {', '.join(failed)}" if failed else "")
    return f"| {ENGINES[name].title} | {notebooks} | {total:.0f} s | {day} |"


def write(name: str, seen: Seen, day: dt.date, page: Path = PAGE) -> None:
    """Put what was seen into the table, instead of what was seen before."""
    text = page.read_text(encoding="utf-8")
    line = re.compile(rf"^\| {re.escape(ENGINES[name].title)} \|.*$", re.MULTILINE)
    replaced, count = line.subn(row(name, seen, day).replace("\\", r"\\"), text)
    if count != 1:
        raise ValueError(f"{page} has {count} lines for {ENGINES[name].title}.")
    page.write_text(replaced, encoding="utf-8")


def _sdk() -> Path | None:
    """The folder of this machine's gcloud, which the roots share; None without one."""
    found = shutil.which("gcloud")
    return Path(found).resolve().parents[1] if found else None


def main(names: list[str]) -> int:
    """Run the named engines and write the table; exit status 1 when a notebook failed or was stored otherwise."""
    unknown = sorted(set(names) - ENGINES.keys())
    reason = roots.missing()
    if unknown or not names or reason:
        print(reason if names and not unknown else f"Name some of: {', '.join(ENGINES)}", file=sys.stderr)
        return 2
    worst = 0
    for name in names:
        seen = run(name)
        print(seen.output)
        if seen.notebooks:
            write(name, seen, dt.datetime.now(dt.UTC).date())
            print(row(name, seen, dt.datetime.now(dt.UTC).date()))
        if seen.differing:
            print("Stored otherwise than here:", *seen.differing, sep="\n  ")
        worst = max(worst, min(seen.status, 1), int(bool(seen.differing)))
    return worst


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
