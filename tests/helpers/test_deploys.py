"""Deploys: what a caller of a service waits for."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import requests

from helpers import deploys


def test_a_slow_first_start_is_waited_for_as_long_as_cloud_run_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine an instance takes more than half a minute to start, and Cloud Run holds the request."""

    def get(url: str, *, timeout: float) -> SimpleNamespace:
        if timeout < 120:
            raise requests.ReadTimeout(url)
        return SimpleNamespace(status_code=200)

    monkeypatch.setattr(requests, "get", get)
    service = deploys.Service("one", "http://one.example.test", True, "", "one-00001-abc", {})
    assert deploys.smoke_test(service) == 200
