"""How the time of a cleanup preview grows with 3,000, 30,000 and 300,000 versions in 50 images, once they are listed.

    .venv/bin/python benchmarks/cleanup/preview.py [--json FILE]

300,000 is the most that Google's job deletes in a repository in one day. Each size runs in its own process, so that its
peak memory can be measured. The exit status is 1 if 300,000 versions take 3 s or more, or 1 GB or more.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
SIZES = (3_000, 30_000, 300_000)
IMAGES = 50
REPEATS = 3
NOW = dt.datetime(2026, 12, 1, tzinfo=dt.UTC)


def versions(count: int) -> Any:
    """Yield versions that share a base and have two layers of their own: one in five untagged, one in ten a release."""
    from helpers.fates import Stored

    base = tuple((f"sha256:{layer:064x}", 20_000_000) for layer in range(3))
    for number in range(count):
        digest = f"sha256:{number + 1000:064x}"
        tags = (f"sha-{number % 0xFFFFFFF:07x}",) + ((f"1.{number}.0",) if number % 10 == 0 else ())
        yield Stored(
            image=f"service-{number % IMAGES:02}",
            digest=digest,
            uploaded=NOW - dt.timedelta(days=200) * (number / count),
            tags=tags if number % 5 != 1 else (),
            blobs=(*base, (f"sha256:{number:032x}aa", 30_000), (f"sha256:{number:032x}bb", 5_000), (digest, 1_500)),
        )


def one(count: int) -> dict[str, float]:
    """Return the seconds of the fastest of three previews, and the process's peak memory in MB with the listing."""
    from helpers import policies, retention
    from helpers.fates import Snapshot

    wanted = policies.read(ROOT / "cleanup-policy.json")
    snapshot = Snapshot("us-central1-docker.pkg.dev/my-project/ml-images", NOW, tuple(versions(count)))
    seconds = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        found = retention.preview(snapshot, wanted)
        seconds.append(time.perf_counter() - started)
    unit = 1024 if sys.platform == "linux" else 1024 * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
    return {
        "versions": count,
        "deleted": len(found.deleted),
        "seconds": round(min(seconds), 4),
        "first": round(seconds[0], 4),
        "peak_mb": round(peak, 1),
    }


def main() -> int:
    """Run each size, print the table and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, help="measure one size in this process, as the benchmark does for each")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args()
    if options.size:
        sys.path.insert(0, str(ROOT))
        print(json.dumps(one(options.size)))
        return 0
    figures = []
    for size in SIZES:
        ran = subprocess.run(
            [sys.executable, __file__, "--size", str(size)], capture_output=True, text=True, check=True, cwd=ROOT
        )
        figures.append(json.loads(ran.stdout))
        print("{versions:>8} versions  {seconds:>8.3f} s  {peak_mb:>7.1f} MB  {deleted} deleted".format(**figures[-1]))
    small, large = figures[0], figures[-1]
    ratio = (large["seconds"] / small["seconds"]) / (large["versions"] / small["versions"])
    print(f"time per version, {large['versions']:,} against {small['versions']:,}: {ratio:.2f} (1 is linear)")
    if options.json:
        options.json.write_text(json.dumps({"figures": figures, "ratio": round(ratio, 3)}, indent=1) + "\n")
    return 0 if large["seconds"] < 3 and large["peak_mb"] < 1000 else 1


if __name__ == "__main__":
    sys.exit(main())
