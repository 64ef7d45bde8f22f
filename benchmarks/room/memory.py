"""How much memory each part of a room takes while notebooks run through the learners' own servers.

Starts a real JupyterHub, as `make hub` does.

    .venv/bin/python benchmarks/room/memory.py [--learners 1] [--notebooks 02,04]

Memory is the proportional set size: a page that processes share is split among them. A peak is the highest of two
samples a second. WORKBOOK_ENGINE chooses the engine. Needs npm, and Linux.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import psutil

from cli.world import starter
from helpers.cell import documents
from helpers.target import ROOT
from tests.conditions import until
from tests.room.browsing import Browser
from tests.room.test_room import free_ports, kernel

# Part → text in the command lines of its processes. A process belongs to the first part that matches.
PARTS = {
    "server": ("jupyterhub.singleuser", "room.seat"),
    "kernel": ("ipykernel",),
    "sandbox": ("-m sandbox",),
    "Hub and proxy": ("-m jupyterhub", "configurable-http-proxy", "room.service"),
    "engine": ("-m engine", "dockerd", "containerd"),
    "gcloud, docker, builds": ("",),
}


def parts(hub: int, engine_home: Path) -> Counter[str]:
    """Return the megabytes of each part: the Hub's descendants, the learners' sandboxes, the engine and its builds."""
    found: Counter[str] = Counter()
    processes = {process.pid: process for process in psutil.process_iter()}
    ours = {hub}
    for pid, process in sorted(processes.items()):
        with contextlib.suppress(psutil.Error, OSError):
            words = " ".join(process.cmdline())
            mine = process.ppid() in ours or str(engine_home) in words
            mine = mine or str(engine_home.parent) in process.environ().get("WORKBOOK_HOME", "")
            mine = mine or ("-m sandbox" in words and str(engine_home.parent) in words)
            if pid == hub or mine:
                ours.add(pid)
                part = next(part for part, signs in PARTS.items() if any(sign in words for sign in signs))
                found[part] += process.memory_full_info().pss >> 20
    return found


class Watch:
    """Records the highest memory of each part, and of all together, from samples in a thread."""

    def __init__(self, hub: int, engine_home: Path) -> None:
        self._hub, self._engine_home = hub, engine_home
        self.peak: Counter[str] = Counter()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._sample)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._over.wait(0.5):
            now = parts(self._hub, self._engine_home)
            for part, size in {**now, "together": sum(now.values())}.items():
                self.peak[part] = max(self.peak[part], size)


@contextlib.contextmanager
def room(names: list[str], folder: Path) -> Iterator[tuple[int, str]]:
    """Open a room for these learners, and yield the Hub's process id and address."""
    (folder / "names.txt").write_text("\n".join(names), encoding="utf-8")
    port = free_ports(4)
    environment = os.environ | {
        "WORKBOOK_CLASS": str(folder / "names.txt"),
        "WORKBOOK_ROOM": str(folder / "room"),
        "WORKBOOK_ROOM_PORT": str(port),
        "WORKBOOK_ENGINE_HOME": str(folder / "engine"),
    }
    log = folder / "hub.log"
    with log.open("wb") as out:
        hub = subprocess.Popen(
            [ROOT / ".venv-hub" / "bin" / "python", "-m", "room"], cwd=ROOT, env=environment, stdout=out, stderr=out
        )
    try:
        until(lambda: "JupyterHub is now running" in log.read_text() or hub.poll() is not None, 180)
        if hub.poll() is not None:
            raise SystemExit(log.read_text())
        yield hub.pid, f"http://127.0.0.1:{port}"
    finally:
        hub.send_signal(signal.SIGTERM)
        hub.wait(60)
        for name in names:
            starter.stop(folder / "room" / "learners" / name)
        stop_engine(folder)


def stop_engine(folder: Path) -> None:
    """Stop the engine whose data are in the folder, so that the folder can be deleted."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if str(folder / "engine") in " ".join(process.cmdline()):
                process.terminate()
                process.wait(30)


def work(name: str, address: str, number: str) -> str:
    """Run one notebook through a learner's own server, and return the first error, or an empty string."""
    browser = Browser(address)
    browser.sign_in(name, f"password-of-{name}")
    [path] = documents.NOTEBOOKS.glob(f"{number}_*.ipynb")
    with kernel(browser, name) as opened:
        opened.run(f"from helpers.fast_forward import fast_forward; fast_forward({int(number)})")
        for cell in documents.read(path).cells:
            if cell.cell_type == "code" and (error := opened.run(cell.source)[1]):
                return f"{name}, notebook {number}: {error}"
    return ""


def row(title: str, sizes: Mapping[str, int]) -> str:
    """Return a row of the table, in megabytes."""
    return f"| {title} | " + " | ".join(str(sizes.get(part, 0)) for part in (*PARTS, "together")) + " |"


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--learners", type=int, default=1)
    parser.add_argument("--notebooks", default="02,04")
    options = parser.parse_args()
    names = [f"learner-{number}" for number in range(1, options.learners + 1)]
    settings = {"WORKBOOK_VENV": str(ROOT / ".venv-hub"), "WORKBOOK_LOCK": "room/requirements.txt"}
    subprocess.run([ROOT / "machine" / "install.sh"], cwd=ROOT, env=os.environ | settings, check=True)
    errors = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary).resolve()
        with room(names, folder) as (hub, address), ThreadPoolExecutor(len(names)) as pool:
            print(f"{options.learners} learners, {os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}; MB, PSS")
            print("| | " + " | ".join((*PARTS, "together")) + " |\n" + "|---" * (len(PARTS) + 2) + "|")
            list(pool.map(lambda name: start_server(name, address), names))
            now = parts(hub, folder / "engine")
            print(row("signed in", {**now, "together": sum(now.values())}), flush=True)
            for number in options.notebooks.split(","):
                with Watch(hub, folder / "engine") as watch:
                    errors += list(filter(None, pool.map(lambda name: work(name, address, number), names)))  # noqa: B023
                print(row(f"peak in notebook {number}", watch.peak), flush=True)
        disk = sum(path.lstat().st_blocks * 512 for path in folder.rglob("*")) >> 20
        engine = sum(path.lstat().st_blocks * 512 for path in (folder / "engine").rglob("*")) >> 20
        print(f"on disk {disk} MB, {engine} of it the engine's; load {os.getloadavg()[0]:.1f} after")
    print(*errors, sep="\n", file=sys.stderr)
    return 1 if errors else 0


def start_server(name: str, address: str) -> None:
    """Sign a learner in, and wait for the learner's server."""
    browser = Browser(address)
    browser.sign_in(name, f"password-of-{name}")
    until(lambda: bool(re.search("jupyter-config-data", browser.get(f"/user/{name}/lab").text)), 180)


if __name__ == "__main__":
    sys.exit(main())
