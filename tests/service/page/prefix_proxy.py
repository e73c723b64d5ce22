"""A reverse proxy that serves the door below a path prefix, and passes streams on as they come."""

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

HOP = {"connection", "transfer-encoding", "keep-alive", "host"}


@contextmanager
def below(prefix: str, url: str) -> Iterator[str]:
    """Yield the address at which the door at ``url`` is served below this prefix."""
    target = urlsplit(url)

    class Proxy(BaseHTTPRequestHandler):
        def answer(self) -> None:
            if not self.path.startswith(f"{prefix}/"):
                self.send_error(404)
                return
            door = http.client.HTTPConnection(str(target.hostname), target.port, timeout=60)
            length = int(self.headers.get("content-length", 0))
            headers = {k: v for k, v in self.headers.items() if k.lower() not in HOP}
            try:
                path = self.path.removeprefix(prefix)
                door.request(self.command, path, self.rfile.read(length), headers)
                answer = door.getresponse()
                self.send_response(answer.status)
                for name, value in answer.getheaders():
                    if name.lower() not in HOP:
                        self.send_header(name, value)
                self.end_headers()
                while data := answer.read1(65536):
                    self.wfile.write(data)
            except OSError:
                pass  # the browser has left
            finally:
                door.close()

        do_GET = do_POST = do_DELETE = answer

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, name="prefix proxy")
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}{prefix}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
