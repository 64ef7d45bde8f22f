"""The sandbox's registry beside Debian's docker-registry (distribution 2.8), in one run, on one disk.

    .venv/bin/python benchmarks/registry/against_distribution.py [--rounds 5] [--megabytes 200] [--layers 300]

Needs curl, skopeo, root (skopeo's cache of known blobs must be empty in each push: a private mount) and the package
`docker-registry`; REGISTRY names another place of its program. Each round measures one after the other and then the
other way round. Both sync what they acknowledge. Printed: medians, and the sandbox's time as a share of the other's.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import contextlib
import functools
import hashlib
import json
import os
import secrets
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import requests

sys.path.insert(0, str(Path(__file__).parents[2]))

from sandbox import access, seed, tokens
from sandbox.clock import Clock
from sandbox.world import World

ROOT = Path(__file__).parents[2]
HOST = "us-central1-docker.pkg.dev"
AIMS = {
    "upload": 0.8,
    "download": 0.6,
    "small layers, push": 0.6,
    "small layers, pull": 0.7,
    "one layer, push": 1.0,
    "one layer, pull": 1.0,
    "four pushes at once": 0.9,
}


@dataclass(frozen=True)
class Peer:
    """One registry that runs.

    Attributes:
        name: what stands before the image in `/v2/<name>/`.
        token: for Authorization; empty where none is asked for.
    """

    title: str
    port: int
    name: str
    token: str
    pid: int

    @property
    def url(self) -> str:
        return f"http://localhost:{self.port}"

    @property
    def headers(self) -> list[str]:
        return ["-H", f"Authorization: Bearer {self.token}"] if self.token else []

    def memory(self) -> int:
        """The most resident bytes that it ever had."""
        return int(Path(f"/proc/{self.pid}/status").read_text().split("VmHWM:")[1].split()[0]) * 1024


def run(*command: str) -> str:
    """What a command prints; an error when it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)[:300]}: {done.stderr[-800:]}")
    return done.stdout


def answers(url: str) -> bool:
    """Whether somebody listens."""
    with contextlib.suppress(requests.RequestException):
        return requests.get(url, timeout=2).status_code in (200, 401)
    return False


def wait_for(url: str) -> None:
    """Until it answers, 30 s at most."""
    deadline = time.monotonic() + 30
    while not answers(url):
        if time.monotonic() > deadline:
            raise TimeoutError(url)


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextlib.contextmanager
def sandbox(folder: Path) -> Iterator[Peer]:
    """A sandbox with a repository."""
    world = World(folder / "state", Clock())
    about = seed.prepare(world, folder, "bench-registry", "us-central1")
    learner = f"serviceAccount:{about['learner']}"
    with world.writing() as rows:
        access.grant(rows, world, "projects/bench-registry", "roles/owner", learner)
        rows.execute("INSERT OR IGNORE INTO services VALUES ('bench-registry', 'artifactregistry.googleapis.com', 'x')")
    token = tokens.mint(world, learner, lifetime=36000)
    world.close()
    command = [sys.executable, "-m", "sandbox", "--home", str(folder), "--port", "0", "--project", "bench-registry"]
    started = time.perf_counter()
    with (folder / "log").open("w") as log:
        child = subprocess.Popen(command, stdout=log, stderr=log, cwd=ROOT)
    try:
        deadline = time.monotonic() + 30
        while not (folder / "sandbox.json").exists():
            if time.monotonic() > deadline or child.poll() is not None:
                raise RuntimeError((folder / "log").read_text())
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(timeout=0.01)
        print(f"the sandbox is ready after {time.perf_counter() - started:.2f} s")
        port = json.loads((folder / "sandbox.json").read_text())["port"]
        parent = "projects/bench-registry/locations/us-central1/repositories?repositoryId=r"
        made = requests.post(
            f"http://localhost:{port}/artifactregistry.googleapis.com/v1/{parent}",
            json={"format": "DOCKER"},
            headers={"Authorization": f"Bearer {token}"},
            timeout=30,
        )
        made.raise_for_status()
        yield Peer("sandbox", port, f"{HOST}/bench-registry/r", token, child.pid)
    finally:
        child.terminate()
        child.wait()


