"""The page that says what was done."""

from __future__ import annotations

from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

import pytest

from helpers import answers, certificate, names
from helpers.certificate import Deed, Made
from helpers.target import Target

HERE = Target("sandbox", "my-project", "1", "us-central1", "r", "i", "h", "h", "http://h", "lab", "")
MOMENT = datetime(2026, 11, 2, 9, 5, tzinfo=UTC)
DIGEST = names.Digest.parse(f"us-central1-docker.pkg.dev/my-project/ml-images/ml-predictor@sha256:{'a1' * 32}")
WHO = certificate.Learner("Ada <b>L.</b>", certificate.Exercises(24, 20, 3), datetime(2026, 11, 28, tzinfo=UTC))
DEEDS = (Deed("Images are scanned", "done"), Deed("Tags <b>hold</b>", "wrong"))


class Reader(HTMLParser):
    """What a page holds: its tags with their attributes, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def page(made: tuple[Made, ...] = (Made(DIGEST, ("1.0.0", "latest"), 34_200_000, MOMENT),)) -> Reader:
    return Reader(certificate.page(HERE, WHO, MOMENT, DEEDS, made, ["repository ml-images"], 0))


def test_it_names_digest_time_deeds_and_what_went() -> None:
    text = " ".join(page().text.split())
    for part in (
        DIGEST.value,
        "1.0.0, latest",
        "34.2 MB",
        "2026-11-02 09:05 UTC",
        "Ada <b>L.</b>",
        "23 of 24 exercises: 20 alone, 3 with the solution",
        "2026-11-28",
        "1 of 2 done",
        "repository ml-images",
    ):
        assert part in text
    assert "✓ Images are scanned (done)" in text
    assert "✗ Tags <b>hold</b> (wrong)" in text
    assert "Stored now: 0 B." in text


def test_it_needs_nothing_from_outside_and_says_its_language() -> None:
    found = page().tags
    assert ("html", {"lang": "en"}) in found
    assert not [tag for tag, given in found if tag in ("script", "link", "img", "b") or {"src", "href"} & set(given)]


def test_the_card_says_no_day_in_a_recording_and_takes_no_markup(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORKBOOK_JOURNAL", raising=False)
    assert repr(certificate.Card(WHO, DEEDS)).splitlines()[-1] == f"{WHO.written:%Y-%m-%d}"
    monkeypatch.setenv("WORKBOOK_JOURNAL", "journal.jsonl")
    card = certificate.Card(WHO, DEEDS)
    assert repr(card).splitlines()[1:] == [
        "Ada <b>L.</b>",
        "23 of 24 exercises: 20 alone, 3 with the solution",
        "1 of 2 lines of the checklist done",
    ]
    assert "Ada &lt;b&gt;L.&lt;/b&gt;" in card._repr_html_()
    assert "2026" not in card._repr_html_() + repr(card)


def test_the_learner_is_read_from_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKBOOK_HOME", str(tmp_path))
    monkeypatch.setenv("WORKBOOK_NOTEBOOK", "03_sign_in")
    answers.note(1, "done")
    answers.note(2, "solution")
    answers.note(2, "done")
    found = certificate.learner(" Ada ")
    assert (found.name, found.exercises.alone, found.exercises.helped) == ("Ada", 1, 1)
    assert found.exercises.total >= 22


def test_an_empty_registry_is_said_so() -> None:
    assert "nothing" in page(()).text


def test_it_is_kept_with_the_reports_of_a_run_or_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, home = tmp_path / "run", tmp_path / "home"
    run.mkdir()
    home.mkdir()
    monkeypatch.setenv("WORKBOOK_HOME", str(home))
    monkeypatch.delenv("WORKBOOK_JOURNAL", raising=False)
    assert certificate.write("one") == home / "certificate.html"
    monkeypatch.setenv("WORKBOOK_JOURNAL", str(run / "journal.jsonl"))
    assert certificate.write("two") == run / "certificate.html"
    assert (run / "certificate.html").read_text() == "two"
