"""The sandbox's registry beside Debian's docker-registry (distribution 2.8), in one run, on one disk.

    .venv/bin/python benchmarks/registry/against_distribution.py [--rounds 5] [--layers 300] [--sync 0]

Needs curl, skopeo, the package `docker-registry` (REGISTRY names another path of its program), and root, for a private
mount: skopeo's cache of known blobs must be empty in each push. The order of the two alternates between rounds, and no
round starts that could not finish within `--minutes`. Both registries sync what they acknowledge. Prints the median
seconds, the sandbox's share of the other's beside the aim, the same for the servers' processor time, which other work
on the machine disturbs less, and the machine's load.

Most of the time of pushing small layers is skopeo's own: it redraws a line for each layer, even with `--quiet`. A push
to a registry that stores nothing and answers immediately shows how much. The rest depends on the disk: `--sync 1` makes
each sync of both a millisecond longer, as a slower disk would (this needs strace).
"""

from __future__ import annotations

import argparse
import concurrent.futures
import contextlib
import functools
import gzip
import hashlib
import http.client
import json
import os
import secrets
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urljoin

import requests

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.registry import peers
from benchmarks.registry.peers import ROOT, Peer, run

AIMS = {
    "upload": 0.8,
    "three downloads": 0.6,
    "small blobs, push": 0.6,
    "small layers, push": 0.6,
    "small layers, pull": 0.7,
    "one layer, push": 1.0,
    "one layer, pull": 1.0,
    "four pushes at once": 0.9,
}
# Why a row may miss its aim, printed below the row.
_TWO_REQUESTS = "each blob takes two requests, as on Google: a redirect to its signed address, and the bytes"
REASONS = dict.fromkeys(("three downloads", "small layers, pull", "one layer, pull"), _TWO_REQUESTS)
WAIT = "GET /v2/ meanwhile, p99"
SMALL = 20_000  # bytes of a small layer
AIM_WAIT, AIM_MEMORY, AIM_READY = 0.05, 120e6, 1.5  # seconds, bytes, seconds

# For each cell and registry: seconds, and seconds of its processor, of every round.
Figures = dict[str, dict[str, list[tuple[float, float]]]]


def location(peer: Peer, head: str) -> str:
    """Return the Location of a response's head as an absolute address."""
    place = next(line.split(": ", 1)[1].strip() for line in head.splitlines() if line.lower().startswith("location:"))
    return urljoin(peer.url, place)


def upload(peer: Peer, file: Path, image: str) -> str:
    """Upload a blob with curl in a POST, a PATCH and a PUT, and return its digest."""
    with file.open("rb") as content:
        digest = f"sha256:{hashlib.file_digest(content, 'sha256').hexdigest()}"
    head = run("curl", "-sSf", "-i", "-X", "POST", *peer.headers, f"{peer.url}/v2/{peer.name}/{image}/blobs/uploads/")
    place = location(peer, head)
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
    place = location(peer, sent)
    run("curl", "-sSf", "-X", "PUT", *peer.headers, f"{place}{'&' if '?' in place else '?'}digest={digest}")
    return digest


def send_blobs(peer: Peer, blobs: list[bytes], image: str) -> None:
    """Upload blobs with skopeo's requests (HEAD, POST, PATCH, PUT) over four persistent connections.

    This measures the registry's part of a push of small layers, most of which is skopeo's own time.
    """
    headers = {"Authorization": f"Bearer {peer.token}"} if peer.token else {}
    where = f"/v2/{peer.name}/{image}/blobs"

    def call(connection: http.client.HTTPConnection, verb: str, path: str, body: bytes | None, wanted: int) -> str:
        extra = {"Content-Type": "application/octet-stream"} if body else {"Content-Length": "0"}
        connection.request(verb, path, body, headers | (extra if verb != "HEAD" else {}))
        answer = connection.getresponse()
        answer.read()
        if answer.status != wanted:
            raise RuntimeError(f"{verb} {path}: {answer.status}")
        return (answer.headers["Location"] or "").removeprefix(peer.url)

    def share(part: list[bytes]) -> None:
        with contextlib.closing(http.client.HTTPConnection("localhost", peer.port, timeout=60)) as connection:
            for content in part:
                digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
                call(connection, "HEAD", f"{where}/{digest}", None, 404)
                place = call(connection, "POST", f"{where}/uploads/", None, 202)
                place = call(connection, "PATCH", place, content, 202)
                call(connection, "PUT", f"{place}{'&' if '?' in place else '?'}digest={digest}", None, 201)

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        list(pool.map(share, [blobs[first::4] for first in range(4)]))


