"""Addresses that a learner's own browser opens, where the kernel runs on another machine, behind a Hub.

A Hub's server says in WORKBOOK_DOOR below which path of its own it passes on what the sandbox serves at `localhost`.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Mapping
from typing import Final

from helpers.cell import rich
from helpers.cell.rich import Rich

DOOR: Final = "WORKBOOK_DOOR"
_SERVICE: Final = r"(?:https://|http://(?:localhost|127\.0\.0\.1):\d+/)([a-z0-9-]+\.[a-z0-9-]+\.run\.app)(?![\w.-])"


def of_services(output: str, environment: Mapping[str, str]) -> list[str]:
    """Return where a browser opens the services that an output names; nothing but behind a Hub. Pure."""
    door = environment.get(DOOR, "")
    hosts = dict.fromkeys(re.findall(_SERVICE, output)) if door else {}
    return [f"{door}/{host}/" for host in hosts]


def show(output: str, environment: Mapping[str, str], write: Callable[[str], object]) -> None:
    """Say below a cell's output what to open in the browser, as a link where there can be one."""
    for address in of_services(output, environment):
        text = f"In your browser: {address}"
        if rich.in_notebook():
            quoted = html.escape(address, quote=True)
            link = f'<a href="{quoted}" target="_blank" rel="noopener">{quoted}</a>'
            rich.show(Rich(text, f"In your browser: {link}"))
        else:
            write(f"\n{text}\n")
