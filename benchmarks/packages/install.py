"""How long `pip install` of 50 small packages takes through a warm cache: a remote repository beside devpi.

    .venv/bin/python benchmarks/packages/install.py [--rounds 5] [--json FILE]

Both cache the same folder behind a plain file server. pip also installs from the folder itself, which shows what pip
takes by itself. Prints medians of interleaved rounds: elapsed seconds, and the processor seconds of pip and the server,
which other work on the machine disturbs less. The aim is at most 1.0 times devpi. The simple index of 10,000 files is
then measured in this process, with an aim of 100 ms. devpi is installed into a virtual environment of its own with this
machine's pip settings; where that fails, it is left out with a message.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import http.server
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import requests

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.registry import peers
from helpers import packages
from sandbox.artifact_registry import package_files
from sandbox.artifact_registry.catalog import find_repository
from sandbox.artifact_registry.package_files import PackageFile
from sandbox.python_repositories import index
from sandbox.python_repositories.sources import links
from sandbox.state import projects
from sandbox.state.clock import Clock
from sandbox.state.world import World

COUNT = 50
FILES = 10_000
AIM = 1.0
AIM_INDEX = 0.1
HOST = "us-central1-python.pkg.dev"
NAMES = [f"bench-package-{number}" for number in range(COUNT)]
_ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "UV_"))}


@dataclass(frozen=True)
class Index:
    """An index that pip installs from, and the process id of its server, or 0 for none."""

    address: str
    pid: int = 0

    def busy(self) -> float:
        """Return the processor seconds so far of the server and of child processes that have ended."""
        ended = resource.getrusage(resource.RUSAGE_CHILDREN)
        served = peers.busy(self.pid) if self.pid else 0.0
        return served + ended.ru_utime + ended.ru_stime


def write_index(folder: Path) -> None:
    """Write wheels of 50 packages, each with its page of the simple index."""
    source = "\n".join(f"VALUE_{number} = {number}" for number in range(200))
    for name in NAMES:
        place = folder / "simple" / name
        wheel = packages.wheel(place, name, "1.0.0", source)
        sha256 = hashlib.sha256(wheel.read_bytes()).hexdigest()
        (place / "index.html").write_text(f'<a href="{wheel.name}#sha256={sha256}">{wheel.name}</a>\n')
    root = "".join(f'<a href="{name}/">{name}</a>\n' for name in NAMES)
    (folder / "simple" / "index.html").write_text(root)


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Log nothing."""


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve a folder's files, and yield the address."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=folder)) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@contextlib.contextmanager
def remote(folder: Path, upstream: str) -> Iterator[Index]:
    """Yield the index of a remote repository of a new sandbox."""
    folder.mkdir()
    with peers.sandbox(folder) as peer:
        parent = f"projects/{peers.PROJECT}/locations/us-central1/repositories?repositoryId=cache"
        body = {
            "format": "PYTHON",
            "mode": "REMOTE_REPOSITORY",
            "remoteRepositoryConfig": {"commonRepository": {"uri": upstream}},
        }
        made = requests.post(
            f"{peer.url}/artifactregistry.googleapis.com/v1/{parent}",
            json=body,
            headers={"Authorization": f"Bearer {peer.token}"},
            timeout=30,
        )
        made.raise_for_status()
        address = f"oauth2accesstoken:{peer.token}@localhost:{peer.port}"
        yield Index(f"http://{address}/{HOST}/{peers.PROJECT}/cache/simple/", peer.pid)


@contextlib.contextmanager
def devpi(folder: Path, upstream: str) -> Iterator[Index | None]:
    """Yield the index of a mirror in devpi, or None where devpi can't be installed."""
    folder.mkdir()
    try:
        peers.run(sys.executable, "-m", "venv", str(folder / "venv"))
        peers.run(str(folder / "venv" / "bin" / "python"), "-m", "pip", "install", "--quiet", "devpi-server")
        peers.run(str(folder / "venv" / "bin" / "devpi-init"), "--serverdir", str(folder / "server"), "--no-root-pypi")
    except (RuntimeError, OSError) as error:
        print(f"devpi is left out, it can't be installed here: {str(error).splitlines()[-1][:200]}")
        yield None
        return
    port = peers.free_port()
    command = [str(folder / "venv" / "bin" / "devpi-server"), "--serverdir", str(folder / "server")]
    process = peers.Process([*command, "--host", "127.0.0.1", "--port", str(port)], folder)
    try:
        url = f"http://127.0.0.1:{port}"
        peers.wait_for(f"{url}/+api", 120)
        with requests.Session() as session:
            signed = session.post(f"{url}/+login", json={"user": "root", "password": ""}, timeout=30)
            signed.raise_for_status()
            session.auth = ("root", signed.json()["result"]["password"])
            mirror = {"type": "mirror", "mirror_url": f"{upstream}/simple/"}
            session.put(f"{url}/root/mirror", json=mirror, timeout=30).raise_for_status()
        yield Index(f"{url}/root/mirror/+simple/", process.pid)
    finally:
        process.stop()


