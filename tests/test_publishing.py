# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""Publishing as a user does it: unmodified clients in processes of their own, a Hub on loopback, and its faults."""

import json
import re
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
import torch
import yaml
from hub import READER, STRANGER, WRITER, Blob, Commit, Hub, client_environment, running_hub
from huggingface_hub import ModelCard
from safetensors.torch import load_file, save_file
from tiny import tiny_config, tiny_model
from transformers import AutoModel, AutoProcessor

from datasets_scripts.tasks import load_puzzles
from training.arguments import TrainArguments
from training.errors import UserError
from training.evaluation.scores import load_model
from training.publishing.cards import render_card, training_record

ROOT = Path(__file__).parent.parent
REPO = "me/trm-tiny"
PUZZLE = "1..4.63.5.....2...6..3.5.4......1.3."
TINY = {
    "config": ROOT / "recipes" / "sudoku_6x6.yaml",
    "hidden_size": 16,
    "token_mixer_intermediate_size": 16,
    "num_attention_heads": 2,
    "max_steps": 12,
    "batch_size": 8,
    "save_steps": 3,
    "log_steps": 3,
    "eval_examples": 10,
    "num_test_puzzles": 30,
    "mixed_precision": "no",
}


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    with running_hub() as running:
        yield running


def run(hub: Hub, *words: object, token: str | None = WRITER, **more: object) -> subprocess.CompletedProcess:
    command = [sys.executable, *map(str, words)]
    return subprocess.run(
        command, cwd=ROOT, env=client_environment(hub, token, **more), capture_output=True, text=True
    )


def train_command(folder: Path, **fields: object) -> list[object]:
    options = {**TINY, "output_dir": folder, "push_to_hub": REPO, "hub_strategy": "every_save", **fields}
    return ["train.py", *(word for name, value in options.items() for word in (f"--{name}", value))]


def published_files(folder: Path) -> set[str]:
    """What is to leave a folder: its code is what saving the model put there."""
    data = {"README.md", "config.json", "model.safetensors", "processor_config.json", "results.json"}
    return data | {path.name for path in folder.glob("*_trm.py")}


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def assert_no_secret(*texts: str | bytes) -> None:
    for text in texts:
        content = text.encode() if isinstance(text, str) else text
        assert not any(token.encode() in content for token in (WRITER, READER, STRANGER))


class Trained(NamedTuple):
    """A run's folder, what it printed, and the commits it made, the newest first."""

    folder: Path
    output: str
    commits: list[Commit]


