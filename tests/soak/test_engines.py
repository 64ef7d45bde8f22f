"""The notebooks on the engines that learners have, each on a machine of its own beside this one."""

from __future__ import annotations

import os

import pytest

from tests.soak import engines, roots

pytestmark = [
    pytest.mark.skipif(os.environ.get("WORKBOOK_SOAK") != "1", reason="a long one: make soak"),
    pytest.mark.slow,
    pytest.mark.timeout(3600),
]


@pytest.mark.parametrize("name", engines.ENGINES)
def test_the_notebooks_run_on_it(name: str) -> None:
    reason = roots.missing()
    if reason:
        pytest.skip(reason)
    seen = engines.run(name)
    asked = engines.ENGINES[name].notebooks
    assert seen.status == 0, seen.output
    assert seen.differing == ()
    assert {status for status, _ in seen.notebooks.values()} == {"ok"}
    assert tuple(seen.notebooks) == asked or (not asked and len(seen.notebooks) > len(engines.ENGINES))
