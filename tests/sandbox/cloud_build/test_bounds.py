"""What a small request can ask of a build's memory is bounded."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from starlette.datastructures import QueryParams

from sandbox import seed
from sandbox.api.methods import Call
from sandbox.api.principal import Principal
from sandbox.cloud_build import build_methods, source, starting, store, substitutions
from sandbox.cloud_build.api import API
from sandbox.cloud_storage import objects
from sandbox.errors import ApiError
from sandbox.iam import policies
from sandbox.state import projects
from sandbox.state.clock import Clock
from sandbox.state.world import World


def test_substitutions_that_multiply_are_refused() -> None:
    values = {"_A": "$_B" * 1300, "_B": "$_C" * 1300, "_C": "$_D" * 1300, "_D": "x" * 100}
    with pytest.raises(substitutions.SubstitutionError, match="more than 65536 characters"):
        substitutions.resolve(values)


def test_a_text_of_many_references_is_refused() -> None:
    with pytest.raises(substitutions.SubstitutionError, match="more than 65536 characters"):
        substitutions.expand("$_A" * 100, {"_A": "x" * 4000})


def test_a_log_bucket_made_anew_by_somebody_else_gets_no_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the look at the bucket and the build's transaction another project deletes it and takes its name."""
    world = World(tmp_path / "state", Clock())
    about = seed.prepare(world, tmp_path, "ml-one", "us-central1")
    with world.writing() as rows:
        projects.create(rows, world, "ml-two", "Two", {})
        policies.grant(rows, world, "projects/ml-one", "roles/owner", f"serviceAccount:{about['learner']}")
    placed = starting._place_log

    def between(*of_a_build: Any) -> Any:
        found = placed(*of_a_build)
        assert found is not None
        with world.writing() as rows:
            objects.remove_bucket(rows, found[0].name)
            objects.make_bucket(rows, world, found[0].name, "ml-two")
        return found

    monkeypatch.setattr(starting, "_place_log", between)
    found = API.find("POST", "/v1/projects/ml-one/locations/us-central1/builds")
    assert found is not None
    method, params = found
    principal = Principal(f"serviceAccount:{about['learner']}")
    content = json.dumps({"steps": [{"name": "busybox"}]}).encode()
    project = projects.find(world, "ml-one")
    call = Call(world, method, principal, API.service, params, QueryParams({}), content, project)
    with pytest.raises(ApiError, match="was deleted meanwhile"):
        build_methods.create(call)
    assert store.of_project(world, "ml-one") == []
    with world.reading() as rows:
        assert rows.execute("SELECT COUNT(*) FROM objects").fetchone()[0] == 0
    world.close()


def _archive(folder: Path, *, kind: bytes, size: int) -> Path:
    """A gzipped tar whose first header announces an extension of `size` bytes of zeros."""
    header = tarfile.TarInfo("././@LongLink")
    header.type, header.size = kind, size
    path = folder / "source.tgz"
    with gzip.open(path, "wb", 6) as out:
        out.write(header.tobuf(tarfile.GNU_FORMAT))
        block = bytes(1 << 20)
        for _ in range(size >> 20):
            out.write(block)
        plain = tarfile.TarInfo("a.txt")
        plain.size = 1
        out.write(plain.tobuf() + b"x" + bytes(1023))
    return path


@pytest.mark.parametrize(
    "kind", [tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.XGLTYPE], ids=["long", "pax", "global"]
)
def test_a_header_that_unpacks_to_much_is_refused_unread(tmp_path: Path, kind: bytes) -> None:
    path = _archive(tmp_path, kind=kind, size=256 << 20)
    tracemalloc.start()
    try:
        with pytest.raises(source.BadSource, match="a header of 268435456 bytes"):
            source.clean(path)
        assert tracemalloc.get_traced_memory()[1] < 32 << 20
    finally:
        tracemalloc.stop()


def test_a_large_source_is_not_held_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "source.tgz"
    with tarfile.open(path, "w:gz", compresslevel=1) as out:
        large = tarfile.TarInfo("large.bin")
        large.size = 200 << 20
        out.addfile(large, io.BytesIO(bytes(large.size)))
    tracemalloc.start()
    try:
        with source.clean(path) as cleaned, tarfile.open(fileobj=cleaned) as found:
            assert found.getmember("large.bin").size == 200 << 20
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
    finally:
        tracemalloc.stop()


def test_an_archive_cut_short_is_refused_and_leaves_no_file(tmp_path: Path) -> None:
    whole = _archive(tmp_path, kind=tarfile.GNUTYPE_LONGNAME, size=0).read_bytes()
    cut = tmp_path / "cut.tgz"
    cut.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(source.BadSource, match="no tar archive"):
        source.clean(cut)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cut.tgz", "source.tgz"]
