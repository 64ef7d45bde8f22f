"""The picture of a scan: findings by severity, fixable or not, before and after. The same stands beside it as text."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from helpers import scans, show
from helpers.scans import Finding

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_FIXABLE: Final = "#0072B2"
_NO_FIX: Final = "#D55E00"
_WIDTH: Final = 7.0


def text(images: Mapping[str, Sequence[Finding]]) -> str:
    """Counts of each image by severity as a table: `fixable + without a fix`."""
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


def findings(images: Mapping[str, Sequence[Finding]]) -> Figure:
    """Draw a panel of bars for each image (title → findings); gives the figure, and prints the same as text."""
    # A second to import, which the command line needn't wait for.
    from matplotlib.figure import Figure

    class Picture(Figure):
        """A figure that a notebook shows without pyplot and its global state."""

        def _repr_png_(self) -> bytes:
            drawn = io.BytesIO()
            self.savefig(drawn, format="png", dpi=100)
            return drawn.getvalue()

    print(text(images))
    shown = list(reversed(scans.SEVERITIES[1:]))
    if any(one.severity == scans.SEVERITIES[0] for all_ in images.values() for one in all_):
        shown.append(scans.SEVERITIES[0])
    figure = Picture(figsize=(_WIDTH, 0.32 * len(shown) * len(images) + 1.0), layout="constrained")
    places = figure.subplots(len(images), 1, sharex=True, squeeze=False)
    for axes, (title, all_) in zip(places[:, 0], images.items(), strict=True):
        counts = scans.counts(all_)
        fixable = [counts.get(name, (0, 0))[0] for name in shown]
        rest = [counts.get(name, (0, 0))[1] - done for name, done in zip(shown, fixable, strict=True)]
        axes.barh(shown, fixable, color=_FIXABLE, label="a fixed version is out")
        axes.barh(shown, rest, left=fixable, color=_NO_FIX, hatch="///", edgecolor="white", label="no fix")
        for place, (done, other) in enumerate(zip(fixable, rest, strict=True)):
            if done + other:
                axes.text(done + other + 0.2, place, str(done + other), va="center")
        axes.set_title(title, loc="left")
        axes.spines[["top", "right"]].set_visible(False)
    places[-1, 0].set_xlabel("vulnerabilities")
    places[-1, 0].legend(frameon=False, loc="lower right")
    return figure
