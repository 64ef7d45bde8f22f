"""A recording on another day, with another date for the sandbox, the kernels and gcloud, has the same bytes.

Docker's and Google's Go programs bypass the C library and keep today's date. So the other day is in the past, where the
sandbox's certificates are valid on both.
"""

from __future__ import annotations

import datetime as dt
import os
import shutil
import sys
from pathlib import Path

import pytest

from tests import runs

DAYS = -20  # the sandbox's authority is good for 30

pytestmark = [
    pytest.mark.skipif(os.environ.get("WORKBOOK_SOAK") != "1", reason="a long one: make soak"),
    pytest.mark.skipif(sys.platform != "linux" or not shutil.which("cc"), reason="needs Linux and a C compiler"),
    pytest.mark.docker,
    pytest.mark.gcloud,
    pytest.mark.slow,
    pytest.mark.timeout(1800),
]


def test_recording_on_another_day_reproduces_the_stored_bytes(python_image: str, gcloud: Path, tmp_path: Path) -> None:
    library = tmp_path / "another_day.so"
    runs.succeed("cc", "-shared", "-fPIC", "-O2", "-o", library, Path(__file__).with_name("another_day.c"))
    shifted = {"LD_PRELOAD": str(library), "ANOTHER_DAY": str(DAYS)}
    today = dt.datetime.now(dt.UTC).date()
    seen = runs.succeed(sys.executable, "-c", "import datetime; print(datetime.datetime.now(datetime.UTC))", **shifted)
    assert dt.date.fromisoformat(seen[:10]) - today in (dt.timedelta(DAYS), dt.timedelta(DAYS + 1))
    runs.recorded(sys.executable, **shifted)
