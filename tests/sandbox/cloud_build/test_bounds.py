"""What a small request can ask of a build's memory is bounded."""

from __future__ import annotations

import gzip
import io
import tarfile
import tracemalloc
from pathlib import Path

import pytest

from sandbox.cloud_build import source, substitutions


def test_substitutions_that_multiply_are_refused() -> None:
    values = {"_A": "$_B" * 1300, "_B": "$_C" * 1300, "_C": "$_D" * 1300, "_D": "x" * 100}
    with pytest.raises(substitutions.SubstitutionError, match="more than 65536 characters"):
        substitutions.resolve(values)


def test_a_text_of_many_references_is_refused() -> None:
    with pytest.raises(substitutions.SubstitutionError, match="more than 65536 characters"):
        substitutions.expand("$_A" * 100, {"_A": "x" * 4000})


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
