"""Which files a build sends to the engine, and which an upload sends to Google."""

import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest
from docker.utils.build import exclude_paths, tar

from tests.sample_app.conftest import ROOT

SENT = {
    "sample_app/app/gunicorn.conf.py",
    "sample_app/app/healthcheck.py",
    "sample_app/app/manage.py",
    "sample_app/app/predictor/__init__.py",
    "sample_app/app/predictor/health.py",
    "sample_app/app/predictor/inputs.py",
    "sample_app/app/predictor/logs.py",
    "sample_app/app/predictor/model.py",
    "sample_app/app/predictor/prefix.py",
    "sample_app/app/predictor/refusals.py",
    "sample_app/app/predictor/settings.py",
    "sample_app/app/predictor/templates/page.html",
    "sample_app/app/predictor/urls.py",
    "sample_app/app/predictor/vertex.py",
    "sample_app/app/predictor/views.py",
    "sample_app/app/predictor/wsgi.py",
    "sample_app/requirements-train.txt",
    "sample_app/requirements.txt",
    "sample_app/train.py",
}
PLANTED = [
    ".sandbox/secret",
    ".sandbox/learner-key.json",
    "runs/x",
    "key.json",
    ".env",
    ".git/config",
    ".venv/bin/python",
    "cloudbuild.yaml",
    "sample_app/.env",
    "sample_app/key.json",
    "sample_app/iris.json",
    "sample_app/app/key.json",
    "sample_app/app/.env",
    "sample_app/app/db.sqlite3",
    "sample_app/app/predictor/key.json",
    "sample_app/app/predictor/__pycache__/views.cpython-311.pyc",
    "sample_app/app/predictor/templates/page.html~",
]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the files that a build reads, beside files that no build may read."""
    root = tmp_path / "tree"
    shutil.copytree(ROOT / "sample_app", root / "sample_app", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("Dockerfile", ".dockerignore", ".gcloudignore"):
        shutil.copy(ROOT / name, root / name)
    for name in PLANTED:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("planted\n", encoding="utf-8")
    return root


def test_build_context_contains_only_what_the_dockerfile_needs(tree: Path) -> None:
    lines = (line.strip() for line in (tree / ".dockerignore").read_text(encoding="utf-8").splitlines())
    patterns = [line for line in lines if line and not line.startswith("#")]
    kept = exclude_paths(str(tree), patterns, dockerfile="Dockerfile")
    with (
        tar(str(tree), exclude=patterns, dockerfile=("Dockerfile", None)) as context,
        tarfile.open(fileobj=context) as sent,
    ):
        files = {member.name for member in sent if member.isfile()}
    # Clients always add these two files for the builder. No COPY puts them into the image.
    assert files == SENT | {"Dockerfile", ".dockerignore"}
    assert {name for name in kept if (tree / name).is_file()} == files


@pytest.mark.gcloud
def test_upload_contains_only_what_cloud_build_needs(tree: Path, tmp_path: Path) -> None:
    gcloud = shutil.which("gcloud")
    if gcloud is None:
        pytest.skip("gcloud isn't on the PATH")
    listed = subprocess.run(
        [gcloud, "meta", "list-files-for-upload", str(tree)],
        env={**os.environ, "CLOUDSDK_CONFIG": str(tmp_path / "gcloud")},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert set(listed.stdout.split()) == SENT | {"Dockerfile", ".dockerignore", "cloudbuild.yaml"}


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-train.txt"])
def test_every_wheel_is_locked_by_hash_and_by_nothing_else(name: str) -> None:
    text = (ROOT / "sample_app" / name).read_text(encoding="utf-8").replace("\\\n", " ")
    entries = [line for line in text.splitlines() if line.strip() and not line.strip().startswith("#")]
    assert entries
    for entry in entries:
        assert "==" in entry, entry
        assert "--hash=sha256:" in entry, entry
        assert "://" not in entry, entry
        assert not entry.startswith("-"), entry
