"""A page with a form, which takes an answer only with the cookie that came with the page."""

from __future__ import annotations

import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PAGE = """<!doctype html><html lang="en"><title>Flowers</title>
<form method="post" action="./"><input name="flower" value="iris"><button>Send</button></form>{}</html>"""


class Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.answer(PAGE.format(""))

    def do_POST(self) -> None:
        sent = self.rfile.read(int(self.headers["Content-Length"])).decode()
        said = f'<p class="answer">{sent}, cookies: {self.headers["Cookie"]}</p>'
        self.answer(PAGE.format(said))

    def answer(self, text: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Set-Cookie", "token=of-the-form; Path=/; HttpOnly; SameSite=Strict")
        self.end_headers()
        self.wfile.write(text.encode())


if __name__ == "__main__":
    ThreadingHTTPServer(("0.0.0.0", int(os.environ["PORT"])), Page).serve_forever()  # noqa: S104
