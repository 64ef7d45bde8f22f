"""The variables that have git read the sandbox's settings: added after what is there, taken away for Google."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from helpers import git_settings, target

HOME = Path("/somewhere/.sandbox")
FILE = str(HOME / "git" / "config")
texts = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=8)


def pairs(environment: dict[str, str]) -> list[tuple[str, str]]:
    """What git would read."""
    places = range(int(environment.get("GIT_CONFIG_COUNT", "0")))
    return [(environment[f"GIT_CONFIG_KEY_{place}"], environment[f"GIT_CONFIG_VALUE_{place}"]) for place in places]


def settings(own: list[tuple[str, str]]) -> dict[str, str]:
    """An environment with settings of the user's."""
    found = {"GIT_CONFIG_COUNT": str(len(own))} if own else {}
    for place, (key, value) in enumerate(own):
        found |= {f"GIT_CONFIG_KEY_{place}": key, f"GIT_CONFIG_VALUE_{place}": value}
    return found


@given(st.lists(st.tuples(texts, texts), max_size=4))
def test_what_is_there_stays_and_comes_first_and_twice_is_once(own: list[tuple[str, str]]) -> None:
    before = settings(own)
    once = target.apply(git_settings.changes(before, HOME), before) | {"WORKBOOK_HOME": str(HOME)}
    assert pairs(once) == [*own, ("include.path", FILE)]
    twice = target.apply(git_settings.changes(once, HOME), once)
    assert twice == once
    moved = target.apply(git_settings.changes(once, Path("/else/where")), once)
    assert pairs(moved) == [*own, ("include.path", "/else/where/git/config")]
    google = target.apply(git_settings.changes(once, None), once)
    assert google == before | {"WORKBOOK_HOME": str(HOME)}


def test_a_count_that_is_none_is_no_setting() -> None:
    assert pairs(target.apply(git_settings.changes({"GIT_CONFIG_COUNT": "two"}, HOME), {})) == [("include.path", FILE)]
