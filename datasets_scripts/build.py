# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""Writes a task's puzzles as a dataset of the Hub: parquet files and a card.

    python -m datasets_scripts.build --task sudoku --config mini-6x6 --output_dir sudoku-6x6 [--push_to_hub ORG/NAME]

`load_dataset("sudoku-6x6", "mini-6x6")` reads the folder back, also with `streaming=True`.
"""

import argparse
import os
import re
import shlex
import sys
import tempfile
from pathlib import Path
from typing import NoReturn

import datasets
from huggingface_hub import DatasetCard, DatasetCardData

from datasets_scripts.hub_dataset import HubDataset
from datasets_scripts.puzzle_builder import PuzzleConfig
from datasets_scripts.tasks import TASKS, PuzzleFormat, nearest
from modeling_trm.hub_trm import HubError, HubRepository


class Parser(argparse.ArgumentParser):
    """One line for a wrong argument, without the usage."""

    def error(self, message: str) -> NoReturn:
        raise ValueError(message)


def build(
    task: str,
    config: str | None,
    output_dir: str | Path,
    *,
    command: str,
    name: str = "path/to/this",
    data_dir: str | None = None,
    seed: int = 0,
    num_train_puzzles: int | None = None,
) -> None:
    """Write a dataset folder, whole or not at all.

    Args:
        task, config: names; without a config the task's default, or with a `data_dir` the one that reads it.
        output_dir: a folder that does not exist yet, or an empty one.
        command: how to build it again, for the card.
        name: what the card's reader loads.
        data_dir, seed, num_train_puzzles: as for `load_puzzles`.

    Raises:
        ValueError, OSError: for a wrong name, a bad file, or a folder that is in use; one line.
    """
    entry = TASKS[nearest(task, TASKS, "task")]
    config = config or (entry.data_dir_config if data_dir else entry.default_config)
    output_dir = Path(output_dir)
    if output_dir.exists() and not (output_dir.is_dir() and not any(output_dir.iterdir())):
        raise ValueError(f"{output_dir} is there already; name a new folder, or delete it")
    builder, described = entry.build(config, data_dir=data_dir, seed=seed, num_train_puzzles=num_train_puzzles)
    dataset = HubDataset(builder)
    dataset.download_and_prepare()
    splits = dataset.as_dataset()
    output_dir.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output_dir.parent, prefix=".build-") as temporary:
        folder = Path(temporary) / "dataset"
        (folder / config).mkdir(parents=True)
        for split, rows in splits.items():
            rows.to_parquet(folder / config / f"{split}-00000-of-00001.parquet")
        text = card(task, builder.config, splits, described, seed, command, name)
        (folder / "README.md").write_text(text, encoding="utf-8")
        os.replace(folder, output_dir)


def card(
    task: str,
    config: PuzzleConfig,
    splits: datasets.DatasetDict,
    described: PuzzleFormat,
    seed: int,
    command: str,
    name: str,
) -> str:
    """The text of README.md, its YAML header included."""
    header = DatasetCardData(
        license=config.license or "other",
        pretty_name=f"{task} {config.name}",
        tags=["puzzles", "reasoning", "trm", task],
        configs=[
            {
                "config_name": config.name,
                "data_files": [{"split": split, "path": f"{config.name}/{split}-*.parquet"} for split in splits],
                "default": True,
            }
        ],
    )
    processor = described.processor
    sizes = "\n".join(f"| {split} | {len(rows):,} |" for split, rows in splits.items())
    features = next(iter(splits.values())).features
    columns = "\n".join(f"| `{name}` | {kind(feature)} |" for name, feature in features.items())
    tokens = ", ".join(f"{token} = `{symbol}`" for token, symbol in enumerate(processor["vocabulary"]))
    return f"""---
{header.to_yaml()}
---

<!-- {config.name} -->
# {task}: {config.name}

{config.description}. The puzzles are not augmented.

```python
from datasets import load_dataset

puzzles = load_dataset("{name}", "{config.name}", split="train")
```

| split | puzzles |
|---|---|
{sizes}

| column | type |
|---|---|
{columns}

`input_ids` and `labels` are grids of {processor["height"]}x{processor["width"]} cells, row by row.
Their tokens are {tokens}.

