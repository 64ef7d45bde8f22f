"""Pictures: they are drawn from what is there, and say the same in text."""

from __future__ import annotations

import datetime as dt
import html
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

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
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["stays: 1", "deleted: 2"]
    assert {label.get_text() for label in axes.get_yticklabels()} == {"web · no policy", "web · old"}
    circle, cross = (path.get_paths()[0].vertices.tolist() for path in axes.collections)
    assert circle != cross


def test_a_repository_without_versions_is_drawn_too(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    pictures.tags([]).savefig(tmp_path / "none.png")
    pictures.timeline(retention.preview(Snapshot("r", NOW, ()), [])).savefig(tmp_path / "none-either.png")
    assert "version" in capsys.readouterr().out


def drawn(figure: Any) -> tuple[ElementTree.Element, str]:
    data, metadata = figure._repr_mimebundle_()
    svg = data["image/svg+xml"]
    assert metadata["image/svg+xml"]["alt"] == data["text/plain"]
    assert f'alt="{data["text/plain"]}"' in html.unescape(data["text/html"])
    return ElementTree.fromstring(svg), svg  # noqa: S314 - our own


def contrast(colour: str, ground: float) -> float:
    """WCAG's ratio of a colour like #767676 to a ground of that luminance."""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in parts]
    own = sum(one * weight for one, weight in zip(linear, (0.2126, 0.7152, 0.0722), strict=True))
    return (max(own, ground) + 0.05) / (min(own, ground) + 0.05)


def timeline_of_three() -> Any:
    versions = tuple(Stored("web", f"sha256:{day}", NOW - dt.timedelta(days=day)) for day in (1, 31, 40))
    old = Policy("old", False, Condition(older=dt.timedelta(days=30)))
    return pictures.timeline(retention.preview(Snapshot("r", NOW, versions), [old]))


DRAWN = [
    pytest.param(lambda: pictures.tags(VERSIONS, "after", {"production": VERSIONS[1].image.value}), id="tags"),
    pytest.param(timeline_of_three, id="timeline"),
    pytest.param(lambda: pictures.findings({"old": []}), id="findings"),
    pytest.param(pictures.overview, id="overview"),
]


@pytest.mark.parametrize("draw", DRAWN)
def test_a_picture_is_read_on_white_and_on_black(draw: Callable[[], Any]) -> None:
    root, svg = drawn(draw())
    written = [one for one in root.iter() if one.tag.endswith("}text")]
    assert written
    for one in written:
        colour = re.search(r"fill: (#[0-9a-f]{6})", one.get("style", ""))
        # Without a colour of its own a text is black.
        assert colour, one.text
        assert contrast(colour[1], 1.0) >= 4.5
        assert contrast(colour[1], 0.0) >= 4.5
    # No white slab under it.
    ground = svg[svg.index('id="patch_1"') :].partition("</g>")[0]
    assert "fill: none" in ground or "opacity: 0" in ground


@pytest.mark.parametrize("draw", DRAWN)
def test_a_picture_is_the_same_bytes_every_time(draw: Callable[[], Any]) -> None:
    first, second = drawn(draw())[1], drawn(draw())[1]
    assert first == second
    assert "<dc:date>" not in first


def test_a_tag_keeps_its_row_when_it_moves() -> None:
    one, two = VERSIONS
    after = [Version(one.image, ("1.0.0",)), Version(two.image, ("1.0.1", "production"))]

    def rows(figure: Any) -> dict[str, float]:
        return {text.get_text(): text.get_position()[1] for text in figure.axes[0].texts if text.get_text()}

    first = rows(pictures.tags(VERSIONS, "before"))
    second = rows(pictures.tags(after, "after", pictures.pointers(VERSIONS)))
    assert first == second


def test_the_alternative_text_says_where_a_tag_went() -> None:
    _, svg = drawn(pictures.tags(VERSIONS, "after", {"production": VERSIONS[1].image.value}))
    assert "production points at #1, before at #2" in svg
