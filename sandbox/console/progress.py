"""The console's page of the learner's progress, from the answers that the notebooks' checks store."""

from __future__ import annotations

import json
from typing import Any, Final

from sandbox.console.visits import Visit

NAME: Final = "progress.jsonl"


def progress(visit: Visit) -> dict[str, Any]:
    """Read the standing of each exercise, by notebook and number."""
    path = visit.controls.world.folder.parent / NAME
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []
    return {"exercises": standings(lines)}


def standings(lines: list[str]) -> list[dict[str, Any]]:
    """Fold the events into one row for each exercise. Events after the first ✓ are ignored. Pure.

    The sandbox shares no code with the notebooks' helpers. A test compares this function with theirs.
    """
    found: dict[tuple[str, int], dict[str, Any]] = {}
    helped = set()
    for line in lines:
        try:
            entry = json.loads(line)
            key, event = (str(entry["notebook"]), int(entry["exercise"])), entry["event"]
            moment = str(entry["time"])
        except (ValueError, KeyError, TypeError):
            continue
        row = found.setdefault(key, {"notebook": key[0], "exercise": key[1], "how": "", "tries": 0, "time": moment})
        if row["how"]:
            continue
        if event == "solution":
            helped.add(key)
        elif event == "done":
            row |= {"how": "solution" if key in helped else "own", "time": moment}
        else:
            row |= {"tries": row["tries"] + 1, "time": moment}
    return [found[key] for key in sorted(found)]
