"""Replay an API's facts in a sandbox of its own, and print what differs from Google.

.venv/bin/python -m tests.observed API [ID]...
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
from pathlib import Path

from machine import base_image, stand_in
from machine import engine as machine_engine
from tests.observed import replay, stages
from tests.observed.facts import APIS, load


def main(arguments: list[str]) -> int:
    """Replay them; 2 when there are no facts of the API."""
    api, wanted = (arguments or [""])[0], arguments[1:]
    if api not in APIS:
        print(f"There are facts of {', '.join(APIS)}; name one of these.", file=sys.stderr)
        return 2
    found = machine_engine.find() if api == "run" else None
    if found is None and api == "run":
        print("No Docker Engine answers, and a service must start: make setup starts one.", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as home, stages.opened(Path(home)) as stage:
        if found is not None:
            with contextlib.closing(machine_engine.client(found)) as client:
                stages.serve(stage, client, stand_in.find(client) or base_image.PUBLIC)
        for fact in load(api):
            if not wanted or fact.id in wanted:
                lines = replay.send(stage, api, fact)
                print(f"{fact.id} {fact.grade} {fact.observed} {fact.request} {fact.status}", *lines, sep="\n    ")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
