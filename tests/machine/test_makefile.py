"""The verbs of the Makefile, as make itself reads them."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="needs make")


def _make(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    hidden = ("TARGET", "PROJECT", "REGION", "ARGS", "WORKBOOK_VENV", "MAKEFLAGS", "MAKELEVEL")
    base = {name: value for name, value in os.environ.items() if name not in hidden}
    return subprocess.run(
        ["make", "-C", str(ROOT), "--no-print-directory", *arguments],
        env={**base, **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def test_default_target_is_help_and_names_all_targets() -> None:
    done = _make()
    assert done.returncode == 0, done.stderr
    for verb in (
        "run",
        "real",
        "sweep",
        "doctor",
        "lab",
        "test",
        "soak",
        "bench",
        "site",
        "workshop",
        "image",
        "record",
        "docs",
        "setup",
    ):
        assert f"make {verb} " in done.stdout


def test_site_needs_its_own_environment_and_no_engine() -> None:
    lines = [line.lstrip("@") for line in _make("-n", "site").stdout.splitlines()]
    assert lines == [
        f'WORKBOOK_VENV="{ROOT}/.venv-site" WORKBOOK_LOCK=site/requirements.txt machine/install.sh',
        ".venv-site/bin/python site/build.py",
    ]


@pytest.mark.parametrize(
    "verb", ["run", "real", "sweep", "doctor", "lab", "test", "soak", "bench", "workshop", "record"]
)
def test_every_target_sets_up_first(verb: str) -> None:
    lines = [line.lstrip("@") for line in _make("-n", verb).stdout.splitlines()]
    assert lines[:2] == ["machine/install.sh", ".venv/bin/workbook setup"]
    assert len(lines) >= 3


def test_variables_for_google_are_passed_on() -> None:
    assert (
        "run --target 'gcp' --project 'mine' --only 02"
        in _make("-n", "run", TARGET="gcp", PROJECT="mine", ARGS="--only 02").stdout
    )
    assert "real --project 'mine' --check" in " ".join(
        _make("-n", "real", PROJECT="mine", ARGS="--check").stdout.split()
    )
    swept = " ".join(_make("-n", "sweep", PROJECT="mine", REGION="europe-west1").stdout.split())
    assert "sweep --project 'mine' --region 'europe-west1'" in swept
    assert "--project" not in _make("-n", "run", PROJECT="a-stray-variable").stdout


def test_soak_of_one_folder_runs_only_that_folder() -> None:
    def parts(**variables: str) -> list[str]:
        return [word for word in _make("-n", "soak", **variables).stdout.split() if word.startswith("tests/")]

    whole = parts(ARGS="-k x")
    # Every file that has more for a soak, wherever it is.
    more = {one for one in (ROOT / "tests").rglob("test_*.py") if "WORKBOOK_SOAK" in one.read_text(encoding="utf-8")}
    assert {"tests/notebooks", *(str(one.relative_to(ROOT)) for one in more - {Path(__file__)})} <= set(whole)
    assert all(any(ROOT.glob(one)) for one in whole)
    assert parts(ARGS="tests/image -k x") == ["tests/image"]