## Source and licence

{config.homepage or "Own files; say here where they come from"}

Licence: {config.license or "other; say here which"}

## How it was built

By the builder `{task}`, version {config.version}, with seed {seed}:

```
{command}
```
<!-- /{config.name} -->
"""


def kind(feature: datasets.features.features.FeatureType) -> str:
    """A feature's type for people."""
    if isinstance(feature, datasets.List):
        return f"{feature.length} x {kind(feature.feature)}"
    return feature.dtype


def join_cards(old: str, new: str, config: str) -> str:
    """The card of a repository that holds other configs too: their files and words stay, as does its default."""
    card, ours = DatasetCard(old), DatasetCard(new)
    data = card.data.to_dict()
    others = [one for one in data.get("configs", []) if one["config_name"] != config]
    described = ours.data.to_dict()
    if any(one.get("default") for one in others):
        del described["configs"][0]["default"]
    is_licensed_alike = data.get("license") in (None, described["license"])
    card.data = DatasetCardData(
        **data
        | {
            "configs": [*others, *described["configs"]],
            "tags": list(dict.fromkeys([*data.get("tags", []), *described["tags"]])),
            "license": described["license"] if is_licensed_alike else "other",
        }
    )
    section = re.compile(f"<!-- {re.escape(config)} -->.*<!-- /{re.escape(config)} -->", re.DOTALL)
    text = section.search(ours.text)[0]
    card.text = section.sub(lambda _: text, card.text) if section.search(card.text) else f"{card.text}\n{text}\n"
    return str(card)


def was_built_by(command: str, folder: Path) -> bool:
    """Whether a command has written a folder before, but could not publish it."""
    path = folder / "README.md"
    return path.is_file() and f"\n{command}\n" in path.read_text(encoding="utf-8")


def publish(folder: Path, config: str, repository: HubRepository) -> None:
    """Adds a dataset folder to a repository in one commit, beside the other configs there.

    Raises:
        HubError: it cannot be published; one line.
    """
    parent = repository.head()
    files: dict[str, Path | bytes] = {
        str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()
    }
    if (old := repository.read("README.md", parent)) is not None:
        new = (folder / "README.md").read_text(encoding="utf-8")
        files["README.md"] = join_cards(old.decode(), new, config).encode()
    repository.commit(files, f"Upload {config}", parent)


def main(command_line: list[str]) -> None:
    parser = Parser(prog="python -m datasets_scripts.build", description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--task", required=True, help=", ".join(TASKS))
    parser.add_argument("--config", help="configuration of the task's dataset")
    parser.add_argument("--output_dir", required=True, help="folder to write")
    parser.add_argument("--data_dir", help="folder with your own files")
    parser.add_argument("--seed", type=int, default=0, help="of chosen and of generated puzzles")
    parser.add_argument("--num_train_puzzles", type=int, help="how many training puzzles to keep; all by default")
    parser.add_argument("--push_to_hub", metavar="ORG/NAME", help="dataset repository to publish to")
    parser.add_argument("--hub_private", action="store_true", help="publish for your organisation only")
    args = parser.parse_args(command_line)
    repository = HubRepository(args.push_to_hub, "dataset") if args.push_to_hub else None
    if repository is not None:
        repository.create(args.hub_private)
    folder = Path(args.output_dir)
    public = {args.data_dir: Path(args.data_dir).resolve().name if args.data_dir else "", args.output_dir: folder.name}
    words = [public.get(word, word) for word in command_line]  # where it lies here is nobody else's business
    command = shlex.join(["python", "-m", "datasets_scripts.build", *words])
    entry = TASKS[nearest(args.task, TASKS, "task")]
    config = args.config or (entry.data_dir_config if args.data_dir else entry.default_config)
    if repository is None or not was_built_by(command, folder):
        build(
            args.task,
            config,
            folder,
            command=command,
            name=args.push_to_hub or "path/to/this",
            data_dir=args.data_dir,
            seed=args.seed,
            num_train_puzzles=args.num_train_puzzles,
        )
        print(f"wrote {folder}")
    if repository is not None:
        publish(folder, config, repository)
        print(f"published {repository.url}")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except (ValueError, OSError, HubError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)
