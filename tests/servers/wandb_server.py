"""A wandb server on 127.0.0.1, for tests: what an online run and `wandb sync` ask of one, and faults.

It keeps what a chart is drawn from: for each run its rows, summary, settings and files. A run that goes on asks for the
last row and counts on from there. Rows are kept by their `_step`, so that a part sent a second time, whose client
remembers where it began (its .syncstate), is the same rows.

Source: the queries and messages of wandb 0.31.0's wandb-core.
"""

import gzip
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

STREAM = re.compile(r"/files/[^/]+/[^/]+/(?P<run>[^/]+)/file_stream")


@dataclass
class ReceivedRun:
    """
    Attributes:
        rows: of the history, by wandb's own step.
        files: their contents by name.
        exit_code: of the last process that said it was done.
    """

    project: str = ""
    group: str = ""
    name: str = ""
    sweep: str = ""
    tags: list[str] = field(default_factory=list)
    config: dict = field(default_factory=dict)
    rows: dict[int, dict] = field(default_factory=dict)
    summary: dict = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    exit_code: int | None = None

    @property
    def history(self) -> list[dict]:
        """The rows in order, wandb's own fields left out."""
        rows = [self.rows[step] for step in sorted(self.rows)]
        return [{name: value for name, value in row.items() if name[0] != "_"} for row in rows]


class WandbServer(ThreadingHTTPServer):
    """
    Attributes:
        fault: what requests meet: "" (none), "500", "401", "hang", "die" (the connection ends without an answer).
        fault_at_rows: the fault that begins with the first rows: half of them are kept, and their sender is not told.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.runs: dict[str, ReceivedRun] = {}
        self.fault = self.fault_at_rows = ""
        self.lock, self.closed = threading.Lock(), threading.Event()

    def handle_error(self, request, client_address) -> None:
        """A client that is gone is no news."""

    def answer(self, query: str, variables: dict) -> dict:
        """The data of one GraphQL query."""
        operation = re.search(r"(?:query|mutation) (\w+)", query)[1]
        answers = {
            "RunResumeStatus": self._resume_status, "UpsertBucket": self._upsert, "CreateRunFiles": self._create_files,
            "Viewer": lambda _: {"viewer": {"id": "u", "entity": "us", "username": "us", "flags": "{}"}},
            "ArtifactType": lambda _: {"project": None},
            "CreateArtifact": lambda _: {
                "createArtifact": {"artifact": {"id": "a", "state": "COMMITTED", "artifactSequence": {"id": "s"}}}
            },
        }  # fmt: skip
        return answers.get(operation, lambda _: {})(variables)

    def _resume_status(self, asked: dict) -> dict:
        run, bucket = self.runs.get(asked["name"]), None
        if run is not None:
            tail = [json.dumps(run.rows[max(run.rows)])] if run.rows else []
            bucket = {
                "id": asked["name"], "name": asked["name"], "displayName": run.name, "tags": run.tags,
                "config": json.dumps(run.config), "summaryMetrics": json.dumps(run.summary),
                "historyLineCount": len(run.rows), "historyTail": json.dumps(tail),
                "eventsLineCount": 0, "eventsTail": "[]", "logLineCount": 0, "wandbConfig": '{"t": 1}',
            }  # fmt: skip
        return {"model": {"id": "p", "name": asked["project"], "entity": {"id": "e", "name": "us"}, "bucket": bucket}}

    def _upsert(self, told: dict) -> dict:
        inserted = told["name"] not in self.runs
        run = self.runs.setdefault(told["name"], ReceivedRun())
        kept = {
            "project": told["project"], "group": told.get("groupName"), "name": told.get("displayName"),
            "sweep": told.get("sweep"), "tags": told.get("tags"), "config": json.loads(told.get("config") or "{}"),
        }  # fmt: skip
        for name, value in kept.items():
            if value:
                setattr(run, name, value)
        run.summary |= json.loads(told.get("summaryMetrics") or "{}")
        project = {"id": "p", "name": run.project, "entity": {"id": "e", "name": "us"}}
        bucket = {"id": told["name"], "name": told["name"], "displayName": run.name, "project": project}
        bucket |= {"description": "", "config": "{}", "sweepName": None, "historyLineCount": len(run.rows)}
        return {"upsertBucket": {"bucket": bucket, "inserted": inserted}}

    def _create_files(self, asked: dict) -> dict:
        files = [{"name": name, "uploadUrl": f"{self.url}/upload/{asked['run']}/{name}"} for name in asked["files"]]
        return {"createRunFiles": {"runID": asked["run"], "uploadHeaders": [], "files": files}}

    def receive(self, run: ReceivedRun, told: dict) -> None:
        """One message of the file stream: rows of the history, the summary, the end."""
        files = told.get("files") or {}
        if history := files.get("wandb-history.jsonl"):
            rows = [json.loads(line) for line in history["content"]]
            if self.fault_at_rows:
                self.fault, self.fault_at_rows, rows = self.fault_at_rows, "", rows[: len(rows) // 2]
            run.rows |= {row["_step"]: row for row in rows}
        if not self.fault:
            for line in files.get("wandb-summary.json", {}).get("content", []):
                run.summary |= json.loads(line)
            run.exit_code = told.get("exitcode") if told.get("complete") else run.exit_code


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: WandbServer

    def log_message(self, *args) -> None:
        pass

    def do_GET(self) -> None:
        self.reply({})

    def do_PUT(self) -> None:
        _, _, run, name = self.path.split("/", 3)
        self.server.runs[run].files[name] = self.body()
        self.reply({})

    def do_POST(self) -> None:
        data, answer = self.body(), {}
        if not self.server.fault:
            with self.server.lock:
                if self.path == "/graphql":
                    asked = json.loads(data)
                    answer = {"data": self.server.answer(asked["query"], asked.get("variables") or {})}
                elif stream := STREAM.fullmatch(self.path):
                    self.server.receive(self.server.runs[stream["run"]], json.loads(data))
        self.reply(answer)

    def body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            data = b""
            while size := int(self.rfile.readline(), 16):
                data += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        return gzip.decompress(data) if self.headers.get("Content-Encoding") == "gzip" else data

    def reply(self, answer: dict) -> None:
        fault = self.server.fault
        if fault == "hang":
            self.server.closed.wait()
        if fault in ("hang", "die"):
            self.close_connection = True
            return
        data = json.dumps({"errors": [{"message": "as asked for"}]} if fault else answer).encode()
        self.send_response(int(fault or 200))
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@contextmanager
def wandb_server(fault: str = "", fault_at_rows: str = "") -> Iterator[WandbServer]:
    """A server that answers until the block ends."""
    with WandbServer() as server:
        server.fault, server.fault_at_rows = fault, fault_at_rows
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        try:
            yield server
        finally:
            server.closed.set()
            server.shutdown()
