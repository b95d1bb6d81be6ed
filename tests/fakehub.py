"""A small Hugging Face Hub on 127.0.0.1: as much of its HTTP as downloads and uploads of models need.

Repositories live in memory. Every request is logged, so that a test can tell what was asked for; a file can be made
to break off in the middle or to be refused.
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

TOKEN = "hf_only_for_this_test"
KINDS = ("models", "spaces")
Files = dict[str, bytes]


@dataclass
class Repo:
    """Commits by hash, oldest first, and where the branches are."""

    private: bool = False
    gated: bool = False
    commits: dict[str, Files] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)

    def commit(self, files: Files, branch: str = "main") -> str:
        sha = hashlib.sha1(repr((len(self.commits), sorted(files))).encode()).hexdigest()
        self.commits[sha] = files
        self.branches[branch] = sha
        return sha

    def files(self, revision: str = "main") -> Files:
        return self.commits[self.branches.get(revision, revision)]


@dataclass
class Request:
    method: str
    path: str
    range: str
    token: str


class FakeHub:
    """The server and what it holds."""

    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}
        self.log: list[Request] = []
        self.blobs: dict[str, bytes] = {}  # uploaded, by SHA-256
        self.breaks: dict[str, int] = {}  # file: bytes after which the connection breaks, once
        self.refused: dict[str, int] = {}  # file: status of its download
        self.afterwards: dict[str, Callable[[], object]] = {}  # file: what happens once it was downloaded
        self.server: ThreadingHTTPServer | None = None
        self.port = 0
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        handler = type("Handler", (Handler,), {"hub": self})
        self.server = ThreadingHTTPServer(("127.0.0.1", self.port), handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        """Be out of reach, until :meth:`start`."""
        assert self.server is not None
        self.server.shutdown()
        self.server.server_close()

    def add(self, repo_id: str, files: Files, branch: str = "main") -> str:
        return self.repos.setdefault(repo_id, Repo()).commit(dict(files), branch)

    def asked(self, method: str) -> list[str]:
        """Names of the files that were asked for since the log was emptied."""
        return [r.path.rsplit("/", 1)[1] for r in self.log if r.method == method and "/resolve/" in r.path]


class Refusal(Exception):
    """An answer that is not what was asked for."""

    def __init__(self, status: int, code: str = "", message: str = "", **more: str):
        self.status, self.code, self.message, self.more = status, code, message, more


class Handler(BaseHTTPRequestHandler):
    hub: FakeHub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        self.answer(self.get)

    def do_HEAD(self) -> None:
        self.answer(self.get)

    def do_POST(self) -> None:
        self.answer(self.post)

    def do_PUT(self) -> None:
        self.answer(self.put)

    # -- how an answer is given -----------------------------------------------------------------------------

    def answer(self, how: Any) -> None:
        path = unquote(urlsplit(self.path).path)
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        self.hub.log.append(Request(self.command, path, self.headers.get("Range", ""), token))
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            how(path.strip("/").split("/"))
        except Refusal as refusal:
            headers = {"X-Error-Code": refusal.code, "X-Error-Message": refusal.message}
            self.give(
                json.dumps({"error": refusal.message, **refusal.more}).encode(), refusal.status, headers
            )

    def give(self, data: bytes, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def give_json(self, value: Any) -> None:
        self.give(json.dumps(value).encode())

    def known(self) -> bool:
        return self.hub.log[-1].token == TOKEN

    def repo(self, repo_id: str) -> Repo:
        repo = self.hub.repos.get(repo_id)
        if repo is None or (repo.private and not self.known()):
            raise Refusal(401 if repo else 404, "RepoNotFound", "Repository not found")
        if repo.gated:
            raise Refusal(403, "GatedRepo", "Access is restricted")
        return repo

    def revision(self, repo: Repo, revision: str) -> str:
        sha = repo.branches.get(revision, revision)
        if sha not in repo.commits:
            raise Refusal(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return sha

    # -- downloads ------------------------------------------------------------------------------------------

    def get(self, parts: list[str]) -> None:
        if parts[:1] == ["api"] and parts[1] in KINDS:
            repo = self.repo("/".join(parts[2:4]))
            sha = self.revision(repo, parts[5] if len(parts) > 5 else "main")
            files = repo.commits[sha]
            if parts[4:5] == ["tree"]:
                entries = [
                    {"type": "file", "path": n, "size": len(d), "oid": git_hash(d)} for n, d in files.items()
                ]
                return self.give_json(entries)
            return self.give_json({"id": "/".join(parts[2:4]), "sha": sha, "siblings": []})
        if parts[2:3] != ["resolve"]:
            raise Refusal(404)
        repo = self.repo("/".join(parts[:2]))
        sha = self.revision(repo, parts[3])
        name = "/".join(parts[4:])
        if name not in repo.commits[sha]:
            raise Refusal(404, "EntryNotFound", "Entry not found")
        if name in self.hub.refused and self.command == "GET":
            raise Refusal(self.hub.refused[name], message="not today")
        self.give_file(name, repo.commits[sha][name], sha)

    def give_file(self, name: str, data: bytes, sha: str) -> None:
        etag = hashlib.sha256(data).hexdigest() if name.endswith(".safetensors") else git_hash(data)
        headers = {"X-Repo-Commit": sha, "ETag": f'"{etag}"', "Accept-Ranges": "bytes"}
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").split("-")[0])
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        if self.command == "GET" and name in self.hub.breaks:
            self.send_response(200)
            for key, value in headers.items():
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data[: self.hub.breaks.pop(name)])
            self.close_connection = True
            return
        self.give(data[start:], 206 if start else 200, headers)
        if self.command == "GET":
            self.hub.afterwards.pop(name, lambda: None)()

    # -- uploads --------------------------------------------------------------------------------------------

    def post(self, parts: list[str]) -> None:
        if parts == ["api", "validate-yaml"]:
            return self.give_json({"errors": [], "warnings": []})
        if not self.known():
            raise Refusal(401, message="Invalid credentials in Authorization header")
        if parts == ["api", "repos", "create"]:
            return self.create(json.loads(self.body))
        if parts[-3:] == ["lfs", "objects", "batch"]:
            return self.batch(json.loads(self.body))
        if parts[:1] != ["api"] or parts[1] not in KINDS:
            raise Refusal(404)
        repo_id, verb, revision = "/".join(parts[2:4]), parts[4], "/".join(parts[5:])
        repo = self.repo(repo_id)
        if verb == "branch":
            if revision in repo.branches:
                raise Refusal(409, message="Reference already exists")
            repo.branches[revision] = repo.branches["main"]
            return self.give_json({})
        sha = self.revision(repo, revision)
        if verb == "preupload":
            return self.give_json(
                {"files": [self.mode(f, repo.commits[sha]) for f in json.loads(self.body)["files"]]}
            )
        if verb == "commit":
            return self.commit(repo_id, repo, revision, dict(repo.commits[sha]))
        raise Refusal(404)

    def create(self, asked: dict[str, Any]) -> None:
        repo_id = f"{asked['organization']}/{asked['name']}"
        if asked["organization"] == "someone-else":
            raise Refusal(403, message="You don't have the rights to create a model under this namespace")
        if repo_id in self.hub.repos:
            raise Refusal(409, message="You already created this model repo", url=f"{self.hub.url}/{repo_id}")
        repo = self.hub.repos[repo_id] = Repo(private=asked.get("visibility") == "private")
        repo.commit({".gitattributes": b"*.safetensors filter=lfs\n"})
        self.give_json({"url": f"{self.hub.url}/{repo_id}"})

    def mode(self, file: dict[str, Any], present: Files) -> dict[str, Any]:
        name = file["path"]
        mode = "lfs" if name.endswith(".safetensors") else "regular"
        oid = git_hash(present[name]) if name in present and mode == "regular" else None
        return {"path": name, "uploadMode": mode, "shouldIgnore": False, "oid": oid}

    def batch(self, asked: dict[str, Any]) -> None:
        objects = []
        for wanted in asked["objects"]:
            href = f"{self.hub.url}/lfs/{wanted['oid']}"
            missing = {"actions": {"upload": {"href": href}}} if wanted["oid"] not in self.hub.blobs else {}
            objects.append(wanted | missing)
        self.give_json({"transfer": "basic", "objects": objects})

    def put(self, parts: list[str]) -> None:
        if hashlib.sha256(self.body).hexdigest() != parts[-1]:
            raise Refusal(400, message="another hash")
        self.hub.blobs[parts[-1]] = self.body
        self.give(b"")

    def commit(self, repo_id: str, repo: Repo, branch: str, files: Files) -> None:
        for line in self.body.splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif entry["key"] == "lfsFile":
                files[value["path"]] = self.hub.blobs[value["oid"]]
            elif entry["key"] == "deletedFile":
                del files[value["path"]]
        sha = repo.commit(files, branch)
        self.give_json({"commitUrl": f"{self.hub.url}/{repo_id}/commit/{sha}", "commitOid": sha})


def git_hash(data: bytes) -> str:
    """What git calls a file of these bytes."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