@pytest.fixture(scope="module")
def trained(hub: Hub, sudoku_splits: dict, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A run that published each save and its end. The first commit was refused."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    hub.fail(rf"POST /api/models/{REPO}/commit/", status=403)
    done = run(hub, *train_command(folder))
    assert done.returncode == 0, done.stderr
    return Trained(folder, done.stdout + done.stderr, hub.model(REPO).history())


# The way of a model: trained, published, loaded by somebody else


def test_a_commit_holds_the_model_and_nothing_else_of_the_folder(hub: Hub, trained: Trained) -> None:
    folder = trained.folder
    on_disk = set(files_of(folder))
    assert {"train_log.jsonl", "train_args.json"} <= on_disk
    assert any(path.startswith("checkpoints/") for path in on_disk)
    last, *earlier, _ = trained.commits
    assert last.message == "Publish trm-tiny"
    assert earlier
    for commit in (last, *earlier):
        assert set(commit.files) - {".gitattributes"} == published_files(folder)
    for path, blob in last.files.items():
        if path not in ("results.json", ".gitattributes"):
            assert blob.data == (folder / path).read_bytes(), path
    (tagged,) = hub.model(REPO).tags.values()
    assert hub.model(REPO).commits[tagged] is last


def test_each_save_is_published_and_one_that_fails_costs_a_line(hub: Hub, trained: Trained) -> None:
    """At the end come the final weights; what waited for a slower one is left out."""
    lines = [line for line in trained.output.splitlines() if "is not published" in line]
    assert len(lines) == 1
    assert f"step 3 is not published, training goes on: cannot publish {REPO}: the token may not write" in lines[0]
    *saves, _ = trained.commits[1:]
    steps = [int(commit.message.removeprefix("Step ")) for commit in saves]
    assert steps == sorted(set(steps) & {6, 9}, reverse=True)
    for commit, step in zip(saves, steps, strict=True):
        card = commit.files["README.md"].data.decode()
        assert f"these are the weights after step {step} of 12" in card
        assert "Not evaluated" in card
        assert json.loads(commit.files["results.json"].data) == []


def test_the_token_is_nowhere(hub: Hub, trained: Trained) -> None:
    assert_no_secret(trained.output, *files_of(trained.folder).values())
    for commit in trained.commits:
        assert_no_secret(*(blob.data for blob in commit.files.values()))


FRESH_PROCESS = """
import importlib.util, json, re, sys
sys.path += json.loads(sys.argv[1])
assert importlib.util.find_spec("modeling_trm") is None, "the package is importable: this would prove nothing"
import torch
from datasets import load_dataset
from huggingface_hub import ModelCard
from safetensors.torch import load_file, save_file

repo, puzzle, inputs, outputs = sys.argv[2:]
card = ModelCard.load(repo)
first, second = re.findall(r"```python\\n(.*?)```", card.text, re.DOTALL)
names = {"puzzle": puzzle}
exec(first, names)  # the snippets of the card, as a reader would copy them
exec(second, names)
solve, model = names["solve"], names["model"]
with torch.no_grad():
    given = load_file(inputs)["input_ids"]
    output = model(given)
    save_file({"logits": output.logits.contiguous(), "halt_logits": output.halt_logits.contiguous()}, outputs)
one = solve(puzzle)
rows = load_dataset("lab/sudoku", "mini-6x6", split="test", streaming=True)
print(json.dumps({
    "code": type(model).__module__.split(".")[0],
    "one": one,
    "many": solve([puzzle, puzzle.replace("6", "."), list(puzzle)] * 3, batch_size=2),
    "other": solve(puzzle.replace("6", ".")),
    "results": len(card.data.eval_results),
    "rows": [row["input_ids"] for row in rows.take(5)],
}))
"""


def test_a_stranger_needs_the_card_and_nothing_else(
    hub: Hub, trained: Trained, sudoku_splits: dict, tmp_path: Path
) -> None:
    """Without our package: the card's own snippets give the logits to the last bit; the weights' download is cut."""
    folder = trained.folder
    dataset = ["--task", "sudoku", "--config", "mini-6x6", "--output_dir", tmp_path / "set"]
    done = run(hub, "-m", "datasets_scripts.build", *dataset, "--push_to_hub", "lab/sudoku")
    assert done.returncode == 0, done.stderr
    puzzles = sudoku_splits["mini-6x6"]["test"]
    input_ids = puzzles.input_ids[:4].long()
    save_file({"input_ids": input_ids}, tmp_path / "inputs.safetensors")
    hub.fail(rf"GET /{REPO}/resolve/.*/model.safetensors", cut="answer")
    packages = json.dumps(sorted({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}))
    requests = len(hub.log)
    done = subprocess.run(
        # Isolated and without `site`, so that no .pth file and no variable brings the package in.
        [sys.executable, "-I", "-S", "-c", FRESH_PROCESS, packages, REPO, PUZZLE, "inputs.safetensors",
         "out.safetensors"],
        cwd=tmp_path,
        env=client_environment(hub, None, HF_HOME=tmp_path / "cache"),
        capture_output=True,
        text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    downloads = [line for line in hub.log[requests:] if line.startswith("GET") and "model.safetensors" in line]
    assert [line.split()[-1] == "cut" for line in downloads] == [True, False]
    result = json.loads(done.stdout.splitlines()[-1])

    model, given = AutoModel.from_pretrained(folder), load_file(tmp_path / "out.safetensors")
    with torch.no_grad():
        output = model(input_ids)
    assert torch.equal(given["logits"], output.logits)
    assert torch.equal(given["halt_logits"], output.halt_logits)
    processor = AutoProcessor.from_pretrained(folder)
    solution = model.solve(**processor(PUZZLE))
    assert result["one"]["answer"] == processor.decode(solution.answers[0])
    for found, alone in zip(result["many"], [result["one"], result["other"], result["one"]] * 3, strict=True):
        assert found | {"confidence": alone["confidence"]} == alone
        assert found["confidence"] == pytest.approx(alone["confidence"], rel=1e-5)  # batches of two round differently
    assert result["code"] == "transformers_modules"
    assert result["rows"] == puzzles.input_ids[:5].tolist()
    assert result["results"] >= 2


@pytest.mark.parametrize(
    ("layers", "says", "other"),
    [
        (0, "**TRM**, the Tiny Recursive Model ([arXiv 2510.04871]", "HRM"),
        (3, "**HRM**, the Hierarchical Reasoning Model ([arXiv 2506.21734]", "TRM"),
    ],
)
def test_the_card_says_which_model_it_is(layers: int, says: str, other: str) -> None:
    config = tiny_config(num_hidden_layers=2, num_answer_layers=layers).to_dict()
    text = render_card(config, {}, [], "me/model", tag=None).split("---\n")[2]
    opening = text.split("## How to use")[0]
    assert says in opening and other not in opening
    assert ("2 layers for the latent state and one of 3" in opening) == bool(layers)
    assert ("(section 2.4 of the paper)" in text) == (layers == 0)  # which is TRM's


def test_the_card_says_what_the_files_say(hub: Hub, trained: Trained) -> None:
    folder, files = trained.folder, trained.commits[0].files
    card = ModelCard(files["README.md"].data.decode())
    data, text = card.data.to_dict(), card.text
    assert (data["library_name"], data["pipeline_tag"]) == ("transformers", "other")
    assert "license" not in data, "whoever publishes chooses it"
    assert {"trm", "sudoku", "custom_code"} <= set(data["tags"])
    assert data["metrics"] == ["accuracy", "exact_match"]
    (result,) = json.loads(files["results.json"].data)
    values = {one.metric_name: one.metric_value for one in card.data.eval_results}
    settings = "n=30, at most 8 steps, halting at 3, seed 0, float32"
    assert values == {f"{name}, {settings}": result[name] for name in ("exact_accuracy", "cell_accuracy")}
    assert result["model"] == REPO
    low, high = result["exact_accuracy_ci95"]
    assert f"**exact {result['exact_accuracy']:.1%}** ({low:.1%} – {high:.1%})" in text
    assert "| 30 | " in text
    (tag,) = hub.model(REPO).tags
    assert text.count(f'revision="{tag}"') == 3
    record = json.loads((folder / "train_args.json").read_text())
    assert f"It has {record['num_parameters']:,} parameters." in text
    assert f"| steps | {record['step']} |" in text
    assert record["device"] in text
    recipe = yaml.safe_load(re.search(r"```yaml\n(.*?)```", text, re.DOTALL)[1])
    assert recipe == record["arguments"]
    assert recipe["max_steps"] == 12
    assert str(folder.parent) not in text
    assert "| on the Hub | not recorded |" in text
    assert "2510.04871" in text
    assert "2506.21734" in text


def test_of_paths_the_record_keeps_the_last_part_and_of_names_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "secret" / "start").mkdir(parents=True)
    puzzles = load_puzzles("sudoku", "mini-6x6", "train", num_train_puzzles=2)
    state: Any = SimpleNamespace(model=tiny_model(), step=1, seconds=1.0, device_seconds=1.0)
    kept = {}
    for given in ("secret/start", str(tmp_path / "secret" / "start"), "somebody/trm-start"):
        args = TrainArguments(dataset_config="mini-6x6", output_dir=str(tmp_path), init_from=given)
        kept[given] = training_record(args, SimpleNamespace(), puzzles, 1, {}, state)["arguments"]["init_from"]
    assert list(kept.values()) == ["start", "start", "somebody/trm-start"]


def test_results_are_added_and_replaced_and_a_person_keeps_her_words(
    hub: Hub, trained: Trained, tmp_path: Path
) -> None:
    """In one process: eval.py twice, then with a model that is not the published one, then without a repository."""
    folder = trained.folder
    repository = hub.model(REPO)
    head = repository.commits[repository.branches["main"]].files
    words = head["README.md"].data.replace(b"## Limits", b"## By hand\n\nWords of a person.\n\n## Limits")
    repository.add("main", "Edit README.md", head | {"README.md": Blob(words, False)})
    other = tmp_path / "other"
    AutoModel.from_pretrained(folder).save_pretrained(other)
    AutoProcessor.from_pretrained(folder).save_pretrained(other)
    weights = load_file(other / "model.safetensors")
    save_file({n: t + 1 if n == "lm_head.weight" else t for n, t in weights.items()}, other / "model.safetensors")
    known = ["--dataset_config", "mini-6x6", "--split", "train", "--push_to_hub"]
    commands = [
        ["eval", "--model", folder, "--max_examples", 9, "--hub_dataset", "lab/sudoku", *known, REPO],
        ["eval", "--model", folder, "--max_examples", 7, "--hub_dataset", "lab/sudoku", *known, REPO],
        ["eval", "--model", other, *known, REPO],
        ["eval", "--model", folder, *known, "me/nothing"],
    ]
    before = {path: blob.data for path, blob in head.items()}
    once, twice, mismatch, missing = run_all(hub, commands)
    assert (once, twice) == ("ok", "ok")
    assert mismatch == f"UserError: {REPO} does not hold the weights of {other}: publish those first"
    assert missing.startswith("UserError: cannot publish me/nothing: the Hub has no such model")
    after = hub.files(REPO)
    assert {path for path in after if after[path] != before.get(path)} == {
        "README.md",
        "results.json",
        ".eval_results/trm.yaml",
    }
    assert [commit.message for commit in repository.history()[:2]] == ["Results on sudoku mini-6x6 train"] * 2
    first, second = json.loads(after["results.json"])
    assert first == json.loads(before["results.json"])[0]
    assert (second["split"], second["num_examples"], second["dataset_id"]) == ("train", 7, "lab/sudoku")
    card = ModelCard(after["README.md"].decode())
    assert "Words of a person." in card.text
    assert len(re.findall(r"^\| sudoku \|", card.text, re.MULTILINE)) == 2
    assert "| sudoku | lab/sudoku | train | 7 |" in card.text
    assert [(one.dataset_split, one.metric_name.partition(",")[0]) for one in card.data.eval_results] == [
        (split, name) for split in ("test", "train") for name in ("exact_accuracy", "cell_accuracy")
    ]
    exact, _ = yaml.safe_load(after[".eval_results/trm.yaml"])
    assert exact["dataset"] == {"id": "lab/sudoku", "task_id": "mini-6x6"}
    assert exact["value"] == second["exact_accuracy"]


DRIVER = """
import importlib, json, sys
for module, *arguments in json.load(sys.stdin):
    try:
        status = importlib.import_module(module).main(arguments)
        said = "ok" if not status else f"status {status}"
    except Exception as error:
        said = f"{type(error).__name__}: {error}"
    print("SAID " + json.dumps(said))
"""


def run_all(hub: Hub, commands: list[list[Any]], token: str = WRITER) -> list[str]:
    """Runs entry points one after the other in one process that is not this one; "ok" or the error of each."""
    words = json.dumps([[str(word) for word in command] for command in commands])
    done = subprocess.run(
        [sys.executable, "-c", DRIVER],
        input=words,
        cwd=ROOT,
        env=client_environment(hub, token),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert_no_secret(done.stdout, done.stderr)
    return [json.loads(line.removeprefix("SAID ")) for line in done.stdout.splitlines() if line.startswith("SAID ")]


def test_a_mistake_is_told_before_the_work(hub: Hub, sudoku_splits: dict, tmp_path: Path) -> None:
    """Nothing is trained, written or evaluated for a repository that cannot be published to."""
    commands = [
        [*train_command(tmp_path / "run", push_to_hub="you/trm")],
        [*train_command(tmp_path / "run", push_to_hub="trm")],
        ["training.publishing.__main__", "--model", tmp_path, "--push_to_hub", "me/trm"],
    ]
    commands[0][0] = commands[1][0] = "train"
    rights, name, folder = run_all(hub, commands)
    assert rights.startswith("UserError: cannot publish you/trm: the token may not write there")
    assert name == "UserError: push_to_hub=trm should read like ORG/NAME"
    assert folder == f"UserError: {tmp_path} is no folder of a model: it has no model.safetensors"
    assert not list(tmp_path.iterdir())


def test_nothing_pickled_is_read(trained: Trained, tmp_path: Path) -> None:
    for name in ("config.json", "processor_config.json"):
        (tmp_path / name).write_bytes((trained.folder / name).read_bytes())
    torch.save(load_file(trained.folder / "model.safetensors"), tmp_path / "pytorch_model.bin")
    with pytest.raises(UserError, match=r"cannot load the model .* no file named model\.safetensors"):
        load_model(str(tmp_path), torch.float32)
    assert AutoModel.from_pretrained(tmp_path).config.hidden_size == 16  # it could be read, were it not refused


def test_a_run_that_could_not_publish_has_lost_nothing(hub: Hub, trained: Trained) -> None:
    """The end of the same run again, where the Hub refuses; then a second call finishes the job."""
    folder = trained.folder
    before = files_of(folder)
    hub.fail(r"POST /api/models/lab/late/commit/", status=403)
    late = {"push_to_hub": "lab/late", "hub_strategy": "end", "hub_private": "true", "hub_revision": "trial"}
    done = run(hub, *train_command(folder, **late))
    assert done.returncode == 2
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert line.startswith("error: cannot publish lab/late: the token may not write there")
    command = f"python -m training.publishing --model {folder} --push_to_hub lab/late"
    assert f"nothing is lost, the model is in {folder}: `{command} --hub_revision trial` publishes it" in line
    assert "Traceback" not in done.stderr
    after = files_of(folder)
    assert {path for path in before if path.startswith("checkpoints") and after[path] != before[path]} == set()
    assert after["model.safetensors"] == before["model.safetensors"]
    assert "results.json" in after

    words = command.replace("training.publishing", "training.publishing.__main__").split()[2:]
    (said,) = run_all(hub, [[*words, "--hub_revision", "trial", "--hub_private", "true"]])
    assert said == "ok"
    assert hub.model("lab/late").private
    assert hub.files("lab/late", "trial")["model.safetensors"] == before["model.safetensors"]
    assert not hub.files("lab/late", "main")


# Faults


FAULTS = """
import json, multiprocessing, os, resource, sys, time, warnings
from pathlib import Path
from transformers import AutoModel, AutoProcessor
from modeling_trm import hub_trm
from training.publishing import publish as publishing
from training.checkpoint import save_model

folder, read_only, strangers, copies = Path(sys.argv[1]), sys.argv[2], sys.argv[3], Path(sys.argv[4])
writer = os.environ["HF_TOKEN"]

def tell(name, **facts):
    print("TOLD " + json.dumps({"name": name, **facts}), flush=True)

def publish(name, token=writer, private=False, folder=folder):
    os.environ["HF_TOKEN"] = token
    os.environ.pop("HF_TOKEN") if not token else None
    start = time.perf_counter()
    try:
        publishing.publish_folder(hub_trm.HubRepository(name), folder, private, "Publish")
        said = "ok"
    except hub_trm.HubError as error:
        said = f"{type(error).__name__}: {error}"
    os.environ["HF_TOKEN"] = writer
    tell(name, said=said, seconds=round(time.perf_counter() - start, 2))

publish("me/no-token", token="")
publish("me/wrong-token", token="hf_wrong")
publish("me/read-only", token=read_only)
publish("me/forbidden", token=strangers)
publish("me/public", private=True)
for name in sys.argv[5:]:
    publish("me/" + name)
publish("me/exists")
publish("me/exists")
hub_trm.WAITS = (0.01, 0.01)
publish("me/down")
publish("me/down")

model, processor = AutoModel.from_pretrained(folder), AutoProcessor.from_pretrained(folder)
model.lm_head.weight.data += 1
other = copies.parent / "other"
save_model(model, processor, other)

# Two processes at once, with different weights: each has read the same head before either commits.
fork = multiprocessing.get_context("fork")
both = [fork.Process(target=publish, args=("me/race",), kwargs={"folder": one}) for one in (folder, other)]
for one in both: one.start()
for one in both: one.join()
publish("me/race")
publish("me/race", folder=other)

# In the background: how long the caller waits, what is left out, and a disk that is full.
class State: step = 0
state, lines = State(), []
describe = lambda state: {"step": state.step, "max_steps": 99}
def background(name):
    return publishing.BackgroundPublisher(hub_trm.HubRepository(name), False, copies, describe, lines.append)
publisher, waits = background("me/background"), []
for state.step in range(1, 7):
    start = time.perf_counter()
    publisher.submit(state, lambda folder: save_model(model, processor, folder))
    waits.append(time.perf_counter() - start)
    time.sleep(0.1)
publisher.newest.result()
publisher.close()
tell("background", waits=waits, lines=lines, left=[path.name for path in copies.iterdir()])

def full_disk():
    resource.setrlimit(resource.RLIMIT_FSIZE, (9_000, 9_000))
    publisher = background("me/full")
    publisher.submit(state, lambda folder: save_model(model, processor, folder))
    publisher.newest.result()
    tell("full", lines=lines, left=[path.name for path in copies.iterdir()])
one = fork.Process(target=full_disk)
one.start()
one.join()
"""


@pytest.fixture(scope="module")
def told(hub: Hub, trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict]]:
    """All faults in one process of a client, to save the time of its imports: what it tells, by repository."""
    folder = trained.folder
    copies = tmp_path_factory.mktemp("copies")
    api = "POST /api/models/me/"
    hub.fail(f"{api}rate-limit/commit", status=429, headers={"Retry-After": "1"})
    hub.fail(f"{api}slow-down/preupload", status=429, headers={"Retry-After": "1"})
    hub.fail("PUT /objects/models/me/server-error", status=500, times=2)
    hub.fail("PUT /objects/models/me/cut", cut="request")
    hub.fail(f"{api}shaky/commit", status=500, times=2)
    hub.fail(f"{api}lost/commit", cut="reply")
    hub.fail(f"{api}lost-request/commit", cut="request")
    hub.taken.add("me/taken")
    hub.fail(f"{api}down/commit", status=503, times=3)
    hub.fail(f"{api}race/preupload", delay=0.5, times=2)
    hub.fail(f"{api}background/preupload", delay=0.5, times=100)
    hub.create("datasets", "me/twin")
    hub.create("models", "me/public")
    names = ["server-error", "cut", "shaky", "rate-limit", "slow-down", "lost", "lost-request", "twin", "taken"]
    done = run(hub, "-c", FAULTS, folder, READER, STRANGER, copies, *names)
    assert done.returncode == 0, done.stderr
    assert_no_secret(done.stdout, done.stderr)
    found: dict[str, list[dict]] = {}
    for line in done.stdout.splitlines():
        if line.startswith("TOLD "):
            facts = json.loads(line.removeprefix("TOLD "))
            found.setdefault(facts.pop("name").removeprefix("me/"), []).append(facts)
    return found


def said(told: dict[str, list[dict]], name: str) -> list[str]:
    return [facts["said"] for facts in told[name]]


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("no-token", "publishing needs a token of the Hub: log in with `hf auth login`, or set HF_TOKEN"),
        ("wrong-token", "the Hub does not accept the token: log in with `hf auth login` or set HF_TOKEN"),
        ("read-only", "the token may only read: make one that may write, and log in with it"),
        ("forbidden", "the token may not write there: use one that may, or another ORG/NAME"),
        ("public", "it is public already: make it private in its settings, or do not ask for it"),
        ("taken", "the Hub has no such model, or the name is taken by something else"),
    ],
)
def test_what_cannot_be_is_one_line_and_changes_nothing(hub: Hub, told: dict, name: str, line: str) -> None:
    (message,) = said(told, name)
    assert message == f"HubError: {line}" if name == "no-token" else f"HubError: cannot publish me/{name}: {line}"
    assert told[name][0]["seconds"] < 2
    if f"models/me/{name}" in hub.repositories:
        assert len(hub.model(f"me/{name}").history()) == 1


