"""A stand-in for W&B's server: as much of it as a run needs to begin, slow or gone if it is told to be."""

import json
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

KEY = "local-" + "0" * 40  # made, of the form that the client asks for


class WandbServer:
    """A server on this machine.

    Args:
        seconds: that every answer takes.
    """

    def __init__(self, seconds: float = 0.0):
        outer = self
        self.seconds = seconds
        self.paths: list[str] = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                outer.paths.append(self.path)
                time.sleep(outer.seconds)
                content = json.dumps(answer(outer.url, self.path, body)).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                with suppress(OSError):  # who asked may have gone
                    self.wfile.write(content)

            do_GET = do_PUT = do_POST

            def log_message(self, *args):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def vanish(self) -> None:
        """Answers nobody any more."""
        self.http.shutdown()
        self.http.server_close()


def answer(url: str, path: str, body: bytes) -> dict:
    """What the client has to hear to go on."""
    if not path.endswith("graphql"):
        return {"exitcode": None, "limits": {}}
    content = json.loads(body)
    query = content.get("query", "")
    if "createRunFiles" in query:
        files = [{"name": name, "uploadUrl": f"{url}/storage"} for name in content["variables"]["files"]]
        return {"data": {"createRunFiles": {"runID": "UnVu", "uploadHeaders": [], "files": files}}}
    if "upsertBucket" in query:
        project = {"name": "lightning_genae", "entity": {"name": "me"}}
        run = {
            "id": "UnVu",
            "name": content["variables"]["name"],
            "displayName": "run",
            "project": project,
            "historyLineCount": 0,
        }
        return {"data": {"upsertBucket": {"bucket": run, "inserted": True}}}
    if "viewer" in query:
        return {
            "data": {"viewer": {"id": "me", "entity": "me", "username": "me", "flags": "{}", "teams": {"edges": []}}}
        }
    return {"data": {}}
