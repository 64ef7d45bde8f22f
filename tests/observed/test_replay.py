"""What Google was seen to answer is what the sandbox answers, or stands in differences.toml with its reason."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import docker
import pytest

from tests.observed import replay, stages
from tests.observed.facts import APIS, Fact, count, differences, load, reasons

FACTS = [(api, fact) for api in APIS for fact in load(api)]
# Services that start need an engine.
STARTED = ("run",)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[replay.Stage]:
    with stages.opened(tmp_path_factory.mktemp("observed")) as opened:
        yield opened


@pytest.fixture(scope="module")
def serving(stage: replay.Stage, engine: docker.DockerClient, python_image: str) -> replay.Stage:
    stages.serve(stage, engine, python_image)
    return stage


def of(*apis: str) -> pytest.MarkDecorator:
    chosen = [(api, fact) for api, fact in FACTS if api in apis]
    return pytest.mark.parametrize(("api", "fact"), chosen, ids=[fact.id for _, fact in chosen])


@of(*(api for api in APIS if api not in STARTED))
def test_the_sandbox_answers_as_google_was_seen_to(stage: replay.Stage, api: str, fact: Fact) -> None:
    check(stage, api, fact)


@pytest.mark.docker
@of(*STARTED)
def test_services_that_start_answer_as_google_s_were_seen_to(serving: replay.Stage, api: str, fact: Fact) -> None:
    check(serving, api, fact)


def check(stage: replay.Stage, api: str, fact: Fact) -> None:
    lines = replay.send(stage, api, fact)
    rows = reasons(fact.id)
    unlisted = [line for line in lines if not any(row.covers(line) for row in rows)]
    assert not unlisted, f"{fact.request}, observed {fact.observed}: mend it, or list it in differences.toml"
    gone = [row.reason for row in rows if not any(row.covers(line) for line in lines)]
    assert not gone, f"{fact.request}: no longer differs so; remove {fact.id} from these rows of differences.toml"


def test_a_row_names_facts_that_there_are() -> None:
    known = {fact.id: fact for _, fact in FACTS}
    for row in differences():
        assert row.reason
        assert row.shows, row.reason
        assert set(row.facts) <= known.keys(), row.reason
        if row.newer in known:
            assert known[row.newer].binding
            assert all(known[row.newer].observed > known[fact].observed for fact in row.facts), row.reason


def test_at_most_five_in_a_hundred_differ_where_the_notebooks_go() -> None:
    counts = [count(api) for api in ("artifactregistry", "iam", "run")]
    assert sum(one.differing for one in counts) <= 0.05 * sum(one.sent for one in counts), counts


def test_every_fact_says_where_and_how_it_was_seen() -> None:
    for _, fact in FACTS:
        assert fact.source
        assert fact.grade in ("recorded", "witnessed", "golden")
        assert bool(fact.witness) == (fact.grade == "witnessed")


def test_the_comparison_notices(stage: replay.Stage) -> None:
    told = {".name": "projects/P/serviceAccounts/X", ".uniqueId": "<number>", ".colour": "<string>", ".etag": 7}
    fact = Fact("one", "GET /v1/projects/P/serviceAccounts/X", 200, "recorded", "", "nowhere", answer=told)
    lines = replay.send(stage, "iam", fact)
    assert {"missing .colour", "extra .email", "value .etag: expected 7"} <= set(lines)
    assert not [line for line in lines if ".name" in line or ".uniqueId" in line]
    assert replay.send(stage, "iam", dataclasses.replace(fact, status=403)) == ["status 200"]
    told = {"status": "NOT_FOUND", "message": "No such thing"}
    missing = dataclasses.replace(fact, status=404, answer=None, error=told)
    assert any(line.startswith("message: ") for line in replay.send(stage, "iam", missing))