@pytest.mark.parametrize(
    ("name", "least", "most"),
    [("server-error", 3, 5), ("cut", 1, 3), ("shaky", 3, 5), ("rate-limit", 1, 3), ("slow-down", 1, 4), ("lost", 1, 3),
     ("lost-request", 1, 3), ("twin", 0, 2), ("exists", 0, 2)],
)  # fmt: skip
def test_what_passes_is_waited_for(
    hub: Hub, trained: Trained, told: dict, name: str, least: float, most: float
) -> None:
    """One commit each time, also where the answer to the first attempt was lost; a second call changes nothing."""
    assert set(said(told, name)) == {"ok"}
    assert least <= told[name][0]["seconds"] < most + 5  # a busy machine
    assert [commit.message for commit in hub.model(f"me/{name}").history()] == ["Publish", "initial commit"]
    assert set(hub.files(f"me/{name}")) == published_files(trained.folder)


def test_a_dataset_of_the_same_name_is_left_alone(hub: Hub, told: dict) -> None:
    assert [commit.message for commit in hub.dataset("me/twin").history()] == ["initial commit"]


def test_a_hub_that_is_down_is_named_and_a_second_call_finishes(hub: Hub, told: dict) -> None:
    first, second = said(told, "down")
    assert (
        first
        == "HubUnreachableError: cannot publish me/down: the Hub cannot be reached (it answers 503); try again later"
    )
    assert second == "ok"
    assert len(hub.model("me/down").history()) == 2


