"""Pictures for a notebook: tags and their versions, the effect of a cleanup, and the findings of scans.

Each picture has its data as text too, and never shows anything by colour only.
"""

from __future__ import annotations

import base64
import functools
import html
import io
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, ParamSpec, Protocol

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from helpers import names, scans, show
from helpers.fates import Verdict
from helpers.scans import Finding

# Distinguishable with every common kind of colour blindness (Okabe and Ito). Kept or fixable, and the opposite.
_KEEP: Final = "#0072B2"
_DELETE: Final = "#D55E00"
# A contrast of 4.5 to 1 on white and 4.6 to 1 on black, since an SVG in JupyterLab can't take the page's colour.
_INK: Final = "#767676"
_GRID: Final = "#9a9a9a55"
_STYLE: Final = {
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "workbook",
    "font.sans-serif": ["DejaVu Sans", "Verdana", "Arial", "sans-serif"],
    "font.monospace": ["DejaVu Sans Mono", "Menlo", "Consolas", "monospace"],
    **dict.fromkeys(
        ("text.color", "axes.labelcolor", "axes.edgecolor", "axes.titlecolor", "xtick.color", "ytick.color"), _INK
    ),
}
P = ParamSpec("P")
_WIDTH: Final = 8.0  # inches
_SCAN_WIDTH: Final = 7.0
_DOT: Final = 18  # square points, as matplotlib counts markers
_APART: Final = 0.16  # of a row of half an inch: more than a dot is high


