"""What a browser opens where the kernel runs behind a Hub."""

from __future__ import annotations

import pytest

from helpers.cell import addresses

HOST = "web-123.us-central1.run.app"
BEHIND = {addresses.DOOR: "/user/ada/workbook"}


@pytest.mark.parametrize(
    "output",
    [
        f"Service URL: http://localhost:5001/{HOST}\n",
        f"status:\n  url: http://127.0.0.1:41234/{HOST}\n",
        f"Service URL: https://{HOST}\nagain: https://{HOST}/path\n",
    ],
    ids=["localhost", "loopback", "Google's form, twice"],
)
def test_a_service_s_address_leads_through_the_door(output: str) -> None:
    assert addresses.of_services(output, BEHIND) == [f"/user/ada/workbook/{HOST}/"]
    assert addresses.of_services(output, {}) == []


@pytest.mark.parametrize("output", ["", "http://localhost:5001/v2/", f"https://{HOST}.evil.example/", f"x{HOST}"])
def test_what_is_no_service_is_left_alone(output: str) -> None:
    assert addresses.of_services(output, BEHIND) == []


def test_it_stands_below_the_output_in_a_terminal() -> None:
    written: list[str] = []
    addresses.show(f"http://localhost:5001/{HOST}", BEHIND, written.append)
    assert written == [f"\nIn your browser: /user/ada/workbook/{HOST}/\n"]


BUILD = "db932f52-29fd-400c-81bd-3d985898a305"
GOOGLE = "https://console.cloud.google.com"


@pytest.mark.parametrize(
    ("link", "page"),
    [
        (f"{GOOGLE}/cloud-build/builds;region=us-central1/{BUILD}?project=12", f"/projects/12/builds/{BUILD}"),
        (f"{GOOGLE}/cloud-build/builds/{BUILD}?project=12", f"/projects/12/builds/{BUILD}"),
        (f"{GOOGLE}/run/detail/us-central1/web/logs?project=p-1", "/projects/p-1"),
        (f"{GOOGLE}/artifacts/docker/p-1/us/r?project=p-1", "/projects/p-1/repositories/us/r"),
        (
            f"{GOOGLE}/artifacts/docker/p-1/us/r/team%2Fapp/sha256:{'a' * 64}?project=p-1",
            f"/projects/p-1/repositories/us/r/team%2Fapp@sha256:{'a' * 64}",
        ),
        (f"{GOOGLE}/billing?project=p-1", ""),
        (f"https://evil.example/cloud-build/builds/{BUILD}?project=12", ""),
    ],
    ids=["regional build", "global build", "service", "repository", "image", "other", "foreign"],
)
def test_a_link_to_google_s_console_leads_to_the_sandbox_s(link: str, page: str) -> None:
    assert addresses.of_console(link) == page


def test_a_build_s_link_shows_below_the_output_behind_a_hub_only() -> None:
    output = f"Logs are available at [ {GOOGLE}/cloud-build/builds;region=us-central1/{BUILD}?project=12 ].\n" * 2
    assert addresses.for_browser(output, BEHIND) == [f"/user/ada/workbook/console/projects/12/builds/{BUILD}"]
    assert addresses.for_browser(output, {}) == []
