"""Whether the time of a list's page depends on the page only: 100 of 200 versions beside 100 of 50,000, two tags each.

    .venv/bin/python benchmarks/registry/listing.py [--json FILE]

Prints medians of interleaved pairs, measured in one process without HTTP: elapsed seconds and processor seconds, which
other work on the machine disturbs less. The aim is a ratio of at most 1.5.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from starlette.datastructures import QueryParams

from sandbox.api.methods import Call
from sandbox.api.principal import ANONYMOUS
from sandbox.artifact_registry.api import API
from sandbox.state import projects
from sandbox.state.clock import Clock
from sandbox.state.world import World

SIZES = (200, 50_000)
PAIRS = 31
AIM = 1.5
PARENT = "/v1/projects/bench/locations/us-central1/repositories"
PAGES = {
    "versions, newest first, with tags": "/packages/app/versions?orderBy=CREATE_TIME desc&view=FULL",
    "versions by name": "/packages/app/versions",
    "the page after": "/packages/app/versions?orderBy=CREATE_TIME desc&next",
    "images": "/dockerImages",
    "images, newest first": "/dockerImages?orderBy=UPLOAD_TIME desc",
    "tags": "/packages/app/tags",
    "files": "/files",
    "the repository, with its size": "",
}


def fill(world: World, count: int) -> None:
    """Create the repository `r-COUNT` with one image, in rows only, because a list reads no blobs of images."""
    name = f"projects/bench/locations/us-central1/repositories/r-{count}"
    digests = [f"sha256:{hashlib.sha256(f'{count} {number}'.encode()).hexdigest()}" for number in range(count)]
    times = [f"2026-01-01T00:00:{number // 1000 % 60:02}.{number:06}Z" for number in range(count)]
    manifest = "application/vnd.oci.image.manifest.v1+json"
    with world.writing() as rows:
        rows.execute(
            "INSERT INTO repositories VALUES (?, 'bench', 'us-central1', ?, ?, 'x', 'x')",
            (name, f"r-{count}", json.dumps({"format": "DOCKER"})),
        )
        rows.execute(
            "INSERT INTO packages (repository, id, create_time, update_time) VALUES (?, 'app', 'x', 'x')", (name,)
        )
        rows.executemany(
            "INSERT INTO versions (repository, package, digest, media_type, size, manifest_size, create_time,"
            " update_time) VALUES (?, 'app', ?, ?, 1000, 500, ?, ?)",
            [(name, digest, manifest, at, at) for digest, at in zip(digests, times, strict=True)],
        )
        rows.executemany("INSERT INTO blobs VALUES (?, 500, 'x')", [(digest,) for digest in digests])
        rows.executemany("INSERT INTO repository_blobs VALUES (?, ?, 'x')", [(name, digest) for digest in digests])
        rows.executemany(
            "INSERT INTO tags VALUES (?, 'app', ?, ?, 'x', 'x')",
            [(name, f"{kind}-{number}", digest) for number, digest in enumerate(digests) for kind in ("v", "sha")],
        )


def request(world: World, count: int, page: str, token: str = "") -> tuple[float, float, str]:
    """Return the elapsed and the processor seconds of one page, and the token of the next."""
    path, _, query = f"{PARENT}/r-{count}{page}".partition("?")
    found = API.find("GET", path)
    if found is None:
        raise LookupError(path)
    method, params = found
    fields = {key: value for key, value in QueryParams(query).items() if key != "next"} | {"pageSize": "100"}
    if token:
        fields["pageToken"] = token
    call = Call(world, method, ANONYMOUS, API.service, params, QueryParams(fields), b"", None)
    started, busy = time.perf_counter(), time.thread_time()
    answer = method.handle(call)
    seconds, busy = time.perf_counter() - started, time.thread_time() - busy
    return seconds, busy, dict(answer).get("nextPageToken", "") if isinstance(answer, dict) else ""


def measure(world: World) -> Iterator[dict[str, Any]]:
    """Yield the figures of each kind of page."""
    for title, page in PAGES.items():
        tokens = {count: request(world, count, page)[2] if "next" in page else "" for count in SIZES}
        times: dict[int, list[tuple[float, float]]] = {count: [] for count in SIZES}
        for _ in range(PAIRS):
            for count in SIZES:
                times[count].append(request(world, count, page, tokens[count])[:2])
        small, large = (statistics.median(one[0] for one in times[count]) for count in SIZES)
        busy = [statistics.median(one[1] for one in times[count]) for count in SIZES]
        yield {"page": title, "small": small, "large": large, "ratio": large / small, "processor": busy[1] / busy[0]}


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder), Clock())
        with world.writing() as rows:
            projects.create(rows, world, "bench", "Bench", {})
        for count in SIZES:
            fill(world, count)
        results = list(measure(world))
        world.close()
    print(f"{'100 of':36} {SIZES[0]:>10,} {SIZES[1]:>10,}   ratio   of the processor   aim")
    for one in results:
        print(
            f"{one['page']:36} {one['small'] * 1e3:>7.2f} ms {one['large'] * 1e3:>7.2f} ms {one['ratio']:>7.2f}"
            f" {one['processor']:>18.2f}   <= {AIM}"
        )
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
