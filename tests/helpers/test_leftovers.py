"""Whatever a notebook makes on Google, the sweep knows a kind for it."""

from __future__ import annotations

import re

from cli import command_lint
from helpers import leftovers

# What gcloud's words make: the kind that `traces` finds, or why nothing is left.
_MADE = {
    "artifacts repositories create": "repository",
    "billing budgets create": "budget",
    "builds connections create": "connection",
    "builds repositories create": "goes with its connection",
    "beta builds submit": "build source",
    "builds submit": "build source",
    "builds triggers create": "trigger",
    "iam service-accounts create": "service account",
    "iam workload-identity-pools create": "identity pool",
    "iam workload-identity-pools providers create-oidc": "goes with its pool",
    "run deploy": "service",
    "secrets create": "secret",
    "projects add-iam-policy-binding": "role",
}


def test_the_sweep_knows_what_the_notebooks_make() -> None:
    made = {
        words.removesuffix(" github")
        for where, command in command_lint.readable()
        if "#" in where
        for words in re.findall(r"gcloud ((?:[a-z-]+ )*?(?:create(?:-[a-z]+)?|submit|deploy))(?= |$)", command)
    }
    # Text for a reader with an organisation, not a cell: the learner makes it, if anybody does.
    made -= {"container binauthz attestors create"}
    assert len(made) > 5
    assert made <= _MADE.keys()
    kinds = {kind for kind in _MADE.values() if not kind.startswith("goes with")}
    assert kinds <= set(leftovers.ORDER)


def test_a_runs_id_is_read_from_names() -> None:
    run = "20261125t151006-1a2b3c"
    assert leftovers.began(run) == "2026-11-25T15:10:06Z"
    assert leftovers.began("recorded") == ""
    left = [leftovers.Leftover("secret", "b", run="recorded", created="2026-01-02T00:00:00Z")]
    assert leftovers.began("recorded", left) == "2026-01-02T00:00:00Z"
    for name in (f"ml-images-{run}", f"{run}-release", f"a/{run}/b"):
        match = leftovers.RUN_ID.search(name)
        assert match is not None, name
        assert match[0] == run
    assert leftovers.RUN_ID.search(f"x{run}") is None
    assert leftovers.RUN_ID.search(f"{run}0") is None
