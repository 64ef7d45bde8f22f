"""Python packages from the wheel to the index, with twine and pip in the sandbox."""

from __future__ import annotations

import secrets
import sys
import zipfile
from pathlib import Path

import pytest

from helpers import names, packages, projects, target


@pytest.fixture
def made(in_world: target.Target) -> names.Repository:
    """A new Python repository."""
    projects.enable(in_world.location.project, "artifactregistry.googleapis.com")
    repository = names.Repository(in_world.location, f"r-{secrets.token_hex(4)}")
    assert packages.create(repository, labels=in_world.labels)
    assert not packages.create(repository, labels=in_world.labels)
    return repository


def test_a_wheel_is_the_same_each_time_and_can_be_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = packages.wheel(tmp_path / "a", "Ml.Model", "1.0", "def answer():\n    return 42\n")
    again = packages.wheel(tmp_path / "b", "Ml.Model", "1.0", "def answer():\n    return 42\n")
    assert first.name == "ml_model-1.0-py3-none-any.whl"
    assert first.read_bytes() == again.read_bytes()
    with zipfile.ZipFile(first) as archive:
        archive.extractall(tmp_path / "site")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    import ml_model

    assert (ml_model.answer(), ml_model.__version__) == (42, "1.0")
    sys.modules.pop("ml_model")


def test_upload_install_and_the_attack(made: names.Repository, tmp_path: Path) -> None:
    public, remote, virtual = (names.Repository(made.location, f"{made.id}-{kind}") for kind in ("p", "r", "v"))
    labels = target.current().labels
    packages.create(public, labels=labels)
    packages.create(remote, labels=labels, upstream=public)
    packages.create(virtual, labels=labels, members={made: 10, remote: 10})
    packages.upload(made, packages.wheel(tmp_path, "sampleproject", "1.0", ""))
    packages.upload(public, packages.wheel(tmp_path, "sampleproject", "99.0", ""))
    assert packages.listed(made) == (("sampleproject", "1.0"),)
    assert packages.install(virtual, "sampleproject", tmp_path / "site") == "99.0"
    packages.prioritise(virtual, {made: 20, remote: 10})
    assert packages.priorities(virtual) == {made.id: 20, remote.id: 10}
    assert packages.page(virtual, "sampleproject") == ("sampleproject-1.0-py3-none-any.whl",)
    assert packages.install(virtual, "sampleproject", tmp_path / "site") == "1.0"
    with pytest.raises(packages.ClientFailed, match="is a virtual repository"):
        packages.upload(virtual, tmp_path / "sampleproject-1.0-py3-none-any.whl")
    with pytest.raises(packages.ClientFailed, match="No matching distribution found"):
        packages.install(virtual, "not-there", tmp_path / "site")
    assert packages.page(virtual, "not-there") == ()
