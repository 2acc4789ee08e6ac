# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
r"""Models and their results on the Hub: one commit each time.

Of a folder of train.py only what a model is made of is published: `checkpoints/`, `train_log.jsonl` and whatever else
lies there stays.
"""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from modeling_trm.console import one_line
from modeling_trm.hub_trm import (
    HubConflictError,
    HubError,
    HubRepository,
    HubUnreachableError,
    model_files,
)

from ..arguments import HubArguments
from ..errors import UserError, user_errors
from ..evaluation.results import are_results, merge_results, read_results, weights_of
from ..state import TrainState
from ..storage import write_json
from .cards import CARD, EVAL_RESULTS, RESULTS, TRAIN_ARGS, render_eval_results, update_card, write_card

WEIGHTS = "model.safetensors"
ATTEMPTS = 5  # to add results while others add theirs


def open_repository(args: HubArguments, private: bool, tell: Callable[[str], None]) -> HubRepository | None:
    """The repository of `--push_to_hub`, made if need be; `None` without one. Before the work, so that none is lost.

    Raises:
        UserError: there is no token, or it may not write there. If only the Hub does not answer, `tell` says so.
    """
    if args.push_to_hub is None:
        return None
    with user_errors("", HubError):
        repository = HubRepository(args.push_to_hub, branch=args.hub_revision)
        try:
            repository.create(private)
        except HubUnreachableError as error:
            tell(f"{error}; going on without")
    return repository


def open_for_results(
    args: HubArguments, model: str, weights: str, tell: Callable[[str], None]
) -> HubRepository | None:
    """The repository of `--push_to_hub`, which must hold these weights; `None` without one.

    Raises:
        UserError: there is no token, no such repository, or it holds other weights than `model`.
    """
    if args.push_to_hub is None:
        return None
    with user_errors("", HubError):
        repository = HubRepository(args.push_to_hub, branch=args.hub_revision)
        try:
            check_weights(repository, repository.head(), model, weights)
        except HubUnreachableError as error:
            tell(f"{error}; going on without")
    return repository


def check_weights(repository: HubRepository, commit: str, model: str, weights: str) -> None:
    """Raises `HubError` if a commit holds other weights than those of `model`, whose SHA-256 is given."""
    if repository.sha256(WEIGHTS, commit) != weights:
        raise HubError(f"{repository.repo_id} does not hold the weights of {model}: publish those first")