def _styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Wrap a function so that it draws in colours that can be read on white and on black."""

    @functools.wraps(draw)
    def styled(*given: P.args, **named: P.kwargs) -> Figure:
        with mpl.rc_context(_STYLE):  # type: ignore[arg-type]
            return draw(*given, **named)

    return styled


class Foreseen(Protocol):
    """A cleanup run as `retention.preview` predicts it."""

    @property
    def at(self) -> datetime:
        """When it would begin."""

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        """What it would do with each version."""


def numbered(versions: Sequence[names.Tagged]) -> dict[str, str]:
    """Return for each digest `#1`, `#2`, … in the given order, which is the same on every run."""
    return {version.image.value: f"#{place}" for place, version in enumerate(versions, 1)}


def tags_text(versions: Sequence[names.Tagged]) -> str:
    """Return a table of the versions with their tags, in the given order."""
    numbers = numbered(versions)
    rows = [(numbers[one.image.value], f"{one.image.value[:15]}…", ", ".join(one.tags) or "-") for one in versions]
    return show.table(rows, ("version", "digest", "tags"))


@_styled
def tags(versions: Sequence[names.Tagged], title: str = "", before: Mapping[str, str] | None = None) -> Figure:
    """Draw an arrow from each tag to its version, print the same as text, and return the figure.

    `before` (tag → digest, from `pointers`) adds dotted arrows to where tags pointed earlier.
    """
    show.display(tags_text(versions))
    numbers = numbered(versions)
    pointers_now = pointers(versions)
    order = list(numbers)
    # Sorted by the earlier version, so that a tag that moves keeps its row from one picture to the next.
    earlier = {**pointers_now, **(before or {})}
    tag_names = sorted(earlier, key=lambda name: (_place(order, earlier[name]), name))
    figure, axes = _figure(
        max(1.5, 0.42 * max(len(tag_names), len(versions)) + 0.6),
        _tags_in_words(title, pointers_now, numbers, before or {}),
    )
    heights = {name: -float(place) for place, name in enumerate(tag_names)}
    middle = (len(tag_names) - len(versions)) / 2
    places = {one.image.value: -(middle + place) for place, one in enumerate(versions)}
    for digest, y in places.items():
        axes.text(1.02, y, numbers[digest], va="center", family="monospace", color=_INK)
    for name in tag_names:
        axes.text(-0.02, heights[name], name, va="center", ha="right", family="monospace", color=_INK)
        was, now = (before or {}).get(name), pointers_now.get(name)
        arrows: list[tuple[str | None, str]] = [(now, "-")] if was == now else [(was, ":"), (now, "-")]
        for pointed, style in arrows:
            if pointed is not None and pointed in places:
                axes.annotate(
                    "",
                    xy=(1.0, places[pointed]),
                    xytext=(0.0, heights[name]),
                    arrowprops={"arrowstyle": "->", "linestyle": style, "color": _KEEP if style == "-" else _DELETE},
                )
    axes.set_xlim(-0.5, 1.5)
    axes.set_ylim(min([*heights.values(), *places.values(), 0.0]) - 0.7, max([*places.values(), 0.0]) + 0.7)
    axes.set_axis_off()
    axes.set_title(title or "tags and the versions that they point at")
    return figure


@_styled
def overview() -> Figure:
    """Draw which clients use the registry and which the API of Artifact Registry."""
    words = (
        "Picture of Artifact Registry: docker and Cloud Build push images to its registry, Cloud Run pulls them from "
        "there; gcloud and Python ask its API; permissions guard both halves."
    )
    figure, axes = _figure(3.1, words)
    axes.set_xlim(-1, 101)
    axes.set_ylim(0, 40)
    axes.set_axis_off()
    _box(axes, (34, 1, 36, 38), "", _INK)
    axes.text(52, 36, "Artifact Registry", ha="center", va="center", weight="bold")
    axes.text(52, 4, "IAM: permissions for both halves", ha="center", va="center", size=9)
    _box(axes, (36.5, 22, 31, 10), "the registry\nREGION-docker.pkg.dev", _KEEP)
    _box(axes, (36.5, 8, 31, 10), "the API\nartifactregistry.googleapis.com", _KEEP)
    _box(axes, (0, 30, 18, 8), "docker", _INK)
    _box(axes, (0, 18, 18, 8), "Cloud Build", _INK)
    _box(axes, (0, 6, 18, 8), "gcloud, Python", _INK)
    _box(axes, (86, 23, 14, 8), "Cloud Run", _INK)
    for start, end, word in (
        ((18, 34), (36.5, 29), "push, pull"),
        ((18, 22), (36.5, 25), "push"),
        ((18, 10), (36.5, 13), "ask, change"),
        ((86, 27), (67.5, 27), "pull"),
    ):
        axes.annotate("", xy=end, xytext=start, arrowprops={"arrowstyle": "->", "color": _INK})
        axes.text((start[0] + end[0]) / 2, (start[1] + end[1]) / 2 + 1.2, word, ha="center", va="bottom", size=8)
    return figure


def _box(axes: Any, place: tuple[float, float, float, float], text: str, colour: str) -> None:
    left, low, width, height = place
    axes.add_patch(Rectangle((left, low), width, height, fill=False, edgecolor=colour))
    axes.text(left + width / 2, low + height / 2, text, ha="center", va="center", size=9)


def _tags_in_words(title: str, now: Mapping[str, str], numbers: Mapping[str, str], before: Mapping[str, str]) -> str:
    clauses = []
    for name, digest in now.items():
        was = before.get(name)
        moved = f", before at {numbers[was]}" if was and was in numbers and was != digest else ""
        clauses.append(f"{name} points at {numbers[digest]}{moved}")
    return f"Picture of {title or 'tags'}: {'; '.join(clauses) or 'no tag'}."


def _fates_in_words(preview: Foreseen) -> str:
    deleted = sum(one.delete for one in preview.verdicts)
    stay = len(preview.verdicts) - deleted
    return f"Picture of a cleanup, each version at its age: {stay} stay, {deleted} are deleted."


def _findings_in_words(images: Mapping[str, Sequence[Finding]]) -> str:
    clauses = (f"{title} has {len(all_)}" for title, all_ in images.items())
    return f"Bars of vulnerabilities by severity: {', '.join(clauses)}. The table before it has the numbers."


def _place(order: Sequence[str], digest: str | None) -> int:
    return order.index(digest) if digest in order else len(order)


def pointers(versions: Sequence[names.Tagged]) -> dict[str, str]:
    """Return the digest that each tag points to."""
    return {tag: one.image.value for one in versions for tag in one.tags}


@_styled
def timeline(preview: Foreseen) -> Figure:
    """Draw each version at its age: a circle if it stays, a cross if it is deleted, by the policy that decides."""
    images = sorted({one.version.image for one in preview.verdicts})
    deciders = sorted({one.policy or one.reason for one in preview.verdicts})
    rows = {(image, decider): 0.0 for image in images for decider in deciders}
    used = [key for key in rows if any((v.version.image, v.policy or v.reason) == key for v in preview.verdicts)]
    heights = {key: -float(place) for place, key in enumerate(used)}
    # Versions of the same day are drawn above each other within their row, so that they can be counted.
    days = [
        (one.version.image, one.policy or one.reason, (preview.at - one.version.uploaded).days)
        for one in preview.verdicts
    ]
    heights_of: dict[str, float] = {}
    for place, (one, day) in enumerate(zip(preview.verdicts, days, strict=True)):
        step = min(_APART, 0.8 / days.count(day))
        heights_of[f"{one.version.image}@{one.version.digest}"] = heights[day[:2]] + days[:place].count(day) * step
    figure, axes = _figure(max(1.6, 0.5 * len(used) + 1.0), _fates_in_words(preview))
    for delete, marker, colour, label in ((False, "o", _KEEP, "stays"), (True, "x", _DELETE, "deleted")):
        # Rounded to the hour, since a second could change a pixel. Sorted, since versions of the same second come in
        # the order of their digests, which differ on every build.
        places = sorted(
            (
                -round((preview.at - one.version.uploaded).total_seconds() / 3600) / 24,
                heights_of[f"{one.version.image}@{one.version.digest}"],
            )
            for one in preview.verdicts
            if one.delete is delete
        )
        axes.scatter(
            [day for day, _ in places],
            [height for _, height in places],
            s=_DOT,
            marker=marker,
            color=colour,
            label=f"{label}: {len(places)}",
            zorder=3,
        )
    axes.set_yticks([heights[key] for key in used], [f"{image} · {decider}" for image, decider in used])
    axes.set_ylim(min([*heights.values(), 0.0]) - 0.5, 0.9)
    axes.set_xlabel("days ago")
    axes.xaxis.set_major_formatter(lambda value, _: f"{abs(value):g}")
    axes.grid(axis="x", color=_GRID)
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    axes.set_title("what stays, what is deleted, and which policy decides")
    return figure


def findings_text(images: Mapping[str, Sequence[Finding]]) -> str:
    """Return a table of each image's findings by severity, as `fixable + without a fix`."""
    counted = {title: scans.counts(findings) for title, findings in images.items()}
    rows = []
    for name in scans.SEVERITIES:
        if any(name in counts for counts in counted.values()):
            cells = []
            for counts in counted.values():
                fixable, everything = counts.get(name, (0, 0))
                cells.append(f"{fixable} + {everything - fixable}")
            rows.append((name, *cells))
    return show.table(rows, ("severity", *(f"{title}: fixable + no fix" for title in images)))


