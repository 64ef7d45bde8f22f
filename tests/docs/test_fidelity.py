"""docs/fidelity.md matches the dispatch tables and docs/fidelity.toml."""

from __future__ import annotations

import copy
import re
from typing import Any

import pytest

from tests.docs import fidelity


def test_every_operation_has_a_row_and_every_row_its_tests() -> None:
    assert list(fidelity.faults()) == []


def test_fidelity_page_is_up_to_date() -> None:
    if fidelity.PAGE.read_text() != fidelity.page():
        pytest.fail("docs/fidelity.md is stale: run `.venv/bin/python -m tests.docs.fidelity`")


def test_faults_in_the_data_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = fidelity.data()

    def faults(change: dict[str, Any]) -> list[str]:
        broken = copy.deepcopy(whole)
        broken["operations"].update(change)
        monkeypatch.setattr(fidelity, "data", lambda: broken)
        return list(fidelity.faults())

    good = whole["operations"]["GET /v2/"]
    assert any("no operation of the sandbox" in one for one in faults({"GET /v3/": good}))
    assert any("there is no test" in one for one in faults({"GET /v2/": {**good, "accepted_by": ["x.py::test_x"]}}))
    assert any("no kind of evidence" in one for one in faults({"GET /v2/": {"evidence": ["rumour"]}}))
    assert any("rests on" in one for one in faults({"GET /v2/": {"evidence": []}}))
    short = copy.deepcopy(whole)
    del short["operations"]["GET /v2/"]
    monkeypatch.setattr(fidelity, "data", lambda: short)
    assert any("GET /v2/ has no row" in one for one in fidelity.faults())


def test_helpers_and_notebooks_name_only_listed_hosts() -> None:
    rooms = (("helpers", "py"), ("cli", "py"), ("notebooks", "ipynb"))
    files = [path for room, ext in rooms for path in (fidelity.ROOT / room).glob(f"*.{ext}")]
    address = re.compile(r"https://([a-z0-9-]+(?:\.[a-z0-9-]+)*\.(?:googleapis\.com|pkg\.dev))")
    found = {host for path in files for host in address.findall(path.read_text())}
    assert found
    # www.googleapis.com is only the beginning of the names of OAuth scopes.
    assert found - {"www.googleapis.com"} <= fidelity.data()["hosts"].keys()
