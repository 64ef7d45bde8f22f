"""Read the layers of untrusted images, and limit the time and memory that they can take."""

from __future__ import annotations

import gzip
import io
import os
import resource
import subprocess
import sys
import tarfile
import textwrap
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox.scanner import package_lists
from sandbox.scanner.layers import Tree, stack
from sandbox.scanner.limits import Budget, LimitExceeded, Limits
from sandbox.scanner.tar_reader import LayerUnreadable, entries, zstd

ROOT = Path(__file__).parents[3]
META = "opt/venv/lib/python3.11/site-packages/{}.dist-info/METADATA"


def member(
    path: str, content: bytes = b"", kind: bytes = tarfile.REGTYPE, link: str = ""
) -> tuple[tarfile.TarInfo, bytes]:
    entry = tarfile.TarInfo(path)
    entry.type, entry.linkname, entry.size = kind, link, len(content)
    return entry, content


def tar(*members: tuple[tarfile.TarInfo, bytes], form: int = tarfile.PAX_FORMAT, packed: bool = True) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=form) as archive:
        for entry, content in members:
            archive.addfile(entry, io.BytesIO(content))
    return gzip.compress(file.getvalue(), 1, mtime=0) if packed else file.getvalue()


def tree(*layers: bytes, limits: Limits | None = None) -> Tree:
    opened = [lambda layer=layer: io.BytesIO(layer) for layer in layers]
    return stack(opened, Budget(limits or Limits()), lambda path: path.startswith(("a/", "b/", "opt/", "etc/")))


def files(found: Tree) -> dict[str, bytes]:
    return {path: file.content for path in found.paths() if (file := found.read(path))}


def test_later_layers_replace_and_whiteouts_remove() -> None:
    base = tar(member("a/one", b"1"), member("a/two", b"2"), member("b/x/deep", b"3"), member("b/y", b"4"))
    assert files(tree(base)) == {"a/one": b"1", "a/two": b"2", "b/x/deep": b"3", "b/y": b"4"}
    assert files(tree(base, tar(member("a/one", b"new")))) == {
        "a/one": b"new",
        "a/two": b"2",
        "b/x/deep": b"3",
        "b/y": b"4",
    }
    assert set(files(tree(base, tar(member("a/.wh.two"))))) == {"a/one", "b/x/deep", "b/y"}
    assert set(files(tree(base, tar(member("b/.wh.x"))))) == {"a/one", "a/two", "b/y"}
    assert set(files(tree(base, tar(member(".wh.b"))))) == {"a/one", "a/two"}
    assert set(files(tree(base, tar(member("b/.wh..wh..opq"), member("b/z", b"5"))))) == {"a/one", "a/two", "b/z"}
    assert set(files(tree(base, tar(member(".wh..wh..opq"))))) == set()


def test_whiteout_hides_only_lower_layers() -> None:
    # image-spec: "whiteout files MUST only apply to resources in lower/parent layers".
    base = tar(member("a/one", b"1"))
    for order in ((member("a/.wh.one"), member("a/one", b"2")), (member("a/one", b"2"), member("a/.wh.one"))):
        assert files(tree(base, tar(*order))) == {"a/one": b"2"}


def test_file_replaces_folder_and_folder_replaces_file() -> None:
    base = tar(member("a/x/deep", b"1"), member("a/y", b"2"))
    assert files(tree(base, tar(member("a/x", b"file")))) == {"a/x": b"file", "a/y": b"2"}
    assert files(tree(base, tar(member("a/x", kind=tarfile.SYMTYPE, link="y")))) == {"a/x": b"2", "a/y": b"2"}
    assert files(tree(base, tar(member("a/y", kind=tarfile.DIRTYPE), member("a/y/z", b"3")))) == {
        "a/x/deep": b"1",
        "a/y/z": b"3",
    }


def test_layer_of_a_file_is_known() -> None:
    found = tree(tar(member("a/one", b"1")), tar(member("a/two", b"2")), tar(member("a/one", b"3")))
    assert {path: found.files[path].layer for path in found.paths()} == {"a/one": 2, "a/two": 1}
    assert [(file.layer, file.content) for file in found.history("a/one")] == [(0, b"1"), (2, b"3")]


