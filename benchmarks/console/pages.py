"""How long a page of the console takes beside the API call that it shows: 50 of a repository's 10,000 images.

    .venv/bin/python benchmarks/console/pages.py [--json FILE]

Medians of interleaved pairs, in one process, without HTTP. The aim for the page is 100 ms.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.registry import listing
from sandbox.admin.sessions import Session
from sandbox.admin.surface import Controls
from sandbox.api.principal import Principal
from sandbox.console import views, visits
from sandbox.console.reader import Reader
from sandbox.console.serve import Console
from sandbox.iam import policies
from sandbox.state import projects
from sandbox.state.clock import Clock
from sandbox.state.world import World

COUNT = 10_000
PAIRS = 31
AIM = 0.1
MEMBER = "user:reader@example.com"
PARAMS = {"project": "bench", "location": "us-central1", "repository": f"r-{COUNT}"}


def seconds(call: Callable[[], object]) -> float:
    """Return the seconds that a call takes."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def check(correct: bool) -> None:
    """Exit with a message if a response that is being measured is not the expected one."""
    if not correct:
        raise SystemExit("The page or the list is not the expected one, so there is nothing to measure.")


def main() -> None:
    """Measure the page and its API call in turns, and print the medians."""
    parser = argparse.ArgumentParser(description="A page of the console beside its API call")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder) / "state", Clock())
        with world.writing() as rows:
            projects.create(rows, world, "bench", "Bench", {})
            rows.execute("INSERT INTO services VALUES ('bench', 'artifactregistry.googleapis.com', '')")
            policies.grant(rows, world, "projects/bench", "roles/artifactregistry.admin", MEMBER)
        listing.fill(world, COUNT)
        controls = Controls(world, "x")
        console, reader = Console(controls), Reader(world, Principal(MEMBER))
        session = Session(MEMBER, "x", float("inf"))
        page = next(one for one in views.PAGES if one.template == "repository")
        path = f"/v1/projects/bench/locations/us-central1/repositories/r-{COUNT}/dockerImages"

        def show() -> None:
            check(console.read(page, PARAMS, {}, session).status_code == 200)

        def call() -> None:
            listed = reader.get("artifactregistry", path, pageSize=visits.PAGE_SIZE)["dockerImages"]
            check(len(listed) == visits.PAGE_SIZE)

        pairs = [(seconds(show), seconds(call)) for _ in range(PAIRS)]
        world.close()
    shown, called = (statistics.median(one) for one in zip(*pairs, strict=True))
    print(f"page of {visits.PAGE_SIZE} of {COUNT:,} images: {shown * 1000:.1f} ms, aim {AIM * 1000:.0f} ms")
    print(f"its list alone: {called * 1000:.1f} ms, ratio {shown / called:.1f}")
    if options.json:
        options.json.write_text(json.dumps({"page": shown, "list": called, "ratio": shown / called}), encoding="utf-8")


if __name__ == "__main__":
    main()
