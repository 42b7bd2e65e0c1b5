"""A local HTTP server in the place of publishers, which may cut connections and refuse ranges."""
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import md5
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Optional
from urllib.parse import urlparse


class Publisher:
    """Files by path, and how the server behaves.

    Attributes:
        files (dict): Path to content.
        cut_after (int, optional): Bytes after which a connection is cut, for the next ``cuts`` answers.
        cuts (int): How many answers are cut.
        ranges (bool): Whether ranges are served.
        tags (bool): Whether answers have an ETag.
        status (int): Status of every answer, if not 200.
        content_type (str): Of every answer.
        requests (list): Path and ``Range`` header of each request.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.cut_after: Optional[int] = None
        self.cuts = 0
        self.ranges = self.tags = True
        self.status = 200
        self.content_type = 'application/octet-stream'
        self.requests: list[tuple[str, Optional[str]]] = []
        self.address = ''

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        path, wanted = urlparse(handler.path).path, handler.headers.get('Range')
        self.requests.append((path, wanted))
        if self.status != 200 or path not in self.files:
            handler.send_error(self.status if self.status != 200 else 404)
            return
        content = self.files[path]
        tag = f'"{md5(content).hexdigest()}"'
        start = int(wanted[len('bytes='):-1]) if wanted and self.ranges else 0
        if handler.headers.get('If-Range', tag) != tag:
            start = 0
        if start and start >= len(content):
            handler.send_response(416)
            handler.send_header('Content-Range', f'bytes */{len(content)}')
            handler.send_header('Content-Length', '0')
            handler.end_headers()
            return
        handler.send_response(206 if start else 200)
        if start:
            handler.send_header('Content-Range', f'bytes {start}-{len(content) - 1}/{len(content)}')
        if self.tags:
            handler.send_header('ETag', tag)
        handler.send_header('Content-Type', self.content_type)
        handler.send_header('Content-Length', str(len(content) - start))
        handler.end_headers()
        body = content[start:]
        if self.cuts and self.cut_after is not None:
            self.cuts -= 1
            body = body[:self.cut_after]
            handler.close_connection = True
        handler.wfile.write(body)


@contextmanager
def publisher() -> Iterator[Publisher]:
    """Serve the files of a :class:`Publisher` at its address."""
    served = Publisher()

    class Handler(BaseHTTPRequestHandler):

        def do_GET(self) -> None:
            served.answer(self)

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs=dict(poll_interval=0.01), daemon=True)
    thread.start()
    served.address = f'http://127.0.0.1:{server.server_port}'
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
