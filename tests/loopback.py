"""A web server on this machine that answers as a test wants it to."""

import contextlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@contextlib.contextmanager
def serving(answers):
    """Serve ``answers``: paths to functions that get the handler of a request.

    Yields its address, ``http://127.0.0.1:PORT``, and a list of what was asked:
    ``(method, path)``.
    """
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append((self.command, self.path))
            answer = answers.get(self.path)
            if answer is None:
                self.send_error(404)
                return
            with contextlib.suppress(OSError):  # who asked has gone
                answer(self)

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    server.daemon_threads = True
    server.block_on_close = False
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f'http://127.0.0.1:{server.server_port}', asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def send(content, length=None, kind='application/octet-stream', code=200, **headers):
    """An answer: ``content``, announced as ``length`` bytes; ``False`` announces nothing."""

    def answer(handler):
        handler.send_response(code)
        handler.send_header('Content-Type', kind)
        if length is not False:
            handler.send_header('Content-Length', str(len(content) if length is None else length))
        for name, value in headers.items():
            handler.send_header(name.replace('_', '-'), value)
        handler.end_headers()
        if handler.command == 'GET':
            handler.wfile.write(content)

    return answer


def send_forever(handler):
    """An answer without an end."""
    handler.send_response(200)
    handler.end_headers()
    while True:
        handler.wfile.write(bytes(100))
