"""Which lines of a sandbox's log are failures."""

from __future__ import annotations

from pathlib import Path

from tests import failures

LOG = """ready http://localhost:5001
2026-11-28 15:02:08,481 INFO 200 POST oauth2.googleapis.com/token anonymous 175.5
2026-11-28 15:02:09,481 INFO 500 GET run.googleapis.com/v2/projects/p someone@example.com 3.0
2026-11-28 15:02:09,482 INFO 501 GET run.googleapis.com/v2/projects/p/jobs someone@example.com 3.0
2026-11-28 15:02:09,483 INFO 503 GET run.googleapis.com/v2/projects/p someone@example.com 3.0
2026-11-28 15:02:09,484 INFO 500 GET app-1.us-central1.run.app/fails anonymous 3.0
2026-11-28 15:02:09,485 INFO 502 GET us-central1-python.pkg.dev/p/r/simple/x/ someone@example.com 3.0
2026-11-28 15:02:09,486 INFO 504 PUT /v2/x anonymous 3.0
"""


def test_only_unexpected_failures_are_reported() -> None:
    assert [line.split()[3] for line in failures.in_log(LOG)] == ["500", "504"]


def test_logs_below_a_folder_are_read(tmp_path: Path) -> None:
    (tmp_path / "world0" / "home").mkdir(parents=True)
    (tmp_path / "world0" / "home" / "sandbox.log").write_text(LOG.replace(" 504 ", " 200 ").replace(" 500 ", " 200 "))
    assert failures.under(tmp_path) == []