def install(source: Index, folder: Path) -> tuple[float, float]:
    """Install all packages from an index, and return the elapsed and the processor seconds."""
    with tempfile.TemporaryDirectory(dir=folder) as target:
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-cache-dir", "--no-compile"]
        command += [
            "--no-input",
            "--disable-pip-version-check",
            "--index-url",
            source.address,
            "--target",
            target,
            *NAMES,
        ]
        began, busy = time.perf_counter(), source.busy()
        ran = subprocess.run(
            command, env=_ENVIRONMENT | {"PIP_CONFIG_FILE": os.devnull}, capture_output=True, text=True, check=False
        )
        seconds, busy = time.perf_counter() - began, source.busy() - busy
        if ran.returncode or len(list(Path(target).glob("bench_package_*.py"))) != COUNT:
            raise RuntimeError(f"pip did not install all of {source.address.rpartition('@')[2]}: {ran.stderr[-800:]}")
    return seconds, busy


def list_index(folder: Path) -> float:
    """Return the seconds that it takes to render the page of a package with 10,000 files from its rows."""
    world = World(folder, Clock())
    try:
        name = "projects/bench/locations/us-central1/repositories/r"
        with world.writing() as rows:
            projects.create(rows, world, "bench", "Bench", {})
            message = json.dumps({"format": "PYTHON"})
            rows.execute(
                "INSERT INTO repositories VALUES (?, 'bench', 'us-central1', 'r', ?, 'x', 'x')", (name, message)
            )
            for number in range(FILES):
                file = f"model/model-{number}.0-py3-none-any.whl"
                blob = f"sha256:{hashlib.sha256(file.encode()).hexdigest()}"
                about = {"requires_python": ">=3.8"}
                package_files.add(rows, world, PackageFile(name, file, "model", f"{number}.0", blob, 1, about))
        with world.reading() as rows:
            repository = find_repository(rows, name)
        if repository is None:
            raise LookupError(name)
        times = []
        for _ in range(15):
            began = time.perf_counter()
            page = index.page("model", links(world, repository, "model"))
            times.append(time.perf_counter() - began)
        if page.count("<a ") != FILES:
            raise RuntimeError("the page does not list every file")
    finally:
        world.close()
    return statistics.median(times)


def main() -> int:
    """Measure, and print the medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        write_index(folder / "files")
        upstream = stack.enter_context(served(folder / "files"))
        found = {
            "the folder itself": Index(f"{(folder / 'files').as_uri()}/simple/"),
            "remote repository": stack.enter_context(remote(folder / "sandbox", upstream)),
            "devpi": stack.enter_context(devpi(folder / "devpi", upstream)),
        }
        sources = {title: source for title, source in found.items() if source}
        times: dict[str, list[tuple[float, float]]] = {title: [] for title in sources}
        for number in range(options.rounds + 1):
            for title, source in sources.items():
                taken = install(source, folder)
                if number:  # The first one warms the caches.
                    times[title].append(taken)
        medians = {
            title: [statistics.median(column) for column in zip(*each, strict=True)] for title, each in times.items()
        }
        page = list_index(folder / "world")
    print(f"pip install of {COUNT} packages, median of {options.rounds} rounds")
    ours = medians["remote repository"]
    for title, (seconds, busy) in medians.items():
        print(
            f"  {title:20} {seconds:6.2f} s, {busy:5.2f} s of the processor;"
            f" the remote repository takes {ours[0] / seconds:.2f} and {ours[1] / busy:.2f} of it"
        )
    if "devpi" in medians:
        print(f"  aim beside devpi: {AIM:.1f}")
    print(f"simple index of {FILES:,} files: {1000 * page:.0f} ms (aim {1000 * AIM_INDEX:.0f} ms)")
    if options.json:
        options.json.write_text(json.dumps(medians | {"index": page}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