@_styled
def findings(images: Mapping[str, Sequence[Finding]]) -> Figure:
    """Draw a panel of bars for each image (title → findings), print the same as text, and return the figure."""
    show.display(findings_text(images))
    shown = list(reversed(scans.SEVERITIES[1:]))
    if any(one.severity == scans.SEVERITIES[0] for all_ in images.values() for one in all_):
        shown.append(scans.SEVERITIES[0])
    figure = _empty(_SCAN_WIDTH, 0.32 * len(shown) * len(images) + 1.0, _findings_in_words(images))
    places = figure.subplots(len(images), 1, sharex=True, squeeze=False)
    for axes, (title, all_) in zip(places[:, 0], images.items(), strict=True):
        counts = scans.counts(all_)
        fixable = [counts.get(name, (0, 0))[0] for name in shown]
        rest = [counts.get(name, (0, 0))[1] - done for name, done in zip(shown, fixable, strict=True)]
        axes.barh(shown, fixable, color=_KEEP, label="a fixed version is out")
        axes.barh(shown, rest, left=fixable, color=_DELETE, hatch="///", edgecolor="white", label="no fix")
        for place, (done, other) in enumerate(zip(fixable, rest, strict=True)):
            if done + other:
                axes.text(done + other + 0.2, place, str(done + other), va="center")
        axes.set_title(title, loc="left")
        axes.spines[["top", "right"]].set_visible(False)
    places[-1, 0].set_xlabel("vulnerabilities")
    places[-1, 0].legend(frameon=False, loc="lower right")
    return figure


def _figure(height: float, words: str) -> tuple[Figure, Any]:
    figure = _empty(_WIDTH, height, words)
    return figure, figure.subplots()


class Picture(Figure):
    """A figure that a notebook shows without pyplot and its global state. `words` describe it."""

    def __init__(self, words: str, **options: Any) -> None:
        super().__init__(**options)
        self.words = words

    def svg(self) -> str:
        """Return the picture as SVG, with its description as the title."""
        drawn = io.StringIO()
        with mpl.rc_context(_STYLE):  # type: ignore[arg-type]
            # Without date and library, so that the same picture has the same bytes.
            self.savefig(drawn, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
        text = drawn.getvalue()
        start = text.index("<svg")
        begins = text.index(">", start) + 1
        named = f'{text[start : begins - 1]} role="img">\n <title>{html.escape(self.words)}</title>'
        return named + text[begins:]

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> tuple[dict[str, str], Any]:
        """Return the picture as SVG and as HTML, because JupyterLab gives an SVG no alternative text."""
        svg = self.svg()
        address = f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}"
        shown = f'<img alt="{html.escape(self.words)}" src="{address}">'
        content = {"text/plain": self.words, "image/svg+xml": svg, "text/html": shown}
        return content, {"image/svg+xml": {"alt": self.words}}


def _empty(width: float, height: float, words: str) -> Figure:
    return Picture(words, figsize=(width, height), layout="constrained")