def test_of_two_at_once_one_publishes_and_the_other_is_told(hub: Hub, trained: Trained, told: dict) -> None:
    *both, again, finally_the_other = said(told, "race")
    line = "it changed meanwhile; the same command again publishes on top of that"
    assert sorted(both) == [f"HubConflictError: cannot publish me/race: {line}", "ok"]
    assert (again, finally_the_other) == ("ok", "ok")
    assert any(entry.endswith("commit/main 412") for entry in hub.log if "/me/race/" in entry)
    assert set(hub.files("me/race")) == published_files(trained.folder)


def test_publishing_in_the_background_takes_no_time_and_the_newest_wins(hub: Hub, told: dict) -> None:
    """Six saves a tenth of a second apart, where an upload takes half a second."""
    (facts,) = told["background"]
    assert max(facts["waits"]) < 0.1
    assert facts["lines"] == []
    assert facts["left"] == []
    steps = [int(commit.message.split()[1]) for commit in hub.model("me/background").history()[:-1]]
    assert steps[0] == 6
    assert 2 <= len(steps) <= 4
    assert steps[-1] == 1


def test_a_full_disk_costs_a_line_and_leaves_nothing(hub: Hub, told: dict) -> None:
    (facts,) = told["full"]
    (line,) = facts["lines"]
    assert line.startswith("step 6 is not published, training goes on: ")
    assert "File too large" in line
    assert facts["left"] == []
    assert "models/me/full" not in hub.repositories
