"""Two recordings of the same thing give the same bytes."""

from __future__ import annotations

import hashlib
import random
import re
import uuid

from hypothesis import given
from hypothesis import strategies as st

from cli.record import rules
from cli.record.stand_ins import StandIns

FIRST = hashlib.sha256(b"digest 1").hexdigest()

DIGESTS = st.lists(st.text("0123456789abcdef", min_size=64, max_size=64), unique=True, min_size=1, max_size=9)


@given(DIGESTS, DIGESTS, st.lists(st.integers(0, 8), max_size=30))
def test_digests_are_named_by_first_appearance(first: list[str], second: list[str], order: list[int]) -> None:
    """Whatever the digests are: the same pattern of mentions gives the same text."""
    size = min(len(first), len(second))
    mentions = [place % size for place in order]
    texts = [" ".join(f"x@sha256:{digests[place]}" for place in mentions) for digests in (first, second)]
    assert StandIns().apply(texts[0]) == StandIns().apply(texts[1])


@given(DIGESTS)
def test_different_digests_stay_different(digests: list[str]) -> None:
    text = "\n".join(f"x@sha256:{digest}" for digest in digests)
    assert len(set(StandIns().apply(text).splitlines())) == len(digests)


@given(DIGESTS)
def test_a_canonical_record_gives_itself(digests: list[str]) -> None:
    text = " ".join(f"sha256:{digest} {uuid.uuid4()}" for digest in digests)
    once = StandIns().apply(text)
    assert StandIns().apply(once) == once


def test_a_stand_in_looks_like_what_it_stands_for() -> None:
    told = (
        f"sha256:{'ab' * 32} {uuid.uuid4()} etag: BwZh30W-1wA=\n"
        f"gs://p_cloudbuild/source/1793610005.123456-{'cd' * 16}.tgz\n{'e' * 12}: Pushed\n"
    )
    shown = StandIns().apply(told)
    assert re.fullmatch(
        r"sha256:[0-9a-f]{64} [0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12} etag: BwZh[\w-]{7}=\n"
        r"gs://p_cloudbuild/source/17936\d{5}\.\d{6}-[0-9a-f]{32}\.tgz\n[0-9a-f]{12}: Pushed\n",
        shown,
    )
    # Neither the original nor one digit over and over.
    assert all(len(set(word)) > 5 for word in re.findall(r"[0-9a-f]{12,}", shown))
    assert not {*re.findall(r"[0-9a-f]{12,}", told)} & {*re.findall(r"[0-9a-f]{12,}", shown)}
    assert StandIns().apply(shown) == shown


@given(
    st.lists(st.text("0123456789abcdef", min_size=12, max_size=12), unique=True, min_size=1, max_size=9), st.randoms()
)
def test_a_push_reads_the_same_in_whatever_order_its_layers_arrive(layers: list[str], chance: random.Random) -> None:
    def told(chance: random.Random) -> str:
        ends = [f"{layer}: Pushed\n" for layer in layers]
        chance.shuffle(ends)
        waits = [f"{layer}: Waiting\n" for layer in layers if chance.random() < 0.5]
        starts = [f"{layer}: Preparing\n" for layer in layers]
        return "".join(["The push refers to repository [r]\n", *starts, *waits, *ends, "1.0: digest: d size: 1\n"])

    shown = StandIns().apply(told(chance))
    assert shown == StandIns().apply(told(random.Random(0)))
    assert shown.count("Pushed") == len(layers)
    assert "Preparing" not in shown
    assert shown.endswith("1.0: digest: d size: 1\n")


def test_a_build_and_its_push_read_the_same_whichever_builder_and_store_made_them() -> None:
    identifier, manifest = ("sha256:" + digit * 64 for digit in "ab")
    end = "The push refers to repository [r]\n{states}1.0.0: digest: {digest} size: {size}\n"
    classic = (
        "DEPRECATED: The legacy builder is deprecated and will be removed in a future release.\n"
        "            BuildKit is currently disabled; enable it by removing the DOCKER_BUILDKIT=0\n"
        "            environment-variable.\n\n"
        f"{identifier}\n"
    ) + end.format(states=f"{'c' * 12}: Preparing\n{'c' * 12}: Pushed\n", digest=manifest, size=1362)
    containerd = f"{manifest}\n" + end.format(states=f"{'d' * 12}: Pushed\n", digest=manifest, size=1285)
    shown, other = (rules.sanitized(StandIns().apply(told)) for told in (classic, containerd))
    assert shown == other
    assert f"digest: sha256:{FIRST}" in shown


def test_what_only_an_engine_with_buildkit_says_is_left_out() -> None:
    there = "built\nBuildKit: pushed ml-predictor:zstd\nBuildKit is the newer builder\n"
    assert StandIns().apply(there) == "built\nBuildKit is the newer builder\n"
    assert StandIns().apply("BuildKit: skipped\n") == ""


