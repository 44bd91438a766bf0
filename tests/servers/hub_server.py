"""A Hugging Face Hub on the loopback: what its client asks for, from folders, with faults to switch on.

    with HubServer({"datasets/OWNER/NAME": folder, "models/OWNER/NAME": folder}) as hub:
        hub.fail("stall", r"\\.parquet")

A repository has one commit. Parquet and safetensors are large files, which the hub keeps elsewhere: a request for one
is sent on to a signed address of another host.
"""

import hashlib
import json
import re
import socket
import struct
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

LARGE = (".parquet", ".safetensors")
SIGNATURE = "Signature=secret"
COMMIT = "c" * 40
API = re.compile(r"/api/((?:datasets|models)/[\w.-]+/[\w.-]+)/(revision|tree)/[^/]+")
FILE = re.compile(r"/((?:datasets/)?[\w.-]+/[\w.-]+)/resolve/[^/]+/(.+)")


class HubServer(ThreadingHTTPServer):
    """
    Attributes:
        asked: methods and paths of the requests so far.
    """

    daemon_threads = True

    def __init__(self, repositories: dict[str, Path]) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.repositories, self.asked, self.over = repositories, [], threading.Event()
        self.fault, self.match, self.left = None, "", 0
        self.blobs = {sha256(p): p for folder in repositories.values() for p in folder.rglob("*") if p.is_file()}
        self.thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01})

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def fail(self, fault: str | int | None, match: str = "", times: int = 10**9) -> None:
        """Answer requests whose line matches by a status, "stall", "reset", "truncate" or "damage"; None ends it."""
        self.fault, self.match, self.left = fault, match, times

    def fault_of(self, line: str) -> str | int | None:
        if self.fault is None or not self.left or not re.search(self.match, line):
            return None
        self.left -= 1
        return self.fault

    def handle_error(self, *_) -> None:
        """A client that went away."""

    def __enter__(self) -> "HubServer":
        self.thread.start()
        return self

    def __exit__(self, *_) -> None:
        self.over.set()
        self.shutdown()
        self.server_close()
        self.thread.join()


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


class Answer(BaseHTTPRequestHandler):
    server: HubServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *_) -> None: ...

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.answer()

    def answer(self) -> None:
        line = f"{self.command} {self.path}"
        self.server.asked.append(line)
        self.fault = self.server.fault_of(line)
        if isinstance(self.fault, int):
            return self.send(self.fault, b"{}")
        if self.fault == "stall":
            self.server.over.wait(60)
        if self.fault == "reset":
            # Closed with nothing said, which the system tells the client as a reset.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
            return self.connection.close()
        path = unquote(urlsplit(self.path).path)
        if path.startswith("/stored/"):
            return self.send(200, self.server.blobs[path.removeprefix("/stored/")].read_bytes())
        if found := API.match(path):
            return self.api(*found.groups())
        if found := FILE.match(path):
            return self.file(found[1] if found[1].startswith("datasets/") else f"models/{found[1]}", found[2])
        return self.missing("RepoNotFound", 401)

    def api(self, repository: str, what: str) -> None:
        if (folder := self.server.repositories.get(repository)) is None:
            return self.missing("RepoNotFound", 401)  # which the hub says of what may be private
        names = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
        if what == "revision":
            about = {"id": repository.partition("/")[2], "sha": COMMIT, "siblings": [{"rfilename": n} for n in names]}
            return self.send(200, json.dumps(about).encode())
        entries = []
        for name in names:
            size, oid = (folder / name).stat().st_size, sha256(folder / name)
            entry = {"type": "file", "path": name, "size": size, "oid": oid[:40]}
            large = {"lfs": {"oid": oid, "size": size, "pointerSize": 134}} if name.endswith(LARGE) else {}
            entries.append(entry | large)
        return self.send(200, json.dumps(entries).encode())

    def file(self, repository: str, name: str) -> None:
        path = self.server.repositories.get(repository, Path("nowhere")) / name
        if not path.is_file():
            return self.missing("EntryNotFound", 404)
        oid, commit = sha256(path), {"X-Repo-Commit": COMMIT}
        if not name.endswith(LARGE):
            return self.send(200, path.read_bytes(), commit | {"ETag": f'"{oid[:40]}"'})
        elsewhere = f"http://localhost:{self.server.server_address[1]}/stored/{oid}?{SIGNATURE}"
        linked = {"X-Linked-ETag": f'"{oid}"', "X-Linked-Size": str(path.stat().st_size)}
        return self.send(302, b"", commit | linked | {"Location": elsewhere})

    def missing(self, code: str, status: int) -> None:
        self.send(status, b"{}", {"X-Error-Code": code, "X-Error-Message": code})

    def send(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
        size = len(content)
        if begin := re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or ""):
            content, status = content[int(begin[1]) :], 206
        if self.fault == "damage":
            content = bytes(byte ^ 0x55 for byte in content)
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        if status == 206:
            self.send_header("Content-Range", f"bytes {size - len(content)}-{size - 1}/{size}")
        self.end_headers()
        if self.command == "HEAD":
            return
        if self.fault == "truncate":
            content, self.close_connection = content[: len(content) // 3], True
        self.wfile.write(content)