@contextlib.contextmanager
def distribution(folder: Path, program: str) -> Iterator[Peer]:
    """Debian's docker-registry on a folder."""
    port = free_port()
    (folder / "config.yml").write_text(
        f"version: 0.1\nlog: {{level: error}}\nstorage:\n  filesystem: {{rootdirectory: {folder / 'data'}}}\n"
        f"http: {{addr: '127.0.0.1:{port}'}}\n"
    )
    with (folder / "log").open("w") as log:
        child = subprocess.Popen([program, "serve", str(folder / "config.yml")], stdout=log, stderr=log)
    try:
        wait_for(f"http://localhost:{port}/v2/")
        yield Peer("docker-registry", port, "bench/r", "", child.pid)
    finally:
        child.terminate()
        child.wait()


def upload(peer: Peer, file: Path, image: str) -> str:
    """POST, PATCH and PUT by curl; the digest."""
    with file.open("rb") as content:
        digest = f"sha256:{hashlib.file_digest(content, 'sha256').hexdigest()}"
    head = run("curl", "-sSf", "-i", "-X", "POST", *peer.headers, f"{peer.url}/v2/{peer.name}/{image}/blobs/uploads/")
    place = next(line.split(": ", 1)[1].strip() for line in head.splitlines() if line.lower().startswith("location:"))
    sent = run(
        "curl",
        "-sSf",
        "-i",
        "-X",
        "PATCH",
        *peer.headers,
        "-H",
        "Expect:",
        "-H",
        "Content-Type: application/octet-stream",
        "-T",
        str(file),
        place,
    )
    place = next(line.split(": ", 1)[1].strip() for line in sent.splitlines() if line.lower().startswith("location:"))
    run("curl", "-sSf", "-X", "PUT", *peer.headers, f"{place}{'&' if '?' in place else '?'}digest={digest}")
    return digest


def skopeo(peer: Peer, *arguments: str) -> None:
    """skopeo with an empty cache of its own."""
    side = "dest" if arguments[1].startswith("docker:") else "src"
    options = [f"--{side}-tls-verify=false"]
    if peer.token:
        options.append(f"--{side}-creds=oauth2accesstoken:{peer.token}")
    script = (
        'mkdir -p /var/lib/containers/cache && mount -t tmpfs none /var/lib/containers/cache && exec skopeo copy "$@"'
    )
    run("unshare", "--mount", "sh", "-c", script, "skopeo", "--quiet", *options, *arguments)