@pytest.mark.parametrize("link", ["../etc/real", "/etc/real", "../../../../etc/real", "/../../etc/./real"])
def test_links_are_followed_inside_the_image_only(link: str) -> None:
    found = tree(tar(member("etc/real", b"inside"), member("a/link", kind=tarfile.SYMTYPE, link=link)))
    file = found.read("a/link")
    assert file is not None
    assert file.content == b"inside"


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
@pytest.mark.parametrize("link", ["/etc/passwd", "../../../../../../etc/passwd", "link", "/a/link", ""])
def test_link_outside_the_root_or_to_itself_is_ignored(kind: bytes, link: str) -> None:
    assert tree(tar(member("a/link", kind=kind, link=link))).read("a/link") is None


@pytest.mark.parametrize("path", ["../../etc/passwd", "/../a/one", "a/../../a/one", "..", "a/../a/one", "x" * 5000])
def test_path_outside_the_root_is_ignored(path: str) -> None:
    for form in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
        assert files(tree(tar(member(path, b"evil"), member("a/good", b"1"), form=form))) == {"a/good": b"1"}


def test_absolute_path_is_relative_to_the_images_root() -> None:
    assert files(tree(tar(member("/a/one", b"1"), member("./a//two", b"2")))) == {"a/one": b"1", "a/two": b"2"}


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
@pytest.mark.parametrize("packed", [True, False])
def test_all_archive_formats_are_read(form: int, packed: bool) -> None:
    long = "a/" + "n" * 90 + "/" + ("m" * 90 if form == tarfile.USTAR_FORMAT else "m" * 300)
    blob = tar(
        member(long, b"long"),
        member("a/ünï" if form != tarfile.USTAR_FORMAT else "a/uni", b"u" * 1537),
        form=form,
        packed=packed,
    )
    assert sorted(files(tree(blob)).values()) == sorted([b"long", b"u" * 1537])


