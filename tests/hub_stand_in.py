"""A small server that stands in for Hugging Face: what huggingface_hub asks it here."""

import base64
import hashlib
import json
import re
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Dict, Iterator, List, Optional
from urllib.parse import unquote

TOKEN = "hf_secretsecretsecret"
LARGE = (".safetensors", ".pth", ".html")  # of Git LFS, with a SHA-256 as etag


class Repository:
    """The files of a repository, one commit of them after the other."""

    def __init__(self, files: Optional[Dict[str, bytes]] = None, private: bool = False):
        self.commits: List[Dict[str, bytes]] = []
        self.private = private
        self.tags: Dict[str, int] = {}
        self.commit(files or {})

    def commit(self, files: Dict[str, bytes]) -> None:
        self.commits.append(files)

    def number(self, revision: str) -> int:
        """Of the commit that a revision names; -1 for none."""
        if revision == "main":
            return len(self.commits) - 1
        names = {self.name(k): k for k in range(len(self.commits))}
        return {**names, **self.tags}.get(revision, -1)

    @staticmethod
    def name(number: int) -> str:
        return f"{number:040x}"


class HubStandIn:
    """What is on the server, and what it was asked.

    Attributes:
        url: of the server.
        repositories: by "owner/name".
        requests: "METHOD PATH" of all, in order.
        tokens: that came with them.
        uploaded: large files that were put there, by their SHA-256.
        down: the ending of the paths that it fails at.
    """

    def __init__(self) -> None:
        self.url = ""
        self.repositories: Dict[str, Repository] = {}
        self.requests: List[str] = []
        self.tokens: List[Optional[str]] = []
        self.uploaded: Dict[str, bytes] = {}
        self.down = ""

    def add(self, name: str, files: Dict[str, bytes], private: bool = False) -> Repository:
        self.repositories[name] = Repository(files, private)
        return self.repositories[name]


@contextmanager
def serve() -> Iterator[HubStandIn]:
    hub = HubStandIn()

    class Handler(_Handler):
        pass

    Handler.hub = hub
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: HubStandIn

    def log_message(self, *args) -> None:
        pass

    def answer(self, status: int, content: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def json(self, content, status: int = 200) -> None:
        self.answer(status, json.dumps(content).encode(), Content_Type="application/json")

    def repository(self, name: str) -> Optional[Repository]:
        """A repository that may be seen; else the error has been sent."""
        found = self.hub.repositories.get(name)
        if found is None or (found.private and self.token != TOKEN):
            self.answer(401, b"{}", X_Error_Code="RepoNotFound")
            return None
        return found

    def handle_one(self) -> None:
        path, hub = unquote(self.path.split("?")[0]), self.hub
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.token = (self.headers.get("Authorization") or "").removeprefix("Bearer ") or None
        hub.requests.append(f"{self.command} {path}")
        hub.tokens.append(self.token)
        if hub.down and path.endswith(hub.down):
            self.answer(410)  # others are asked for again and again
            return
        for pattern, act in ROUTES:
            match = re.fullmatch(pattern, f"{self.command} {path}")
            if match:
                act(self, body, *match.groups())
                return
        self.answer(404, b"{}")

    do_GET = do_HEAD = do_POST = do_PUT = handle_one

    def resolve(self, body: bytes, name: str, revision: str, file: str) -> None:
        repository = self.repository(name)
        if repository is None:
            return
        number = repository.number(revision)
        if number < 0:
            self.answer(404, X_Error_Code="RevisionNotFound")
            return
        commit, content = repository.name(number), repository.commits[number].get(file)
        if content is None:
            self.answer(404, X_Error_Code="EntryNotFound", X_Repo_Commit=commit)
            return
        git = b"blob %d\0" % len(content) + content
        large = file.endswith(LARGE)
        etag = hashlib.sha256(content) if large else hashlib.sha1(git)
        self.answer(200, content, ETag=f'"{etag.hexdigest()}"', X_Repo_Commit=commit)

    def info(self, body: bytes, name: str) -> None:
        repository = self.repository(name)
        if repository:
            files = [{"rfilename": file} for file in repository.commits[-1]]
            self.json({"id": name, "private": repository.private, "siblings": files})

    def tree(self, body: bytes, name: str, revision: str) -> None:
        repository = self.repository(name)
        if repository:
            files = repository.commits[-1].items()
            self.json([{"type": "file", "path": f, "size": len(x), "oid": f} for f, x in files])

    def create(self, body: bytes) -> None:
        asked = json.loads(body)
        if self.token != TOKEN:
            self.answer(401, b"{}")
            return
        name = f"{asked['organization']}/{asked['name']}"
        private = asked["private"] if "private" in asked else asked["visibility"] == "private"
        self.hub.add(name, {}, private)
        self.json({"url": f"{self.hub.url}/{name}"})

    def preupload(self, body: bytes, name: str) -> None:
        files = [x["path"] for x in json.loads(body)["files"]]
        modes = {f: "lfs" if f.endswith(LARGE) else "regular" for f in files}
        more = {"shouldIgnore": False}
        self.json({"files": [{"path": f, "uploadMode": m, **more} for f, m in modes.items()]})

    def batch(self, body: bytes, name: str) -> None:
        objects = [
            {**x, "actions": {"upload": {"href": f"{self.hub.url}/upload/{x['oid']}"}}}
            for x in json.loads(body)["objects"]
        ]
        self.json({"transfer": "basic", "objects": objects})

    def put(self, body: bytes, oid: str) -> None:
        assert hashlib.sha256(body).hexdigest() == oid
        self.hub.uploaded[oid] = body
        self.answer(200)

    def validate(self, body: bytes) -> None:
        self.json({"errors": [], "warnings": []})

    def commit(self, body: bytes, name: str) -> None:
        repository = self.repository(name)
        if repository is None:
            return
        files = dict(repository.commits[-1])
        for line in body.splitlines():
            act = json.loads(line)
            value = act["value"]
            if act["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif act["key"] == "lfsFile":
                files[value["path"]] = self.hub.uploaded[value["oid"]]
            elif act["key"] == "deletedFile":
                del files[value["path"]]
        repository.commit(files)
        oid = repository.name(len(repository.commits) - 1)
        self.json({"success": True, "commitOid": oid, "commitUrl": f"{self.hub.url}/{name}"})


NAME = "([^/]+/[^/]+)"
ROUTES = [
    (rf"(?:GET|HEAD) /{NAME}/resolve/(.+?)/([^/]+)", _Handler.resolve),
    (rf"GET /api/models/{NAME}", _Handler.info),
    (rf"GET /api/models/{NAME}/tree/(.+)", _Handler.tree),
    (r"POST /api/repos/create", _Handler.create),
    (rf"POST /api/models/{NAME}/preupload/main", _Handler.preupload),
    (rf"POST /{NAME}\.git/info/lfs/objects/batch", _Handler.batch),
    (r"PUT /upload/(\w+)", _Handler.put),
    (r"POST /api/validate-yaml", _Handler.validate),
    (rf"POST /api/models/{NAME}/commit/main", _Handler.commit),
]
