# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""Publishing on the Hub: everything in one commit or nothing, and one line for the user where it fails.

`huggingface_hub` itself repeats the upload of large files. What it tries only once (making the repository, reading
its head, the commit) is tried again here when the Hub is busy or the connection breaks.
"""

import json
import re
import time
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, TypeVar

from huggingface_hub import CommitOperationAdd, HfApi, get_token, hf_hub_download
from huggingface_hub.errors import (
    HfHubHTTPError,
    HTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from .console import one_line

WAITS = (1.0, 2.0, 4.0, 8.0)  # seconds before each further attempt, unless the Hub says how long
LONGEST_WAIT = 300.0
MODEL_FILES = ("config.json", "model.safetensors", "processor_config.json", "puzzles.json")
NO_TOKEN = "publishing needs a token of the Hub: log in with `hf auth login`, or set HF_TOKEN"

Result = TypeVar("Result")


def model_files(folder: Path) -> dict[str, Path]:
    """What a model in a folder is made of (weights, configuration, processor, remote code) and nothing else there.

    Raises:
        HubError: one of these files is a link that leads nowhere, as in a copy of a folder whose code is linked.
    """
    code = sorted(path.name for path in Path(__file__).parent.glob("*_trm.py"))
    paths = {name: folder / name for name in (*MODEL_FILES, *code)}
    for path in paths.values():
        if path.is_symlink() and not path.exists():
            raise HubError(f"{path} is a link to {path.readlink()}, which is not there: copy the folder with `cp -rL`")
    return {name: path for name, path in paths.items() if path.is_file()}


class HubError(Exception):
    """A publication that failed; the message is one line that names the thing and the mend."""


class HubUnreachableError(HubError):
    """The Hub does not answer, or is too busy: another time it may."""


class HubConflictError(HubError):
    """Somebody else committed in between."""


class HubRepository:
    """A repository to publish to.

    Args:
        repo_id: "ORG/NAME".
        repo_type: "model", "dataset" or "space".
        branch: what to commit to; it is made if it is not there.

    Raises:
        HubError: `repo_id` does not read so, or there is no token.
    """

    def __init__(self, repo_id: str, repo_type: str = "model", branch: str = "main"):
        if not re.fullmatch(r"[\w.-]{1,96}/[\w.-]{1,96}", repo_id):
            raise HubError(f"{repo_id!r} is no repository of the Hub: it should read like ORG/NAME")
        if get_token() is None:
            raise HubError(NO_TOKEN)
        self.repo_id, self.repo_type, self.branch = repo_id, repo_type, branch
        self.api = HfApi()

    @property
    def url(self) -> str:
        prefix = "" if self.repo_type == "model" else f"{self.repo_type}s/"
        return f"{self.api.endpoint}/{prefix}{self.repo_id}"

    def create(self, private: bool = False, space_sdk: str | None = None) -> None:
        """Makes repository and branch, if they are not there yet; `space_sdk`, as "static", is needed for a Space.

        Raises:
            HubError: the token may not write here, or `private` is asked of a repository that everybody can read.
        """
        role = self._call(self.api.whoami, cache=True).get("auth", {}).get("accessToken", {}).get("role")
        if role == "read":
            raise HubError(self._line("the token may only read: make one that may write, and log in with it"))
        options = {"private": private, "exist_ok": True, "space_sdk": space_sdk}
        self._call(self.api.create_repo, self.repo_id, repo_type=self.repo_type, **options)
        if private and not self._call(self.api.repo_info, self.repo_id, repo_type=self.repo_type).private:
            raise HubError(self._line("it is public already: make it private in its settings, or do not ask for it"))
        if self.branch != "main":
            options = {"branch": self.branch, "repo_type": self.repo_type, "exist_ok": True}
            self._call(self.api.create_branch, self.repo_id, **options)

    def head(self) -> str:
        """The commit that the branch stands at."""
        info = self._call(self.api.repo_info, self.repo_id, repo_type=self.repo_type, revision=self.branch)
        return info.sha

    def read(self, path: str, commit: str) -> bytes | None:
        """The contents of a file; `None` if there is none of that name."""
        try:
            options = {"filename": path, "repo_type": self.repo_type, "revision": commit}
            return Path(self._call(hf_hub_download, self.repo_id, **options)).read_bytes()
        except RemoteEntryNotFoundError:
            return None

    def sha256(self, path: str, commit: str) -> str | None:
        """The SHA-256 of a large file; `None` if there is none of that name."""
        options = {"paths": [path], "repo_type": self.repo_type, "revision": commit}
        found = self._call(self.api.get_paths_info, self.repo_id, **options)
        large = getattr(found[0], "lfs", None) if found else None
        return large.sha256 if large else None

    def commit(self, files: Mapping[str, Path | bytes], message: str, parent: str) -> str:
        """Adds or replaces files in one commit; none is made if nothing would change.

        Args:
            files: contents by their path in the repository.
            parent: the commit that this one must follow, of `head`.

        Returns:
            The new head.

        Raises:
            HubConflictError: the head is another one by now; nothing was changed.
            HubError: it cannot be done; nothing was changed.
        """

        def attempt() -> str:
            # New operations each time: they remember what the Hub holds, and a commit whose answer was lost is there.
            operations = [CommitOperationAdd(path, content) for path, content in files.items()]
            return self.api.create_commit(
                self.repo_id,
                operations,
                commit_message=message,
                repo_type=self.repo_type,
                revision=self.branch,
                parent_commit=parent,
            ).oid

        return self._call(attempt)

    def tag(self, name: str, commit: str) -> None:
        """Names a commit, if the name is not taken."""
        options = {"tag": name, "revision": commit, "repo_type": self.repo_type, "exist_ok": True}
        self._call(self.api.create_tag, self.repo_id, **options)

    def _call(self, function: Callable[..., Result], *arguments: Any, **options: Any) -> Result:
        """Calls the Hub, again where that may help.

        Raises:
            RemoteEntryNotFoundError: as it is.
            HubError: for every other failure.
        """
        for wait in (*WAITS, None):
            try:
                return function(*arguments, **options)
            except RemoteEntryNotFoundError:
                raise
            except (HTTPError, OSError, RuntimeError, ValueError) as error:
                if wait is None or not is_passing(error):
                    raise self._explain(error) from error
                time.sleep(asked_wait(error) or wait)
        raise AssertionError("the last wait is None")

    def _line(self, reason: str) -> str:
        return f"cannot publish {self.repo_id}: {reason}"

    def _explain(self, error: Exception) -> HubError:
        """The exception of a library as one line for the user."""
        cause = error.__cause__ if isinstance(error, RuntimeError) and error.__cause__ else error
        response = getattr(cause, "response", None)
        status = response.status_code if response is not None else None
        if isinstance(cause, OfflineModeIsEnabled):
            return HubError(self._line("HF_HUB_OFFLINE is set"))
        if status == 412:
            return HubConflictError(
                self._line("it changed meanwhile; the same command again publishes on top of that")
            )
        if status == 401:
            return HubError(
                self._line("the Hub does not accept the token: log in with `hf auth login` or set HF_TOKEN")
            )
        if status == 403:
            return HubError(self._line("the token may not write there: use one that may, or another ORG/NAME"))
        if isinstance(cause, RevisionNotFoundError):
            return HubError(self._line(f"it has no branch {self.branch!r}"))
        if isinstance(cause, RepositoryNotFoundError):
            return HubError(
                self._line(f"the Hub has no such {self.repo_type}, or the name is taken by something else")
            )
        if is_passing(cause):
            answer = f"it answers {status}" if status else f"{type(cause).__name__}: {one_line(cause)}"
            return HubUnreachableError(self._line(f"the Hub cannot be reached ({answer}); try again later"))
        told = getattr(cause, "server_message", None) or one_line(cause)
        return HubError(self._line(f"the Hub answered {status}: {told}" if status else told))


def is_passing(error: BaseException) -> bool:
    """Whether the same request may succeed later: a busy or failing Hub, a broken connection, an answer cut short."""
    if isinstance(error, HfHubHTTPError):
        return error.response.status_code in (408, 429) or error.response.status_code >= 500
    return isinstance(error, (HTTPError, json.JSONDecodeError, LocalEntryNotFoundError))


def asked_wait(error: Exception) -> float | None:
    """The seconds that the Hub asks to wait for (`Retry-After`, a number or a date); `None` if it does not."""
    response = getattr(error, "response", None)
    asked = response.headers.get("Retry-After") if response is not None else None
    if asked is None:
        return None
    try:
        seconds = float(asked) if asked.isdigit() else parsedate_to_datetime(asked).timestamp() - time.time()
    except (ValueError, TypeError):  # neither of the two: as if it did not ask
        return None
    return min(max(seconds, 0.0), LONGEST_WAIT)
