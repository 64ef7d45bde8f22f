"""No token, address or number survives, whatever stands around it; the second reader finds what the first missed."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.exchanges import scrub

LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
NAMES = {"my-project-7": "<project>", "123456789012": "<number>"}


def texts(letters: str, least: int, most: int) -> st.SearchStrategy[str]:
    return st.text(letters, min_size=least, max_size=most)


tokens = st.one_of(
    texts(LETTERS + "_-", 20, 80).map("ya29.{}".format),
    st.tuples(texts(LETTERS + "_-", 10, 60), texts(LETTERS + "_-", 10, 60)).map(lambda two: f"eyJ{two[0]}.{two[1]}"),
    texts(LETTERS + "_-", 20, 40).map("1//{}".format),
    texts(LETTERS + "_-", 35, 35).map("AIza{}".format),
    texts(LETTERS + "+/\n", 40, 200).map("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----".format),
)
emails = st.tuples(texts(LETTERS + "._+-", 1, 20), texts(LETTERS.lower(), 1, 15)).map(
    lambda two: f"{two[0]}@{two[1]}.com"
)
numbers = st.integers(10**4, 10**30).map(str)
secrets = st.one_of(tokens, emails, numbers, st.sampled_from(sorted(NAMES)))
around = st.text(st.characters(codec="utf-8", exclude_characters='"\\'), max_size=12)


def nested(leaf: Any, how: int, key: str) -> Any:
    return [leaf, {key: leaf}, {"a": [1, {"b": leaf}]}, {leaf: key}, {"etag": leaf}][how]


@given(secret=secrets, before=around, after=around, how=st.integers(0, 4), key=texts(LETTERS, 1, 8))
def test_no_secret_survives(secret: str, before: str, after: str, how: int, key: str) -> None:
    scrubbed = scrub.Scrubber(NAMES).value(nested(before + secret + after, how, key))
    assert secret not in json.dumps(scrubbed, ensure_ascii=False).replace("\\n", "\n")


@given(number=st.integers(min_value=10**4) | st.integers(max_value=-(10**4)) | st.floats(10**4, allow_nan=False))
def test_no_number_survives_that_is_none_of_a_text(number: float) -> None:
    assert scrub.Scrubber({}).value({"size": number}) == {"size": 0}


@given(secret=secrets, before=around, after=around)
def test_the_second_reader_sees_every_secret(secret: str, before: str, after: str) -> None:
    found = scrub.leaks({"text": f"{before} {secret} {after}"}, NAMES)
    assert found
    assert all(secret not in phrase for phrase in found)


@given(words=st.lists(st.tuples(secrets, texts("abcdefgh ", 0, 10)), max_size=4))
def test_nothing_is_found_in_plain_words_once_they_are_scrubbed(words: list[tuple[str, str]]) -> None:
    scrubbed = scrub.Scrubber(NAMES).value({"text": " ".join(f"{secret} {word}" for secret, word in words)})
    assert scrub.leaks(scrubbed, NAMES) == []


@given(one=secrets, other=secrets)
def test_what_is_scrubbed_stays_as_it_is(one: str, other: str) -> None:
    scrubbed = scrub.Scrubber(NAMES).text(f"{one} or {other} or {one}")
    assert scrub.Scrubber(NAMES).text(scrubbed) == scrubbed


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Project #123456789012 of ana@example.com", "Project #<number> of <email-1>"),
        ("a@b.de, c@d.de, a@b.de", "<email-1>, <email-2>, <email-1>"),
        ("projects/my-project-7/locations/us", "projects/<project>/locations/us"),
        ("2026-11-25T10:11:12.123456Z", "<time>"),
        ("01ABCD-2EF345-6789GH", "<billing-1>"),
        ("3f2504e0-4f89-11d3-9a0c-0305e82c3301", "<id-1>"),
        ("Bearer abcdefgh12345", "<token-1>"),
        ("<a-123456> is no name of ours", "<a-<number-1>> is no name of ours"),
        ("artifactregistry.repositories.get on v1, HTTP 404", "artifactregistry.repositories.get on v1, HTTP 404"),
    ],
)
def test_what_stands_for_what(text: str, expected: str) -> None:
    assert scrub.Scrubber(NAMES).text(text) == expected
