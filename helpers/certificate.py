"""A page that says what was done: one HTML file that needs nothing but a browser."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

import jinja2

from helpers import names, show
from helpers.target import Target

NAME: Final = "certificate.html"


@dataclass(frozen=True)
class Made:
    """One version that was in the registry: its digest says what it was, whatever became of it."""

    image: names.Digest
    tags: tuple[str, ...]
    size: int
    uploaded: datetime


@dataclass(frozen=True)
class Deed:
    """A line of the checklist as it stood: `state` is done, not yet or wrong."""

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
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .3rem .8rem .3rem 0; border-bottom: 1px solid #8888; }
code { overflow-wrap: anywhere; }
@media print { body { margin: 0; max-width: none; } }
</style>
</head>
<body>
<main>
<h1>Artifact Registry workbook</h1>
<p>Project <strong>{{ here.project_id }}</strong>, region {{ here.region }}, run {{ here.run }}.
{{ here.sentence[0] | upper }}{{ here.sentence[1:] }}. Written on <time>{{ moment(taken) }}</time>.</p>
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
    """Where the page stays: the folder of a run's reports, else the world's home. Raises KeyError outside a world."""
    journal = os.environ.get("WORKBOOK_JOURNAL")
    return Path(journal).parent if journal else Path(os.environ["WORKBOOK_HOME"])


def page(
    here: Target, taken: datetime, deeds: Sequence[Deed], made: Sequence[Made], removed: Sequence[str], stored: int
) -> str:
    """The page's text; `removed` are lines for people, `stored` the bytes that are left. Pure."""
    # A name that somebody chose can't become markup.
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    return environment.from_string(_PAGE).render(
        here=here,
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
    """Store the page in `folder()`, over an older one; gives its path."""
    path = folder() / NAME
    path.write_text(text, encoding="utf-8")
    return path
