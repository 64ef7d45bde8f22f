"""Pictures: they are drawn from what is there, and say the same in text."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from pathlib import Path

import pytest

from helpers import names, pictures, retention
from helpers.fates import Snapshot, Stored
from helpers.policies import Condition, Policy

NOW = dt.datetime(2026, 12, 1, tzinfo=dt.UTC)
IMAGE = names.Repository.parse("us-central1-docker.pkg.dev/my-project/ml-images").image("web")


@dataclass(frozen=True)
class Version:
    image: names.Digest
    tags: tuple[str, ...]


VERSIONS = [
    Version(IMAGE.digest(f"sha256:{n:064x}"), tags) for n, tags in enumerate((("1.0.0", "production"), ("1.0.1",)))
]


def test_the_picture_of_tags_says_the_same_in_text(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    before = {"production": VERSIONS[1].image.value}
    figure = pictures.tags(VERSIONS, "after", before)
    figure.savefig(tmp_path / "tags.png")
    said = capsys.readouterr().out
    assert "1.0.0, production" in said
    drawn = {text.get_text() for text in figure.axes[0].texts}
    assert {"1.0.0", "1.0.1", "production"} <= drawn
    # one arrow for each tag, and a dotted one for where production was
    assert sum(text.arrow_patch is not None for text in figure.axes[0].texts if hasattr(text, "arrow_patch")) == 4


def test_the_timeline_tells_fates_apart_without_colour(tmp_path: Path) -> None:
    versions = tuple(Stored("web", f"sha256:{day}", NOW - dt.timedelta(days=day)) for day in (1, 31, 40))
    old = Policy("old", False, Condition(older=dt.timedelta(days=30)))
    figure = pictures.timeline(retention.preview(Snapshot("r", NOW, versions), [old]))
    figure.savefig(tmp_path / "timeline.png")
    (axes,) = figure.axes
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["stays: 1", "goes: 2"]
    assert {label.get_text() for label in axes.get_yticklabels()} == {"web · no policy", "web · old"}
    circle, cross = (path.get_paths()[0].vertices.tolist() for path in axes.collections)
    assert circle != cross


def test_a_repository_without_versions_is_drawn_too(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    pictures.tags([]).savefig(tmp_path / "none.png")
    pictures.timeline(retention.preview(Snapshot("r", NOW, ()), [])).savefig(tmp_path / "none-either.png")
    assert "version" in capsys.readouterr().out