def test_invalid_layer_is_refused_with_a_reason() -> None:
    whole = tar(member("a/one", b"x" * 3000))
    plain = tar(member("a/one", b"x" * 3000), packed=False)
    for blob, reason in (
        (b"no archive at all" * 100, "not a tar archive"),
        (b"\x28\xb5\x2f\xfd" + b"\xff" * 600, "zstd stream is damaged"),
        (zstd.compress(plain)[:-20], "zstd stream is damaged"),
        (zstd.compress(plain) + b"garbage", "zstd stream is damaged"),
        (b"\xfd7zXZ\0" + bytes(600), "do not use"),
        (whole[: len(whole) // 2], "gzip stream is damaged"),
        (whole[:-20] + bytes(20), "damaged"),
        (plain[:1500], "ends in the middle"),
        (plain[:148] + b"0000000\0" + plain[156:], "damaged"),
    ):
        with pytest.raises(LayerUnreadable, match=reason):
            tree(blob)
    assert files(tree(b"", gzip.compress(b""))) == {}


def test_bombs_exceed_the_limits() -> None:
    with pytest.raises(LimitExceeded, match="unpack to more than"):
        tree(tar(member("a/big", bytes(32 << 20))), limits=Limits(unpacked=1 << 20))
    with pytest.raises(LimitExceeded, match="entries"):
        tree(tar(*(member(f"x/{number}") for number in range(300))), limits=Limits(entries=200))
    with pytest.raises(LimitExceeded, match="more than 1000 bytes"):
        tree(tar(member("a/one", bytes(1001))), limits=Limits(file=1000))
    with pytest.raises(LimitExceeded, match="package lists"):
        tree(tar(*(member(f"a/{number}", bytes(900)) for number in range(5))), limits=Limits(kept=8000))
    # Names count towards the limit even if no content is kept.
    for kind in (tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE):
        many = tar(
            *(member(f"a/{number}", kind=kind, link="x" if kind != tarfile.REGTYPE else "") for number in range(20))
        )
        with pytest.raises(LimitExceeded, match="package lists"):
            tree(many, limits=Limits(kept=10_000))
    with pytest.raises(LimitExceeded, match="entries"):
        tree(gzip.compress(b"") * 5000 + tar(member("a/one", b"1")), limits=Limits(entries=1000))
    with pytest.raises(LimitExceeded, match="seconds"):
        tree(tar(member("a/one", b"1")), limits=Limits(seconds=0))


@pytest.mark.parametrize("kind", [b"L", b"K", b"x"])
def test_name_of_a_gigabyte_is_not_read(kind: bytes) -> None:
    entry = tarfile.TarInfo("././@LongLink")
    entry.type, entry.size = kind, 1 << 30
    with pytest.raises(LimitExceeded, match="a name in the archive"):
        tree(gzip.compress(entry.tobuf() + bytes(4096)))


@pytest.mark.parametrize(
    "header", [b"5 size=9\n", b"abc path=x\n", b"99 path=x\n", b"0 path=x\n", b"12 size=-1\n\n", b"13 size=1e9\n\n"]
)
def test_damaged_extended_header_is_refused_or_ignored(header: bytes) -> None:
    blob = tar(member("x", header, kind=b"x"), member("a/one", b"1"), packed=False, form=tarfile.GNU_FORMAT)
    try:
        found = tree(blob)
    except (LayerUnreadable, LimitExceeded):
        return
    assert set(found.files) <= {"a/one", "x"}


def test_size_beyond_the_archive_is_refused() -> None:
    entry = tarfile.TarInfo("a/one")
    entry.size = 1 << 60
    with pytest.raises((LayerUnreadable, LimitExceeded)):
        tree(entry.tobuf(tarfile.GNU_FORMAT) + bytes(8192))


def test_gzip_stream_can_have_several_members() -> None:
    plain = tar(member("a/one", b"1" * 3000), packed=False)
    several = b"".join(gzip.compress(plain[start : start + 700]) for start in range(0, len(plain), 700))
    assert files(tree(several)) == files(tree(several + bytes(512))) == {"a/one": b"1" * 3000}
    with pytest.raises(LayerUnreadable, match="damaged"):
        tree(several + b"garbage")


def test_zstd_stream_can_have_several_frames() -> None:
    plain = tar(member("a/one", b"1" * 300_000), packed=False)
    skipped = b"\x50\x2a\x4d\x18" + (4).to_bytes(4, "little") + b"skip"
    several = skipped.join(zstd.compress(plain[start : start + 70_000]) for start in range(0, len(plain), 70_000))
    for blob in (zstd.compress(plain), several, skipped + several + skipped):
        assert files(tree(blob)) == {"a/one": b"1" * 300_000}
    assert files(tree(zstd.compress(b""), skipped)) == {}


def test_zstd_bombs_exceed_the_limits() -> None:
    big = zstd.compress(tar(member("x/big", bytes(64 << 20)), packed=False))
    assert len(big) < 20_000
    with pytest.raises(LimitExceeded, match="unpack to more than"):
        tree(big, limits=Limits(unpacked=1 << 20))
    with pytest.raises(LimitExceeded, match="entries"):
        tree(zstd.compress(b"") * 5000, limits=Limits(entries=1000))
    # The decoder of this frame would allocate two gigabytes before its first output.
    wide = zstd.compress(bytes(1000), options={zstd.CompressionParameter.content_size_flag: 0})
    header = bytearray(wide)
    assert header[4] & 0x20 == 0  # not a single segment, so the byte after the descriptor is the window size
    header[5] = (31 - 10) << 3
    with pytest.raises(LayerUnreadable, match="window is too large"):
        tree(bytes(header))


def test_nested_archive_is_not_opened() -> None:
    inner = tar(member("etc/os-release", b"ID=evil"))
    found = tree(tar(member("a/layer.tar.gz", inner)))
    assert files(found) == {"a/layer.tar.gz": inner}


def test_bomb_of_ten_gigabytes_needs_little_memory(tmp_path: Path) -> None:
    """Read it in another process, whose address space is limited to 192 MiB."""
    file = tmp_path / "bomb.gz"
    header = tarfile.TarInfo("x/zeros")
    header.size = 10 << 30
    block = gzip.compress(bytes(16 << 20), 6)
    with file.open("wb") as out:
        out.write(gzip.compress(header.tobuf()))
        for _ in range(640):
            out.write(block)
    program = textwrap.dedent(
        """
        import sys
        from sandbox.scanner.layers import stack
        from sandbox.scanner.limits import Budget, LimitExceeded, Limits
        try:
            stack([lambda: open(sys.argv[1], "rb")], Budget(Limits(unpacked=256 << 20, seconds=30)), lambda path: False)
        except LimitExceeded as reason:
            print(reason)
        """
    )
    started = time.monotonic()
    ran = subprocess.run(
        [sys.executable, "-c", program, str(file)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (192 << 20, 192 << 20)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert "unpack to more than" in ran.stdout, ran.stderr
    assert time.monotonic() - started < 60


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=4096), st.integers(0, 2000), st.binary(min_size=1, max_size=64))
def test_mutilated_archive_raises_only_expected_errors(noise: bytes, place: int, patch: bytes) -> None:
    good = tar(member(META.format("x-1"), b"Name: x\nVersion: 1\n"), member("a/two", b"2" * 700), packed=False)
    packed = zstd.compress(good)
    for blob in (
        *(noise, good[:place] + patch + good[place + len(patch) :], gzip.compress(good)[:place] + patch),
        *(packed[: place % 500] + patch + packed[place % 500 + len(patch) :], packed[:4] + noise),
    ):
        try:
            tree(blob, limits=Limits(unpacked=1 << 20, seconds=5))
        except (LayerUnreadable, LimitExceeded):
            continue


def test_members_are_yielded_in_order_with_wanted_content() -> None:
    blob = tar(member("a/one", b"1"), member("b/two", b"2"), member("d", kind=tarfile.DIRTYPE))
    found = list(entries(io.BytesIO(blob), Budget(), lambda path: path == "a/one"))
    assert [(entry.path, entry.kind, entry.content) for entry in found] == [
        ("a/one", "file", b"1"),
        ("b/two", "file", None),
        ("d", "directory", None),
    ]


# --- package lists ----------------------------------------------------------------------------------------------------

STATUS = b"""Package: libc6
Status: install ok installed
Source: glibc
Version: 2.36-9+deb12u14
Description: a library
 Package: not-a-package
 Version: 0

Package: libpython3-stdlib
Status: install ok installed
Source: python3-defaults (3.11.2-1)
Version: 3.11.2-1+b1

Package: gone
Status: deinstall ok config-files
Version: 1.0

Package: half
Status: install ok half-configured
Version: 2.0

Package: never
Status: unknown ok not-installed
"""


def test_dpkg_status_lists_sources_of_installed_packages() -> None:
    found = {(one.name, one.source, one.source_version) for one in package_lists.debian(STATUS)}
    assert found == {
        ("libc6", "glibc", "2.36-9+deb12u14"),
        ("libpython3-stdlib", "python3-defaults", "3.11.2-1"),
        ("half", "half", "2.0"),
    }
    single = b"Package: tzdata\nVersion: 2026f-0\nArchitecture: all\n"
    assert [one.name for one in package_lists.debian(single, single=True)] == ["tzdata"]


@pytest.mark.parametrize(
    ("path", "counts"),
    [
        ("usr/lib/python3/dist-packages/six-1.16.0.egg-info", True),
        ("usr/lib/python3/dist-packages/six-1.16.0.egg-info/PKG-INFO", True),
        (META.format("Django-5.2.7"), True),
        ("x.dist-info/METADATA", True),
        ("a/b.egg/EGG-INFO/PKG-INFO", True),
        ("a/METADATA", False),
        ("a/x.dist-info/RECORD", False),
        ("a/x.dist-info/METADATA.bak", False),
    ],
)
def test_python_metadata_paths_are_recognised(path: str, counts: bool) -> None:
    assert package_lists.is_python(path) is counts


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"Metadata-Version: 2.1\nName: Django\nVersion: 5.2.7\n\nName: no\n", ("Django", "5.2.7")),
        (b"name: x\r\nversion: 1\r\n", ("x", "1")),
        (b"Name: x\n\nVersion: 1\n", None),
        (b"\xff\xfe", None),
        (b"Name: first\nName: second\nVersion: 1\n", ("first", "1")),
    ],
)
def test_distribution_metadata_has_name_and_version(content: bytes, found: tuple[str, str] | None) -> None:
    assert package_lists.python(content) == found


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b'ID=debian\nVERSION_ID="12"\n', ("debian", "12")),
        (b"# a comment\nID='ubuntu'\nVERSION_ID=24.04\n", ("ubuntu", "24.04")),
        (b'ID="broken\nVERSION_ID=1\n', ('"broken', "1")),
        (b"NAME=nothing\n", None),
    ],
)
def test_os_release_is_parsed(content: bytes, found: tuple[str, str] | None) -> None:
    system = package_lists.operating_system(content)
    assert (system and (system.id, system.version)) == found
