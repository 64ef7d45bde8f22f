"""The order of a build's steps, from `waitFor`. Pure.

Source: https://cloud.google.com/build/docs/configuring-builds/configure-build-step-order. Without waitFor a step waits
for all steps before it, with `["-"]` for none.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any


def waits(steps: Sequence[Mapping[str, Any]]) -> list[frozenset[int]]:
    """Return for each step the indexes of the steps that must have ended before it starts."""
    places = {step["id"]: place for place, step in enumerate(steps) if step.get("id")}
    result: list[frozenset[int]] = []
    for place, step in enumerate(steps):
        named = step.get("waitFor", ())
        if not named:
            result.append(frozenset(range(place)))
        else:
            result.append(frozenset(places[name] for name in named if name != "-"))
    return result


def ready(graph: Sequence[frozenset[int]], started: Collection[int], ended: Collection[int]) -> list[int]:
    """Return the steps that may start now, in the order of the configuration."""
    return [place for place, needs in enumerate(graph) if place not in started and needs <= set(ended)]
