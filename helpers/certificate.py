"""The certificate: one HTML file that shows what the learner has done."""

from __future__ import annotations

import html
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import jinja2

from helpers import answers, names, show
from helpers.cell import documents
from helpers.target import Target

NAME: Final = "certificate.html"


@dataclass(frozen=True)
class Made:
    """One version that was in the registry, with its digest."""

    image: names.Digest
    tags: tuple[str, ...]
    size: int
    uploaded: datetime


@dataclass(frozen=True)
class Exercises:
    """The number of exercises, and how many were done alone and with the solution."""

    total: int
    alone: int
    helped: int

    def __str__(self) -> str:
        done = f"{self.alone + self.helped} of {self.total} exercises"
        return f"{done}: {self.alone} alone, {self.helped} with the solution"


@dataclass(frozen=True)
class Deed:
    """A line of the checklist. `state` is done, not yet or wrong."""

    title: str
    state: str


_PAGE: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Artifact Registry workbook: what was done</title>
<style>
:root { color-scheme: light dark; }
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
div { overflow-x: auto; }
.name { font-size: 1.6rem; margin: 0; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .3rem .8rem .3rem 0; border-bottom: 1px solid #8888; }
code { overflow-wrap: anywhere; }
@media print { body { margin: 0; max-width: none; } }
</style>
</head>
<body>
<main>
<h1>Artifact Registry workbook</h1>
{%- if name %}
<p class="name">{{ name }}</p>
{%- endif %}
<p><strong>{{ exercises }}</strong>. Written on <time>{{ written.strftime("%Y-%m-%d") }}</time>.</p>
<p>Project <strong>{{ here.project_id }}</strong>, region {{ here.region }}, run {{ here.run }}.
{{ here.sentence[0] | upper }}{{ here.sentence[1:] }}. The list was read at <time>{{ moment(taken) }}</time>.</p>
<h2>The checklist, {{ done }} of {{ deeds | length }} done</h2>
<ul>
{%- for one in deeds %}
<li>{{ marks[one.state] }} {{ one.title }} <small>({{ one.state }})</small></li>
{%- endfor %}
</ul>
<h2>What was in the registry</h2>
<div tabindex="0" role="region" aria-label="Versions">
<table>
<thead><tr><th scope="col">image</th><th scope="col">tags</th><th scope="col">digest</th>
<th scope="col">size</th><th scope="col">uploaded</th></tr></thead>
<tbody>
{%- for one in made %}
<tr><td>{{ one.image.image.path }}</td><td>{{ one.tags | join(", ") or "-" }}</td>
<td><code>{{ one.image.value }}</code></td>
<td>{{ size(one.size) }}</td><td><time>{{ moment(one.uploaded) }}</time></td></tr>
{%- else %}
<tr><td colspan="5">nothing</td></tr>
{%- endfor %}
</tbody>
</table>
</div>
<h2>What was removed</h2>
<ul>
{%- for line in removed %}
<li>{{ line }}</li>
{%- else %}
<li>nothing</li>
{%- endfor %}
</ul>
<p>Stored now: {{ size(stored) }}.</p>
</main>
</body>
</html>
"""


def folder() -> Path:
    """Return the folder for the page: a run's reports, or WORKBOOK_HOME. Raises KeyError without a target."""
    journal = os.environ.get("WORKBOOK_JOURNAL")
    return Path(journal).parent if journal else Path(os.environ["WORKBOOK_HOME"])


@dataclass(frozen=True)
class Learner:
    """The learner's name, which may be empty, and their exercises at the time of writing."""

    name: str
    exercises: Exercises
    written: datetime


def learner(name: str = "") -> Learner:
    """Return the learner with their exercises."""
    kept = answers.read(Path(os.environ["WORKBOOK_HOME"])) if os.environ.get("WORKBOOK_HOME") else ()
    total = sum(documents.exercises(path) for path in documents.notebooks())
    alone, helped = (sum(one.how == how for one in kept) for how in ("own", "solution"))
    # The machine's clock, because the sandbox's may be a month ahead.
    return Learner(name.strip(), Exercises(total, alone, helped), datetime.now(UTC))


class Card:
    """The certificate's summary in a notebook."""

    def __init__(self, who: Learner, deeds: Sequence[Deed]) -> None:
        done = sum(one.state == "done" for one in deeds)
        self.lines = [
            "Artifact Registry workbook",
            *([who.name] if who.name else []),
            str(who.exercises),
            f"{done} of {len(deeds)} lines of the checklist done",
            # Without the day in a recording, which must not change from day to day.
            *([] if os.environ.get("WORKBOOK_JOURNAL") else [f"{who.written:%Y-%m-%d}"]),
        ]

    def __repr__(self) -> str:
        return "\n".join(self.lines)

    def _repr_html_(self) -> str:
        first, *rest = (html.escape(line) for line in self.lines)
        style = "border: 2px solid; border-radius: .5rem; padding: 1rem 2rem; max-width: 30rem; text-align: center"
        return f'<div style="{style}"><h3>{first}</h3>{"".join(f"<p>{line}</p>" for line in rest)}</div>'


def page(
    here: Target,
    who: Learner,
    taken: datetime,
    deeds: Sequence[Deed],
    made: Sequence[Made],
    removed: Sequence[str],
    stored: int,
) -> str:
    """Return the page's HTML. `removed` are lines of text, `stored` the remaining bytes. Pure."""
    # Escaped, since the learner chooses the name.
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    return environment.from_string(_PAGE).render(
        here=here,
        name=who.name,
        exercises=who.exercises,
        written=who.written,
        taken=taken,
        deeds=deeds,
        done=sum(one.state == "done" for one in deeds),
        made=made,
        removed=removed,
        stored=stored,
        marks={"done": "✓", "not yet": "○", "wrong": "✗"},
        size=show.size,
        moment=lambda value: f"{value:%Y-%m-%d %H:%M} UTC",
    )


def write(text: str) -> Path:
    """Write the page to `folder()`, replacing an older one, and return its path."""
    path = folder() / NAME
    path.write_text(text, encoding="utf-8")
    return path
