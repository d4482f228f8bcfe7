"""A store of objects in the memory of a thread, which speaks as much of S3 as a look and an upload need."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlparse


class ObjectStore:
    """What was put there, by `/BUCKET/KEY`."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.parts: dict[int, bytes] = {}
        self.forbidden: set[str] = set()
        """Methods that are answered with 403."""
        self.url = ""


@contextmanager
def object_store() -> Iterator[ObjectStore]:
    """A store that listens on a port of this machine; `url` says which."""
    store = ObjectStore()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *arguments: object) -> None:
            """Say nothing."""

        def answer(self, code: int, body: bytes = b"", **headers: str) -> None:
            self.send_response(code)
            for name, value in {"Content-Length": str(len(body)), "ETag": '"1"', **headers}.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def asked(self) -> tuple[str, dict[str, list[str]]]:
            url = urlparse(self.path)
            return url.path, parse_qs(url.query, keep_blank_values=True)

        def content(self) -> bytes:
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))

        def do_GET(self) -> None:
            key, _ = self.asked()
            if "GET" in store.forbidden:
                self.answer(403, b"<Error><Code>AccessDenied</Code></Error>")
            elif key not in store.objects:
                self.answer(404, b"<Error><Code>NoSuchKey</Code></Error>")
            else:
                body, modified = store.objects[key], "Wed, 21 Oct 2026 07:28:00 GMT"
                asked = re.match(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
                if asked is None or self.command == "HEAD":
                    self.answer(200, body, Last_Modified=modified)
                    return
                first, last = int(asked[1]), min(int(asked[2] or len(body)), len(body) - 1)
                place = f"bytes {first}-{last}/{len(body)}"
                self.answer(206, body[first : last + 1], Content_Range=place, Last_Modified=modified)

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_PUT(self) -> None:
            (key, query), body = self.asked(), self.content()
            if "PUT" in store.forbidden:
                self.answer(403, b"<Error><Code>AccessDenied</Code></Error>")
                return
            if "uploadId" in query:
                store.parts[int(query["partNumber"][0])] = body
            else:
                store.objects[key] = body
            self.answer(200)

        def do_POST(self) -> None:
            key, query = self.asked()
            self.content()
            if "uploads" in query:
                upload = b"<InitiateMultipartUploadResult><UploadId>1</UploadId></InitiateMultipartUploadResult>"
                self.answer(200, upload)
                return
            store.objects[key] = b"".join(store.parts.pop(number) for number in sorted(store.parts))
            self.answer(200, b'<CompleteMultipartUploadResult><ETag>"1"</ETag></CompleteMultipartUploadResult>')

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    store.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield store
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
