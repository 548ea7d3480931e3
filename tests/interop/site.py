"""A small web site on loopback, for the server that fetches."""

import json
import select
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

LIMIT_SECONDS = 6.0
"""Below the limit of the drivers, so that a page that waits in vain can say so."""

PAGE = """<!doctype html><html><head><title>Page</title></head><body><article>
<h1>A heading of the page</h1><p>Some words, <b>bold</b> and ünïcödé, and <a href="/long.txt">a link</a>.</p>
</article></body></html>"""
LONG = "".join(f"line {number:05}\n" for number in range(30_000))

DOCUMENTS = {
    "/robots.txt": ("text/plain", "User-agent: *\nDisallow: /private\n"),
    "/page.html": ("text/html; charset=utf-8", PAGE),
    "/private/page.html": ("text/html; charset=utf-8", PAGE),
    "/long.txt": ("text/plain; charset=utf-8", LONG),
    "/data.json": ("application/json", json.dumps({"one": [1, 2.5, None], "two": "zwölf"})),
}


class Site(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Page)
        self.slow_has_started = threading.Event()
        self.slow_was_abandoned = threading.Event()

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Page(BaseHTTPRequestHandler):
    server: Site

    def do_GET(self) -> None:
        match self.path:
            case "/slow":
                self._wait_until_the_reader_goes_away()
            case "/slow-has-started":
                self._tell(self.server.slow_has_started.wait(LIMIT_SECONDS), "the slow page was asked for")
            case "/slow-was-abandoned":
                self._tell(self.server.slow_was_abandoned.wait(LIMIT_SECONDS), "the reader went away")
            case "/moved":
                self._send(302, "text/plain", "", {"Location": "/page.html"})
            case path if path in DOCUMENTS:
                self._send(200, *DOCUMENTS[path])
            case _:
                self._send(404, "text/plain", "no such page")

    def _wait_until_the_reader_goes_away(self) -> None:
        self.server.slow_has_started.set()
        readable, _, _ = select.select([self.connection], [], [], LIMIT_SECONDS)
        if readable and self.connection.recv(1) == b"":
            self.server.slow_was_abandoned.set()
        self.close_connection = True

    def _tell(self, happened: bool, what: str) -> None:
        self._send(200 if happened else 504, "text/plain", what if happened else "it did not happen")

    def _send(self, status: int, kind: str, text: str, headers: dict[str, str] | None = None) -> None:
        body = text.encode()
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def running_site() -> Iterator[Site]:
    with Site() as site:
        thread = threading.Thread(target=site.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield site
        finally:
            site.shutdown()
            thread.join()
