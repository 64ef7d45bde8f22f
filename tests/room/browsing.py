"""A learner's or a lead's browser, without one: cookies, forms, and what the Hub's pages redirect to."""

from __future__ import annotations

import re

import requests


class Browser:
    """One person's session at the room.

    Args:
        address: `http://127.0.0.1:8000`.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self._session = requests.Session()
        self._session.trust_env = False

    def get(self, path: str) -> requests.Response:
        """Load a page."""
        return self._session.get(f"{self.address}{path}", timeout=200)

    def post(self, path: str, form: dict[str, str]) -> requests.Response:
        """Send a form of that page, with the token that the page has for it."""
        token = re.search(r'name="_xsrf"[^>]*value="([^"]+)"', self.get(path).text)
        sent = form | ({"_xsrf": token[1]} if token else {})
        return self._session.post(f"{self.address}{path}", data=sent, timeout=600)

    def sign_in(self, name: str, password: str) -> requests.Response:
        """Sign in at the Hub."""
        return self.post("/hub/login", {"username": name, "password": password})

    def json(self, verb: str, path: str, body: object = None) -> requests.Response:
        """Ask the learner's own server, as JupyterLab does."""
        headers = {"X-XSRFToken": xsrf} if (xsrf := self._xsrf(path)) else {}
        return self._session.request(verb, f"{self.address}{path}", json=body, headers=headers, timeout=200)

    def cookies(self, path: str) -> str:
        """Return the Cookie header for a path, for a websocket."""
        request = self._session.prepare_request(requests.Request("GET", f"{self.address}{path}"))
        return request.headers.get("Cookie", "")

    def kept(self) -> list[tuple[str, str, str]]:
        """Return name, value and path of each cookie, for another browser."""
        return [(one.name, one.value or "", one.path) for one in self._session.cookies]

    def _xsrf(self, path: str) -> str:
        found = [one.value for one in self._session.cookies if one.name == "_xsrf" and path.startswith(one.path)]
        return str(found[-1]) if found else ""