def tag_of(files: dict[str, Path]) -> str:
    """A name for exactly these contents: what the card tells its reader to pin."""
    digest = hashlib.sha256()
    for name, path in sorted(files.items()):
        with path.open("rb") as file:
            digest.update(f"{name} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return f"sha256-{digest.hexdigest()[:16]}"


def publish_folder(repository: HubRepository, folder: Path, private: bool, message: str, final: bool = True) -> str:
    """Publishes model, card and results of a folder in one commit; results that the Hub has of these weights stay.

    Args:
        repository: is made if it is not there.
        folder: as train.py leaves it; the card in it is written anew.
        private: whether a new repository is.
        message: of the commit.
        final: whether the commit gets a tag, which the card names.

    Returns:
        The new head.

    Raises:
        HubError: nothing was published, or only the tag is missing; the same call again finishes.
    """
    files: dict[str, Path | bytes] = {**model_files(folder)}
    tag = tag_of(model_files(folder)) if final else None
    repository.create(private)
    parent = repository.head()
    results = merge_results(results_at(repository, parent), read_results(folder / RESULTS), weights_of(folder))
    write_json(results, folder / RESULTS, indent=2)
    write_card(folder, repository.repo_id, tag)
    files[CARD] = folder / CARD
    files |= result_files(repository, results, parent)
    commit = repository.commit(files, message, parent)
    if tag is not None:
        repository.tag(tag, commit)
    return commit


def publish_results(repository: HubRepository, results: list[dict[str, Any]]) -> str:
    """Adds results to a published model, in place of older ones on the same data; all else stays as it is.

    Returns:
        The new head.

    Raises:
        HubError: the repository holds no model or another one, or cannot be written to; nothing was changed.
    """
    for _ in range(ATTEMPTS - 1):
        try:
            return try_to_publish_results(repository, results)
        except HubConflictError:
            continue  # somebody else's results are there now: ours join them
    return try_to_publish_results(repository, results)


def try_to_publish_results(repository: HubRepository, results: list[dict[str, Any]]) -> str:
    parent, weights = repository.head(), results[0]["weights"]
    check_weights(repository, parent, results[0]["model"], weights)
    merged = merge_results(results_at(repository, parent), results, weights)
    card = repository.read(CARD, parent)
    files: dict[str, Path | bytes] = {
        CARD: update_card(card.decode() if card else None, repository.repo_id, merged).encode(),
        **result_files(repository, merged, parent),
    }
    new = ", ".join(f"{result['task']} {result['dataset']} {result['split']}" for result in results)
    return repository.commit(files, f"Results on {new}", parent)


def results_at(repository: HubRepository, commit: str) -> list[dict[str, Any]]:
    """The results that a commit holds; a `HubError` if that file is of another kind."""
    content = repository.read(RESULTS, commit)
    try:
        results = json.loads(content) if content else []
    except ValueError:
        results = None
    if not are_results(results):
        raise HubError(f"{RESULTS} of {repository.repo_id} is no list of evaluations as eval.py writes it: remove it")
    return results


def result_files(repository: HubRepository, results: list[dict[str, Any]], parent: str) -> dict[str, Path | bytes]:
    """`results.json`, which names the repository in place of a folder of ours, and what benchmarks read."""
    named = [{**result, "model": repository.repo_id} for result in results]
    entries = render_eval_results(results)
    files: dict[str, Path | bytes] = {RESULTS: (json.dumps(named, indent=2) + "\n").encode()}
    if entries or repository.read(EVAL_RESULTS, parent) is not None:  # something to say, or to take back
        files[EVAL_RESULTS] = (entries or "[]\n").encode()
    return files


PUBLICATION = "publishing-"  # folders that hold one


class BackgroundPublisher:
    """Publishes while training goes on, in one thread; of several that wait the newest wins.

    Args:
        repository, private: where to.
        folder: a place for the files of a publication.
        record: describes a state of training, see `training_record`.
        tell: shows a line to the user.
    """

    def __init__(
        self,
        repository: HubRepository,
        private: bool,
        folder: Path,
        record: Callable[[TrainState], dict[str, Any]],
        tell: Callable[[str], None],
    ):
        self.repository, self.private, self.folder = repository, private, folder
        self.record, self.tell = record, tell
        for left in folder.glob(f"{PUBLICATION}*"):  # of runs that were killed
            shutil.rmtree(left)
        self.executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="publishing")
        self.newest: Future[None] | None = None

    def submit(self, state: TrainState, write: Callable[[Path], None]) -> None:
        """Returns at once; `write`, which writes the model into a folder, is called in the thread."""
        if self.newest is not None:
            self.newest.cancel()  # unless it has begun
        self.newest = self.executor.submit(self._publish, self.record(state), write)

    def close(self) -> None:
        """Ends when the publication that has begun is done; one that waits is dropped."""
        self.executor.shutdown(cancel_futures=True)

    def _publish(self, record: dict[str, Any], write: Callable[[Path], None]) -> None:
        step = record["step"]
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=self.folder, prefix=PUBLICATION) as temporary:
                folder = Path(temporary)
                write(folder)
                write_json(record, folder / TRAIN_ARGS)
                publish_folder(self.repository, folder, self.private, f"Step {step}", final=False)
        except Exception as error:  # whatever it is, training is worth more
            self.tell(f"step {step} is not published, training goes on: {one_line(error)}")


def publish_final(repository: HubRepository, folder: Path, private: bool) -> str:
    """Publishes a finished folder; the address to show.

    Raises:
        UserError: it was not published; the line says that nothing is lost and how to go on.
    """
    branch = "" if repository.branch == "main" else f" --hub_revision {repository.branch}"
    again = f"`python -m training.publishing --model {folder} --push_to_hub {repository.repo_id}{branch}`"
    try:
        publish_folder(repository, folder, private, f"Publish {repository.repo_id.split('/')[1]}")
    except (HubError, OSError) as error:
        raise UserError(
            f"{one_line(error)}; nothing is lost, the model is in {folder}: {again} publishes it"
        ) from error
    return f"published {repository.url}"