def test_text_without_such_names_stays_as_it_is() -> None:
    text = "one\n\ntwo: sha256:short 12:30:45\nno newline at the end"
    assert StandIns().apply(text) == text


def test_a_digest_and_its_beginning_are_one_thing_whichever_comes_first() -> None:
    digest = f"{'2ccb628c':0<64}"
    full, short, at = f"sha256:{digest}", "sha256:2ccb628c…", "ml-predictor@2ccb628c  1.0.0"
    assert (
        StandIns().apply(f"x {full}\n{short}\n{at}")
        == f"x sha256:{FIRST}\nsha256:{FIRST[:8]}…\nml-predictor@{FIRST[:8]}  1.0.0"
    )
    assert StandIns().apply(f"{at}\nx {full}") == f"ml-predictor@{FIRST[:8]}  1.0.0\nx sha256:{FIRST}"


def test_an_address_is_no_digest() -> None:
    text = "me@deadbeef.example me@deadbeef-1 sha256:2ccb628 20261102"
    assert StandIns().apply(text) == text


def test_an_etag_is_named_by_first_appearance() -> None:
    text = "etag: BwZh30W-1wA=\nversion: 1\netag: BwZh30_CPUA=\netag: BwZh30W-1wA="
    once = StandIns().apply(text)
    first, second = re.findall(r"(?<=etag: )\S+", once)[:2]
    assert first != second
    assert once == f"etag: {first}\nversion: 1\netag: {second}\netag: {first}"
    assert StandIns().apply(once) == once


@given(DIGESTS)
def test_a_digest_in_an_address_is_the_digest(digests: list[str]) -> None:
    told = StandIns().apply(f"sha256:{digests[0]} https://x/versions/sha256%3A{digests[0]}?a=b")
    assert told == f"sha256:{FIRST} https://x/versions/sha256%3A{FIRST}?a=b"


def test_what_python_says_of_gcloud_s_sources_is_left_out() -> None:
    """As gcloud 528 on Python 3.12 said it, once, in the first cell that described a build."""
    place = "/usr/bin/../lib/google-cloud-sdk/lib/third_party/google/cloud/appengine_v1/proto/version_pb2.py"
    warning = f"{place}:1476: SyntaxWarning: invalid escape sequence '\\ '\n  '__doc__': \"\"\"\\ `Cloud Endpoints`__\n"
    assert (
        StandIns().apply(f"status: SUCCESS\n{warning}{warning}images:\n  - x\n") == "status: SUCCESS\nimages:\n  - x\n"
    )
    assert StandIns().apply("/app/mine.py:1: SyntaxWarning: x\n") == "/app/mine.py:1: SyntaxWarning: x\n"


def test_what_docker_remembers_of_other_runs_is_left_out() -> None:
    place = "us-central1-docker.pkg.dev/v2/p/r/image/blobs/uploads/"
    text = f"401  GET    us-central1-docker.pkg.dev/v2/\n202  POST   {place}?from=p/other&mount=sha256:…\n"
    own = f"202  POST   {place}\n201  POST   {place}?from=p/other&mount=sha256:…\n"
    assert StandIns().apply(text + own) == "401  GET    us-central1-docker.pkg.dev/v2/\n" + own


def test_every_python_records_the_same() -> None:
    table = "Python  {}  everything\ndocker  28.2.2  push\n"
    told = {StandIns().apply(table.format(version)) for version in ("3.11.7", "3.12.1", "3.13.0")}
    assert told == {"Python  3.x     everything\ndocker  28.2.2  push\n"}


def test_a_commit_has_one_stand_in_in_all_its_forms() -> None:
    first, second = "9d48794" + "a" * 33, "9410ea8" + "b" * 33
    text = f"   {first[:7]}..{second[:7]}  main -> main\nexport SHA={second} SHORT={second[:7]}\nsha-{second[:7]}\n"
    told = StandIns().apply(text)
    other = text.replace(first[:7], "0000001").replace(second, "0000002" + "c" * 33).replace(second[:7], "0000002")
    assert StandIns().apply(other) == told
    pushed, exported, tagged, _ = told.split("\n")
    short = pushed.split("..")[1][:7]
    assert exported.startswith(f"export SHA={short}")
    assert exported.endswith(f" SHORT={short}")
    assert tagged == f"sha-{short}"
    # What only looks like one, such as a tag that a lesson names, stays.
    assert StandIns().apply("ml-predictor:sha-4f2a9c1\n") == "ml-predictor:sha-4f2a9c1\n"
    assert StandIns().apply(told) == told


def test_the_dots_of_a_wait_are_three() -> None:
    assert StandIns().apply("versions..done\nversions.....done\n") == "versions...done\nversions...done\n"