def image_of(folder: Path, layers: int, size: int) -> Path:
    """An image in skopeo's `dir:` form, with layers that nobody has."""
    folder.mkdir()
    entries, ids = [], []
    for _ in range(layers):
        content = os.urandom(size)
        digest = hashlib.sha256(content).hexdigest()
        (folder / digest).write_bytes(content)
        ids.append(f"sha256:{digest}")
        entries.append(
            {"mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip", "digest": ids[-1], "size": size}
        )
    config = json.dumps(
        {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": ids}}
    ).encode()
    name = hashlib.sha256(config).hexdigest()
    (folder / name).write_bytes(config)
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
        "config": {
            "mediaType": "application/vnd.docker.container.image.v1+json",
            "digest": f"sha256:{name}",
            "size": len(config),
        },
        "layers": entries,
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (folder / "version").write_text("Directory Transport Version: 1.1\n")
    return folder


def timed(work: Callable[[], object]) -> float:
    """Seconds."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def four_at_once(peer: Peer, files: list[Path], image: str) -> tuple[float, float]:
    """Seconds of four uploads together, and the 99th percentile of `GET /v2/` meanwhile."""
    waits: list[float] = []
    headers = {"Authorization": f"Bearer {peer.token}"} if peer.token else {}
    with concurrent.futures.ThreadPoolExecutor(len(files)) as pool, requests.Session() as session:
        started = time.perf_counter()
        running = [pool.submit(upload, peer, file, f"{image}-{n}") for n, file in enumerate(files)]
        while not all(one.done() for one in running):
            waits.append(timed(lambda: session.get(f"{peer.url}/v2/", headers=headers, timeout=30).raise_for_status()))
            concurrent.futures.wait(running, timeout=0.01)
        seconds = time.perf_counter() - started
    for one in running:
        one.result()
    return seconds, statistics.quantiles(waits, n=100)[98]


def one_round(
    peer: Peer, work: Path, image: str, files: list[Path], images: dict[str, Path]
) -> Iterator[tuple[str, float]]:
    """Each cell once, with its seconds."""
    started = time.perf_counter()
    digest = upload(peer, files[0], f"{image}-curl")
    yield "upload", time.perf_counter() - started
    address = f"{peer.url}/v2/{peer.name}/{image}-curl/blobs/{digest}"
    yield "download", timed(lambda: run("curl", "-sSf", *peer.headers, "-o", "/dev/null", address))
    for title, source in images.items():
        remote = f"docker://localhost:{peer.port}/{peer.name}/{image}-{source.name}:v1"
        yield f"{title}, push", timed(functools.partial(skopeo, peer, f"dir:{source}", remote))
        target = f"oci:{work}/pulled-{source.name}-{peer.title}:v1"
        yield f"{title}, pull", timed(functools.partial(skopeo, peer, remote, target))
    seconds, slowest = four_at_once(peer, files[1:], f"{image}-four")
    yield "four pushes at once", seconds
    yield "GET /v2/ meanwhile, p99", slowest


def measure(
    peers: list[Peer], folder: Path, rounds: int, megabytes: int, layers: int
) -> dict[str, dict[str, list[float]]]:
    """Every cell, once in each round for each peer; the order turns with the round."""
    times: dict[str, dict[str, list[float]]] = {}

    for number in range(rounds):
        image = f"image-{number}-{secrets.token_hex(3)}"
        with tempfile.TemporaryDirectory(dir=folder) as place:
            work = Path(place)
            large, many = image_of(work / "large", 1, megabytes << 20), image_of(work / "many", layers, 20_000)
            files = [work / f"file-{n}" for n in range(5)]
            for file in files:
                file.write_bytes(os.urandom(megabytes << 20))
            for peer in peers if number % 2 else peers[::-1]:
                for cell, seconds in one_round(peer, work, image, files, {"small layers": many, "one layer": large}):
                    times.setdefault(cell, {}).setdefault(peer.title, []).append(seconds)
        print(f"round {number + 1} of {rounds}", file=sys.stderr)
    return times


def main() -> int:
    """Print the table; 2 when a program is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--megabytes", type=int, default=200)
    parser.add_argument("--layers", type=int, default=300)
    parser.add_argument("--json", type=Path, help="also write the times to this file")
    asked = parser.parse_args()
    program = os.environ.get("REGISTRY") or shutil.which("docker-registry") or ""
    missing = [name for name in ("curl", "skopeo", "unshare") if shutil.which(name) is None]
    if not program or missing or os.geteuid() != 0:
        print(f"This needs root, docker-registry{''.join(f', {name}' for name in missing)}.", file=sys.stderr)
        return 2
    (ROOT / "runs").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=ROOT / "runs", prefix="bench-") as place:
        folder = Path(place)
        (folder / "sandbox").mkdir()
        (folder / "registry").mkdir()
        with sandbox(folder / "sandbox") as one, distribution(folder / "registry", program) as other:
            content = os.urandom(asked.megabytes << 20)
            hashing = timed(lambda: hashlib.sha256(content).digest())
            times = measure([one, other], folder, asked.rounds, asked.megabytes, asked.layers)
            memory = {peer.title: peer.memory() for peer in (one, other)}
    print(f"{'seconds, medians':26} {'sandbox':>9} {'registry':>9}   ratio   aim")
    for cell, both in times.items():
        mine, theirs = (statistics.median(both[title]) for title in ("sandbox", "docker-registry"))
        print(f"{cell:26} {mine:>9.3f} {theirs:>9.3f}   {mine / theirs:>5.2f}   {AIMS.get(cell, '')}")
    print(f"{'peak memory, MB':26} {memory['sandbox'] / 1e6:>9.0f} {memory['docker-registry'] / 1e6:>9.0f}")
    share = hashing / statistics.median(times["upload"]["sandbox"])
    print(f"SHA-256 of the upload alone, on one core: {hashing:.3f} s, {share:.0%} of the sandbox's upload")
    if asked.json:
        asked.json.write_text(json.dumps({"times": times, "memory": memory, "sha256": hashing}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
