# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""A small Hub for the tests: what the real clients call when they publish and load, over HTTP on loopback.

Repositories live in memory as commits of whole trees. Faults are ordered in advance with `Hub.fail`. Only the check of
a card's YAML needs more than the standard library.
"""

import base64
import hashlib
import json
import os
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import yaml

LFS_SUFFIXES = (".safetensors", ".parquet", ".bin", ".pt")
LICENSES = ("apache-2.0", "mit", "cc0-1.0", "cc-by-4.0", "other", "unknown")
WRITER, READER, STRANGER = "hf_TokenThatWrites0123456789abcdef", "hf_TokenThatReads", "hf_TokenOfSomebodyElse"
DATE = "2026-11-22T00:00:00.000Z"


class Refusal(Exception):
    """An error answer: status, `X-Error-Code` and a message."""

    def __init__(self, status: int, message: str, code: str | None = None):
        super().__init__(message)
        self.status, self.code = status, code


@dataclass(frozen=True)
class Blob:
    data: bytes
    is_lfs: bool

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()

    @property
    def oid(self) -> str:
        """The name git gives it; of a large file's pointer."""
        pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.sha256}\nsize {len(self.data)}\n"
        return git_hash(pointer.encode() if self.is_lfs else self.data)

    def describe(self, path: str) -> dict[str, Any]:
        lfs = {"lfs": {"oid": self.sha256, "size": len(self.data), "pointerSize": 134}} if self.is_lfs else {}
        return {"type": "file", "path": path, "size": len(self.data), "oid": self.oid, **lfs}


