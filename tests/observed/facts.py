"""What Google was seen to answer, from recordings that others have published, and how the sandbox differs.

`facts/API.json` holds one fact for each request: its template, what was sent, and the fields of the answer with what
varies masked. They are facts taken from the recordings, no copies of them. Grades:

recorded    a recording of traffic with Google
witnessed   a golden log that a mock shares, with a reason to take it for Google's: its `witness`
golden      a golden log that may be the mock's: replayed and reported, never counted

`differences.toml` names the facts that the sandbox doesn't answer as Google did, each with a reason. Where several
facts tell of one request, the newest holds: a row with `newer` names it.
"""

from __future__ import annotations

import functools
import json
import tomllib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
DIFFERENCES = HERE / "differences.toml"
APIS = tuple(sorted(path.stem for path in (HERE / "facts").glob("*.json")))


@dataclass(frozen=True)
class Fact:
    """One request and what Google answered.

    Attributes:
        request: the verb and the path's template, `GET /v1/projects/P/locations/L/repositories/X`.
        body: path of a field to its value or mask, `.labels.<key>` to `<string>`; None where no body was sent.
        answer: the same for the answer; None where the recorder removed it.
        observed: the newest day on which it was recorded; empty where the recording has no date.
    """

    id: str
    request: str
    status: int
    grade: str
    observed: str
    source: str
    sources: int = 1
    witness: str = ""
    note: str = ""
    query: dict[str, str] = field(default_factory=dict)
    body: dict[str, Any] | None = None
    answer: dict[str, Any] | None = None
    error: dict[str, Any] | None = None

    @property
    def binding(self) -> bool:
        """Whether it counts."""
        return self.grade != "golden"

    @property
    def verb(self) -> str:
        """GET, POST, PATCH, PUT or DELETE."""
        return self.request.partition(" ")[0]

    @property
    def path(self) -> str:
        """The path's template."""
        return self.request.partition(" ")[2]


@dataclass(frozen=True)
class Difference:
    """Facts that the sandbox answers otherwise.

    Attributes:
        shows: the lines that a replay gives for each of them; one that ends with `*` stands for all with its beginning.
        newer: what the sandbox follows instead, if that is the reason: a later fact, or a documented sentence.
    """

    facts: tuple[str, ...]
    reason: str
    shows: tuple[str, ...]
    newer: str

    @property
    def served(self) -> bool:
        """Whether the sandbox does it at all."""
        return self.shows != ("status 501",)

    def covers(self, line: str) -> bool:
        """Whether a line of a replay is one that the row names."""
        return any(
            line.startswith(show.removesuffix("*")) if show.endswith("*") else line == show for show in self.shows
        )


@functools.cache
def load(api: str) -> tuple[Fact, ...]:
    """The facts of one API."""
    return tuple(Fact(**one) for one in json.loads((HERE / "facts" / f"{api}.json").read_text()))


@functools.cache
def differences() -> tuple[Difference, ...]:
    """The list of differences."""
    rows = tomllib.loads(DIFFERENCES.read_text())["difference"]
    return tuple(
        Difference(tuple(row["facts"]), row["reason"], tuple(row["shows"]), row.get("newer", "")) for row in rows
    )


def reasons(fact: str) -> list[Difference]:
    """The rows that name a fact."""
    return [row for row in differences() if fact in row.facts]


@dataclass(frozen=True)
class Count:
    """How an API's binding facts fare."""

    sent: int
    matched: int
    older: int
    differing: int
    not_served: int
    golden: int
    golden_matched: int


def count(api: str) -> Count:
    """Count an API's facts by what `differences.toml` says of them; the replay proves that it says so rightly."""
    kinds = Counter(_kind(one.id) for one in load(api) if one.binding)
    golden = [one.id for one in load(api) if not one.binding]
    return Count(
        sum(kinds.values()),
        kinds["matched"],
        kinds["older"],
        kinds["differing"],
        kinds["not served"],
        len(golden),
        sum(_kind(one) == "matched" for one in golden),
    )


def _kind(fact: str) -> str:
    rows = reasons(fact)
    if any(not row.served for row in rows):
        return "not served"
    if any(not row.newer for row in rows):
        return "differing"
    return "older" if rows else "matched"


def newest(api: str, fits: Callable[[str, str], bool]) -> Fact | None:
    """The latest binding fact whose verb and path fit, among those that the sandbox serves."""
    found = [one for one in load(api) if one.binding and fits(one.verb, one.path) and _kind(one.id) != "not served"]
    return max(found, key=lambda one: one.observed, default=None)
