"""docs/fidelity.md says what the dispatch table and docs/fidelity.toml say."""

from __future__ import annotations

import copy
import re
from typing import Any

import pytest

from tests.docs import fidelity


def test_every_operation_has_a_row_and_every_row_its_tests() -> None:
    assert list(fidelity.faults()) == []


def test_the_page_is_what_is_generated() -> None:
    if fidelity.PAGE.read_text() != fidelity.page():
        pytest.fail("docs/fidelity.md is stale: run `.venv/bin/python -m tests.docs.fidelity`")


def test_the_check_notices(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = fidelity.data()

    def told(change: dict[str, Any]) -> list[str]:
        broken = copy.deepcopy(whole)
        broken["operations"].update(change)
        monkeypatch.setattr(fidelity, "data", lambda: broken)
        return list(fidelity.faults())

    good = whole["operations"]["GET /v2/"]
    assert any("no operation of the sandbox" in one for one in told({"GET /v3/": good}))
    assert any("there is no test" in one for one in told({"GET /v2/": {**good, "accepted_by": ["x.py::test_x"]}}))
    assert any("no kind of evidence" in one for one in told({"GET /v2/": {"evidence": ["rumour"]}}))
    assert any("rests on" in one for one in told({"GET /v2/": {"evidence": []}}))
    short = copy.deepcopy(whole)
    del short["operations"]["GET /v2/"]
    monkeypatch.setattr(fidelity, "data", lambda: short)
    assert any("GET /v2/ has no row" in one for one in fidelity.faults())


def test_helpers_and_notebooks_name_no_host_that_is_not_listed() -> None:
    rooms = (("helpers", "py"), ("cli", "py"), ("notebooks", "ipynb"))
    files = [path for room, ext in rooms for path in (fidelity.ROOT / room).glob(f"*.{ext}")]
    address = re.compile(r"https://([a-z0-9-]+(?:\.[a-z0-9-]+)*\.(?:googleapis\.com|pkg\.dev))")
    found = {host for path in files for host in address.findall(path.read_text())}
    assert found
    # No address: the names of OAuth's scopes begin with it.
    assert found - {"www.googleapis.com"} <= fidelity.data()["hosts"].keys()