def git_hash(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


@dataclass
class Commit:
    message: str
    files: dict[str, Blob]
    parent: str | None


@dataclass
class Repository:
    """Branches and tags are names of commits."""

    private: bool = False
    commits: dict[str, Commit] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)

    def add(self, branch: str, message: str, files: dict[str, Blob]) -> str:
        """A commit with these files and no others; its name."""
        parent = self.branches.get(branch)
        tree = json.dumps([parent, message, sorted((path, blob.oid) for path, blob in files.items())])
        sha = hashlib.sha1(tree.encode()).hexdigest()
        self.commits[sha] = Commit(message, files, parent)
        self.branches[branch] = sha
        return sha

    def resolve(self, revision: str) -> str:
        sha = self.branches.get(revision) or self.tags.get(revision) or revision
        if sha not in self.commits:
            raise Refusal(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return sha

    def history(self, revision: str = "main") -> list[Commit]:
        """Commits, the newest first."""
        found, sha = [], self.resolve(revision)
        while sha is not None:
            found.append(self.commits[sha])
            sha = self.commits[sha].parent
        return found


@dataclass
class Fault:
    """What happens to the next `times` requests whose "METHOD /path" matches `pattern`.

    With a `status` they get that answer. `cut="request"` closes the connection halfway through the body of the
    request, `cut="answer"` halfway through that of the answer, `cut="reply"` when all is done but nothing is answered.
    `delay` only takes seconds.
    """

    pattern: str
    status: int | None = None
    times: int = 1
    headers: dict[str, str] = field(default_factory=dict)
    cut: str | None = None
    delay: float = 0.0


@dataclass
class Hub:
    """The state of the server.

    Attributes:
        url: for `HF_ENDPOINT`.
        repositories: by "models/org/name", "datasets/org/name" or "spaces/org/name".
        taken: names of models that are refused although there is no such model.
        objects: contents of large files by repository and SHA-256.
        log: "METHOD /path status" of all requests, in their order.
        received: bytes of large files that arrived, whole or cut.
        tokens: token -> (user, role, organisations that the user may write to).
    """

    url: str = ""
    repositories: dict[str, Repository] = field(default_factory=dict)
    taken: set[str] = field(default_factory=set)
    objects: dict[str, bytes] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    log: list[str] = field(default_factory=list)
    received: int = 0
    lock: threading.RLock = field(default_factory=threading.RLock)
    tokens: dict[str, tuple[str, str, list[str]]] = field(
        default_factory=lambda: {
            WRITER: ("me", "write", ["lab"]),
            READER: ("me", "read", ["lab"]),
            STRANGER: ("you", "write", []),
        }
    )

    def fail(self, pattern: str, **how: Any) -> None:
        self.faults.append(Fault(pattern, **how))

    def next_fault(self, request: str) -> Fault:
        with self.lock:
            for fault in self.faults:
                if fault.times and re.search(fault.pattern, request):
                    fault.times -= 1
                    return fault
        return Fault("")

    def model(self, name: str) -> Repository:
        return self.repositories[f"models/{name}"]

    def dataset(self, name: str) -> Repository:
        return self.repositories[f"datasets/{name}"]

    def files(self, name: str, revision: str = "main", kind: str = "models") -> dict[str, bytes]:
        """What a commit holds, without the file that every repository begins with."""
        repository = self.repositories[f"{kind}/{name}"]
        tree = repository.commits[repository.resolve(revision)].files
        return {path: blob.data for path, blob in tree.items() if path != ".gitattributes"}

    def create(self, kind: str, name: str, private: bool = False) -> Repository:
        """A new repository with its first commit, as the Hub makes it."""
        repository = self.repositories[f"{kind}/{name}"] = Repository(private)
        attributes = "".join(f"*{suffix} filter=lfs diff=lfs merge=lfs -text\n" for suffix in LFS_SUFFIXES)
        repository.add("main", "initial commit", {".gitattributes": Blob(attributes.encode(), False)})
        return repository


@contextmanager
def running_hub() -> Iterator[Hub]:
    """A Hub on a free port of 127.0.0.1, for as long as the block lasts."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("HubHandler", (Handler,), {"hub": hub}))
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def client_environment(hub: Hub, token: str | None = WRITER, **more: object) -> dict[str, str]:
    """Variables of a process whose clients talk to this Hub as they would to the real one."""
    root = Path(__file__).parent.parent
    online = {"HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0", "HF_DATASETS_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1"}
    quiet = {"HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    given = {**os.environ, "PYTHONPATH": str(root), **online, **quiet, **{key: str(one) for key, one in more.items()}}
    return given | ({"HF_TOKEN": token} if token else {})


REPO = r"(?P<name>[\w.-]+/[\w.-]+)"
API = rf"/api/(?P<kind>models|datasets|spaces)/{REPO}"
ROUTES = [
    ("GET", r"/api/whoami-v2", "whoami"),
    ("POST", r"/api/validate-yaml", "validate_card"),
    ("POST", r"/api/repos/create", "create"),
    ("POST", rf"{API}/preupload/(?P<revision>[^/]+)", "preupload"),
    ("POST", rf"{API}/commit/(?P<revision>[^/]+)", "commit"),
    ("POST", rf"{API}/paths-info/(?P<revision>[^/]+)", "paths_info"),
    ("POST", rf"{API}/(?P<what>branch|tag)/(?P<revision>[^/]+)", "make_reference"),
    ("GET", rf"{API}/refs", "references"),
    ("GET", rf"{API}/tree/(?P<revision>[^/]+)(?:/(?P<path>.+))?", "tree"),
    ("GET", rf"{API}(?:/revision/(?P<revision>[^/]+))?", "info"),
    ("POST", rf"/(?P<kind>datasets/|spaces/)?{REPO}\.git/info/lfs/objects/batch", "large_files"),
    ("PUT", rf"/objects/(?P<kind>models|datasets|spaces)/{REPO}/(?P<sha256>[0-9a-f]{{64}})", "upload"),
    ("GET", rf"/(?P<kind>datasets/|spaces/)?{REPO}/resolve/(?P<revision>[^/]+)/(?P<path>.+)", "download"),
]


class Handler(BaseHTTPRequestHandler):
    """One request; `hub` is set on a subclass."""

    hub: Hub
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        self.handle_request()

    do_HEAD = do_POST = do_PUT = do_GET

    def log_message(self, format: str, *arguments: Any) -> None:
        """The log is `Hub.log`."""

    def handle_request(self) -> None:
        address = urlsplit(self.path)
        request = f"{self.command} {address.path}"
        self.fault = self.hub.next_fault(request)
        self.query = parse_qs(address.query)
        time.sleep(self.fault.delay)
        length = int(self.headers.get("Content-Length") or 0)
        self.body = self.read_chunks() if self.headers.get("Transfer-Encoding") == "chunked" else None
        if self.body is None:
            self.body = self.rfile.read(length // 2 if self.fault.cut == "request" else length)
        if self.command == "PUT":
            self.hub.received += len(self.body)
        if self.fault.cut == "request":
            return self.hang_up(request)
        try:
            if self.fault.status:
                raise Refusal(self.fault.status, "ordered by the test")
            method = "GET" if self.command == "HEAD" else self.command
            for known, pattern, name in ROUTES:
                match = re.fullmatch(pattern, address.path) if known == method else None
                if match:
                    found = {key: value and unquote(value) for key, value in match.groupdict().items()}
                    with self.hub.lock:
                        answer = getattr(self, name)(**found)
                    break
            else:
                raise Refusal(404, f"the test Hub knows no {request}")
        except Refusal as refusal:
            headers = self.fault.headers | ({"X-Error-Code": refusal.code} if refusal.code else {})
            headers |= {"X-Error-Message": str(refusal)}
            return self.answer(request, refusal.status, {"error": str(refusal)}, headers)
        if self.fault.cut == "reply":
            return self.hang_up(request)
        if isinstance(answer, tuple):
            return self.answer(request, *answer)
        return self.answer(request, 200, answer)

    def read_chunks(self) -> bytes:
        data = b""
        while size := int(self.rfile.readline(), 16):
            data += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return data

    def hang_up(self, request: str) -> None:
        self.hub.log.append(f"{request} cut")
        self.close_connection = True

    def answer(self, request: str, status: int, content: Any, headers: dict[str, str] | None = None) -> None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        cut = self.fault.cut == "answer" and self.command == "GET"
        self.hub.log.append(f"{request} {'cut' if cut else status}")
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data[: len(data) // 2] if cut else data)
        self.close_connection |= cut

    # Who asks, and for what

    def user(self) -> tuple[str, str, list[str]] | None:
        words = (self.headers.get("Authorization") or "").split()
        if not words:
            return None
        if words[-1] not in self.hub.tokens:
            raise Refusal(401, "Invalid credentials in Authorization header")
        return self.hub.tokens[words[-1]]

    def repository(self, kind: str | None, name: str, writes: bool = False) -> Repository:
        user = self.user()
        found = self.hub.repositories.get(f"{(kind or 'models').rstrip('/')}/{name}")
        owner = name.split("/")[0]
        is_member = user is not None and owner in (user[0], *user[2])
        if found is None or (found.private and not is_member):
            raise Refusal(401 if user is None else 404, "Repository not found", "RepoNotFound")
        if writes:
            self.check_writer(owner)
        return found

    def check_writer(self, owner: str) -> tuple[str, str, list[str]]:
        user = self.user()
        if user is None:
            raise Refusal(401, "Invalid username or password.")
        if user[1] != "write" or owner not in (user[0], *user[2]):
            raise Refusal(403, f"You don't have the rights to write under the namespace {owner!r}")
        return user

    # The endpoints

    def whoami(self) -> Any:
        user = self.user()
        if user is None:
            raise Refusal(401, "Invalid username or password.")
        name, role, organisations = user
        token = {"accessToken": {"displayName": "test", "role": role}}
        return {"type": "user", "name": name, "orgs": [{"name": one} for one in organisations], "auth": token}

    def validate_card(self) -> Any:
        errors = card_errors(json.loads(self.body)["content"])
        return 400 if errors else 200, {"errors": [{"message": error} for error in errors], "warnings": []}

    def create(self) -> Any:
        asked = json.loads(self.body)
        kind = asked.get("type", "model") + "s"
        if kind == "spaces" and asked.get("sdk") not in ("static", "gradio", "docker"):
            raise Refusal(400, "a Space needs an sdk")
        owner = asked.get("organization") or self.check_writer("me")[0]
        self.check_writer(owner)
        name = f"{owner}/{asked['name']}"
        url = f"{self.hub.url}/{'' if kind == 'models' else kind + '/'}{name}"
        if f"{kind}/{name}" in self.hub.repositories or name in self.hub.taken:
            return 409, {"error": f"You already created this {kind[:-1]} repo", "url": url}
        self.hub.create(kind, name, asked.get("visibility") == "private")
        return {"url": url, "name": name}

    def preupload(self, kind: str, name: str, revision: str) -> Any:
        repository = self.repository(kind, name, writes=True)
        tree = repository.commits[repository.resolve(revision)].files
        files = []
        for file in json.loads(self.body)["files"]:
            path, blob = file["path"], tree.get(file["path"])
            is_lfs = path.endswith(LFS_SUFFIXES) or file["size"] > 10 << 20
            oid = blob and (blob.sha256 if blob.is_lfs else blob.oid)
            mode = "lfs" if is_lfs else "regular"
            files.append({"path": path, "uploadMode": mode, "shouldIgnore": False, "oid": oid})
        return {"files": files}

    def large_files(self, kind: str | None, name: str) -> Any:
        self.repository(kind, name, writes=True)
        objects = []
        for asked in json.loads(self.body)["objects"]:
            key = f"{(kind or 'models').rstrip('/')}/{name}/{asked['oid']}"
            upload = {"upload": {"href": f"{self.hub.url}/objects/{key}", "header": {}}}
            objects.append(asked if key in self.hub.objects else {**asked, "actions": upload})
        return {"transfer": "basic", "objects": objects}

    def upload(self, kind: str, name: str, sha256: str) -> Any:
        if hashlib.sha256(self.body).hexdigest() != sha256:
            raise Refusal(400, "the content is not what was announced")
        self.hub.objects[f"{kind}/{name}/{sha256}"] = self.body
        return {}

    def commit(self, kind: str, name: str, revision: str) -> Any:
        repository = self.repository(kind, name, writes=True)
        if revision not in repository.branches:
            raise Refusal(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        head = repository.branches[revision]
        files = dict(repository.commits[head].files)
        message = ""
        for line in self.body.splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "header":
                message = value["summary"]
                if value.get("parentCommit", head) != head:
                    raise Refusal(412, "A commit has happened since. Please refresh and try again.")
            elif entry["key"] == "file":
                files[value["path"]] = Blob(base64.b64decode(value["content"]), False)
            elif entry["key"] == "lfsFile":
                content = self.hub.objects.get(f"{kind}/{name}/{value['oid']}")
                if content is None:
                    raise Refusal(400, f"the content of {value['path']} was not uploaded")
                files[value["path"]] = Blob(content, True)
            elif entry["key"] == "deletedFile":
                del files[value["path"]]
            else:
                raise Refusal(400, f"the test Hub knows no {entry['key']}")
        sha = repository.add(revision, message, files)
        return {"success": True, "commitOid": sha, "commitUrl": f"{self.hub.url}/{name}/commit/{sha}"}

    def make_reference(self, kind: str, name: str, what: str, revision: str) -> Any:
        repository = self.repository(kind, name, writes=True)
        references = repository.branches if what == "branch" else repository.tags
        # A new branch names its start, a new tag stands in the body and `revision` is what it marks.
        asked = json.loads(self.body or b"{}")
        new = revision if what == "branch" else asked["tag"]
        start = asked.get("startingPoint", "main") if what == "branch" else revision
        if new in references:
            raise Refusal(409, f"Reference {new} exists")
        references[new] = repository.resolve(start)
        return {}

    def references(self, kind: str, name: str) -> Any:
        repository = self.repository(kind, name)

        def listed(references: dict[str, str], prefix: str) -> list[dict[str, str]]:
            return [
                {"name": key, "ref": f"refs/{prefix}/{key}", "targetCommit": sha} for key, sha in references.items()
            ]

        return {"branches": listed(repository.branches, "heads"), "tags": listed(repository.tags, "tags")}

    def info(self, kind: str, name: str, revision: str | None) -> Any:
        repository = self.repository(kind, name)
        sha = repository.resolve(revision or "main")
        files = repository.commits[sha].files
        about = {"sha": sha, "lastModified": DATE, "private": repository.private, "gated": False, "disabled": False}
        about |= {"tags": [], "downloads": 0, "likes": 0, "siblings": [{"rfilename": path} for path in files]}
        return {"_id": "0", "id": name, **about}

    def tree(self, kind: str, name: str, revision: str, path: str | None) -> Any:
        repository = self.repository(kind, name)
        files = repository.commits[repository.resolve(revision)].files
        prefix = f"{path}/" if path else ""
        inside = {file: blob for file, blob in files.items() if file.startswith(prefix)}
        if path and not inside:
            raise Refusal(404, f"{path} does not exist on {revision!r}", "EntryNotFound")
        deep = {file.rsplit("/", 1)[0] for file in inside if "/" in file.removeprefix(prefix)}
        folders = [{"type": "directory", "path": one, "size": 0, "oid": git_hash(one.encode())} for one in deep]
        if self.query.get("recursive", ["false"])[0].lower() != "true":
            inside = {file: blob for file, blob in inside.items() if "/" not in file.removeprefix(prefix)}
        return [*folders, *(blob.describe(file) for file, blob in inside.items())]

    def paths_info(self, kind: str, name: str, revision: str) -> Any:
        repository = self.repository(kind, name)
        files = repository.commits[repository.resolve(revision)].files
        is_json = "json" in (self.headers.get("Content-Type") or "")
        asked = json.loads(self.body) if is_json else parse_qs(self.body.decode())
        return [files[path].describe(path) for path in asked["paths"] if path in files]

    def download(self, kind: str | None, name: str, revision: str, path: str) -> Any:
        repository = self.repository(kind, name)
        sha = repository.resolve(revision)
        headers = {"X-Repo-Commit": sha}
        blob = repository.commits[sha].files.get(path)
        if blob is None:
            return 404, {"error": "Entry not found"}, headers | {"X-Error-Code": "EntryNotFound"}
        etag = blob.sha256 if blob.is_lfs else blob.oid
        headers |= {"ETag": f'"{etag}"', "Accept-Ranges": "bytes", "Content-Type": "application/octet-stream"}
        if blob.is_lfs:
            headers |= {"X-Linked-ETag": f'"{etag}"', "X-Linked-Size": str(len(blob.data))}
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        if not asked:
            return 200, blob.data, headers
        first, last = int(asked[1]), min(int(asked[2] or len(blob.data)), len(blob.data) - 1)
        if first > last:
            return 416, b"", headers | {"Content-Range": f"bytes */{len(blob.data)}"}
        headers |= {"Content-Range": f"bytes {first}-{last}/{len(blob.data)}"}
        return 206, blob.data[first : last + 1], headers


def card_errors(content: str) -> list[str]:
    """What the Hub would say against the metadata of a card."""
    match = re.match(r"---\r?\n(.*?)\r?\n---", content, re.DOTALL)
    if not match:
        return []
    try:
        data = yaml.safe_load(match[1])
    except yaml.YAMLError as error:
        return [f"the metadata is not YAML: {error}"]
    errors = []
    if data.get("license") is not None and data["license"] not in LICENSES:
        errors.append(f'"license" must be one of {LICENSES}')
    for name in ("tags", "metrics", "datasets"):
        if not all(isinstance(value, str) for value in data.get(name) or []):
            errors.append(f'"{name}" must be an array of strings')
    for name in data.get("datasets") or []:
        if not re.fullmatch(r"[\w.-]+/[\w.-]+", str(name)):
            errors.append(f'"datasets" must be identifiers of the Hub, not {name!r}')
    for model in data.get("model-index") or []:
        for result in model["results"]:
            whole = result.get("task", {}).get("type") and {"type", "name"} <= set(result.get("dataset", {}))
            metrics = result.get("metrics") or []
            if not whole or not metrics or not all({"type", "value"} <= set(metric) for metric in metrics):
                errors.append(f'"model-index" has an incomplete result for {model["name"]}')
    return errors
