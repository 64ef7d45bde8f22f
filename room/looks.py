"""Show a learner's notebook as a page that runs no script and fetches nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from nbconvert.exporters import HTMLExporter

from helpers.cell import documents

POLICY: Final = (
    "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; font-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def page(path: Path) -> str:
    """Return a notebook in its last saved state as HTML."""
    exporter = HTMLExporter(  # type: ignore[no-untyped-call]
        template_name="basic", sanitize_html=True, exclude_input_prompt=True, exclude_output_prompt=True
    )
    body, _ = exporter.from_notebook_node(documents.read(path))
    head = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{path.stem}</title>'
    style = "body{font:1rem/1.5 system-ui;max-width:60rem;margin:1rem auto;padding:0 1rem}pre{white-space:pre-wrap}"
    return f"{head}<style>{style}</style>{body}</html>"