def skopeo(peer: Peer, *arguments: str) -> None:
    """Run skopeo with an empty cache of its own."""
    side = "dest" if arguments[1].startswith("docker:") else "src"
    options = [f"--{side}-tls-verify=false"]
    if peer.token:
        options.append(f"--{side}-creds=oauth2accesstoken:{peer.token}")
    script = (
        'mkdir -p /var/lib/containers/cache && mount -t tmpfs none /var/lib/containers/cache && exec skopeo copy "$@"'
    )
    run("unshare", "--mount", "sh", "-c", script, "skopeo", "--quiet", *options, *arguments)


def image_of(folder: Path, layers: int, size: int) -> Path:
    """Write an image in skopeo's `dir:` format with new random layers, and return its folder.

    The layers are gzip: skopeo would compress others during the push, and that takes longer than the registry.
    """
    folder.mkdir()
    entries, ids = [], []
    for _ in range(layers):
        content = os.urandom(size)
        packed = gzip.compress(content, compresslevel=0, mtime=0)
        digest = hashlib.sha256(packed).hexdigest()
        (folder / digest).write_bytes(packed)
        ids.append(f"sha256:{hashlib.sha256(content).hexdigest()}")
        entries.append(
            {
                "mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip",
                "digest": f"sha256:{digest}",
                "size": len(packed),
            }
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
    """Return the seconds that a call takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def four_at_once(peer: Peer, files: list[Path], image: str) -> float:
    """Run the uploads concurrently, and return the 99th percentile of `GET /v2/` meanwhile, in seconds."""
    waits: list[float] = []
    headers = {"Authorization": f"Bearer {peer.token}"} if peer.token else {}
    with concurrent.futures.ThreadPoolExecutor(len(files)) as pool, requests.Session() as session:
        running = [pool.submit(upload, peer, file, f"{image}-{n}") for n, file in enumerate(files)]
        while not all(one.done() for one in running):
            waits.append(timed(lambda: session.get(f"{peer.url}/v2/", headers=headers, timeout=30).raise_for_status()))
            concurrent.futures.wait(running, timeout=0.01)
    for one in running:
        one.result()
    return statistics.quantiles(waits, n=100)[98] if len(waits) > 1 else waits[0]


def one_round(
    peer: Peer, work: Path, image: str, files: list[Path], small: list[bytes], images: dict[str, Path]
) -> Iterator[tuple[str, float, float]]:
    """Measure each cell once, and yield its title, its seconds and the registry's processor seconds."""

    def cell(title: str, call: Callable[[], object]) -> tuple[str, float, float]:
        busy = peer.busy()
        seconds = timed(call)
        return title, seconds, peer.busy() - busy

    digests: list[str] = []
    yield cell("upload", lambda: digests.append(upload(peer, files[0], f"{image}-curl")))
    address = f"{peer.url}/v2/{peer.name}/{image}-curl/blobs/{digests[0]}"
    fetch = functools.partial(run, "curl", "-sSfL", *peer.headers, "-o", "/dev/null", address)
    yield cell("three downloads", lambda: [fetch() for _ in range(3)])  # one takes less time than measures well
    yield cell("small blobs, push", lambda: send_blobs(peer, small, f"{image}-blobs"))
    for title, source in images.items():
        remote = f"docker://localhost:{peer.port}/{peer.name}/{image}-{source.name}:v1"
        yield cell(f"{title}, push", functools.partial(skopeo, peer, f"dir:{source}", remote))
        target = f"oci:{work}/pulled-{source.name}-{peer.title}:v1"
        yield cell(f"{title}, pull", functools.partial(skopeo, peer, remote, target))
    waits: list[float] = []
    yield cell("four pushes at once", lambda: waits.append(four_at_once(peer, files[1:], f"{image}-four")))
    yield WAIT, waits[0], 0.0


def alone(folder: Path, number: int, layers: int) -> float:
    """Return the seconds of a push of small layers to a registry that stores nothing."""
    source = image_of(folder / f"alone-{number}", layers, SMALL)
    with peers.nothing() as peer:
        remote = f"docker://localhost:{peer.port}/{peer.name}/alone:v1"
        return timed(lambda: skopeo(peer, f"dir:{source}", remote))


@contextlib.contextmanager
def registries(folder: Path, program: str, sync: float) -> Iterator[list[Peer]]:
    """Start both registries empty, and yield them."""
    for name in ("sandbox", "registry"):
        (folder / name).mkdir()
    with (
        peers.sandbox(folder / "sandbox", sync) as one,
        peers.distribution(folder / "registry", program, sync) as other,
    ):
        yield [one, other]


def measure(
    opened: Callable[[Path], contextlib.AbstractContextManager[list[Peer]]],
    folder: Path,
    rounds: int,
    megabytes: int,
    layers: int,
    until: float,
) -> tuple[Figures, dict[str, int]]:
    """Measure every cell once in each round for each registry, and the peak resident bytes of each.

    The order alternates. Each round has new registries, and its data are deleted afterwards: on some machines the page
    cache of a few rounds would fill the memory, and every write would wait for a page.

    Args:
        opened: starts both registries in the given folder.
        until: the `time.monotonic` by which the last round must probably have ended.
    """
    figures: Figures = {}
    memory: dict[str, int] = {}
    longest = 0.0
    for number in range(rounds):
        began = time.monotonic()
        if number and began + longest > until:
            break
        image = f"image-{number}-{secrets.token_hex(3)}"
        with tempfile.TemporaryDirectory(dir=folder) as place, opened(Path(place)) as both:
            work = Path(place)
            images = {
                "small layers": image_of(work / "many", layers, SMALL),
                "one layer": image_of(work / "large", 1, megabytes << 20),
            }
            files = [work / f"file-{n}" for n in range(5)]
            for file in files:
                file.write_bytes(os.urandom(megabytes << 20))
            small = [os.urandom(SMALL) for _ in range(layers)]
            os.sync()  # or the first registry would be measured while the kernel still writes these files
            for peer in both if number % 2 else both[::-1]:
                for cell, *pair in one_round(peer, work, image, files, small, images):
                    figures.setdefault(cell, {}).setdefault(peer.title, []).append((pair[0], pair[1]))
            memory |= {peer.title: max(memory.get(peer.title, 0), peer.memory()) for peer in both}
        longest = max(longest, time.monotonic() - began)
        print(f"round {number + 1} of {rounds}: {time.monotonic() - began:.0f} s", file=sys.stderr)
    return figures, memory


def medians(pairs: list[tuple[float, float]]) -> tuple[float, float]:
    """Return the median of the seconds and that of the processor seconds."""
    return statistics.median(one[0] for one in pairs), statistics.median(one[1] for one in pairs)


def table(figures: Figures, *, pushes: bool) -> Iterator[str]:
    """Yield the lines of the table, for pushes only if syncs were made longer, because strace slows the rest too."""
    yield f"{'medians':26} {'sandbox':>9} {'registry':>9}   ratio     aim        processor: sandbox registry   ratio"
    for cell, both in figures.items():
        if pushes and cell.endswith(("downloads", "pull")):
            continue
        (mine, my_busy), (theirs, their_busy) = (medians(both[title]) for title in ("sandbox", "docker-registry"))
        if cell == WAIT:
            yield f"{cell:26} {mine:>7.3f} s {theirs:>7.3f} s           <= {AIM_WAIT} s{verdict(mine <= AIM_WAIT)}"
            continue
        busy = f"{my_busy:>8.2f} {their_busy:>8.2f}   {my_busy / (their_busy or 0.01):>5.2f}"
        yield (
            f"{cell:26} {mine:>7.3f} s {theirs:>7.3f} s   {mine / theirs:>5.2f}  <= {AIMS[cell]}"
            f"{verdict(mine <= AIMS[cell] * theirs)}            {busy}"
        )
        if mine > AIMS[cell] * theirs and cell in REASONS:
            yield f"{'':26} {REASONS[cell]}"


def verdict(met: bool) -> str:
    """Return the mark of an aim that is met or missed."""
    return "  ok" if met else "  NO"


def main() -> int:
    """Print the table, and return the exit status: 2 if a program is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--megabytes", type=int, default=200)
    parser.add_argument("--layers", type=int, default=300)
    parser.add_argument("--minutes", type=float, default=6.5, help="no further round begins that could end later")
    parser.add_argument("--sync", type=float, default=0, metavar="MS", help="how much longer a sync takes")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    until = time.monotonic() + options.minutes * 60
    program = os.environ.get("REGISTRY") or shutil.which("docker-registry") or ""
    needed = ("curl", "skopeo", "unshare", *(("strace",) if options.sync else ()))
    missing = [name for name in needed if shutil.which(name) is None]
    if not program or missing or os.geteuid() != 0:
        needs = ["root", *missing, *([] if program else ["docker-registry"])]
        print(f"This needs {', '.join(needs)}: apt-get install docker-registry skopeo curl strace", file=sys.stderr)
        return 2
    (ROOT / "runs").mkdir(exist_ok=True)
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(dir=ROOT / "runs", prefix="bench-") as place:
        folder = Path(place)
        (folder / "start").mkdir()
        starts = []
        for _ in range(3):
            process, seconds = peers.start(folder / "start")
            starts.append(seconds)
            process.stop()
        content = os.urandom(options.megabytes << 20)
        hashing = min(timed(lambda: hashlib.sha256(content).digest()) for _ in range(3))
        opened = functools.partial(registries, program=program, sync=options.sync)
        figures, memory = measure(opened, folder, options.rounds, options.megabytes, options.layers, until)
        own = [alone(folder, number, options.layers) for number in range(3)]
    rounds = len(figures["upload"]["sandbox"])
    print(
        f"{rounds} pairs, load {load:.1f} at the start and {os.getloadavg()[0]:.1f} at the end, {os.cpu_count()} cores"
    )
    print("\n".join(table(figures, pushes=options.sync > 0)))
    print(f"{'small layers, push':26} {statistics.median(own):>7.3f} s to a registry that stores nothing: skopeo's own")
    mine, theirs = (memory[title] / 1e6 for title in ("sandbox", "docker-registry"))
    print(f"{'peak memory':26} {mine:>6.0f} MB {theirs:>6.0f} MB           < 120 MB{verdict(mine * 1e6 < AIM_MEMORY)}")
    ready = statistics.median(starts)
    print(f"{'ready to serve':26} {ready:>7.2f} s {'':28} < {AIM_READY} s{verdict(ready < AIM_READY)}")
    share = hashing / statistics.median(one[0] for one in figures["upload"]["sandbox"])
    print(f"SHA-256 of the upload alone, on one core: {hashing:.3f} s, {share:.0%} of the sandbox's upload")
    if options.json:
        found = {"figures": figures, "memory": memory, "sha256": hashing, "ready": starts, "alone": own, "load": load}
        options.json.write_text(json.dumps(found, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
