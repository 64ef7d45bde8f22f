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
