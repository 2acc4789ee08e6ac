# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""Puts a demo with its models together:

python -m demos.build web --model trm-sudoku --output_dir site             # any web server serves it
python -m demos.build web --model trm-sudoku --single_file trm.html        # opens from disk
python -m demos.build web --model ORG/NAME --push_to_hub ORG/trm-in-a-page  # a static Space of the Hub
python -m demos.build space --model trm-sudoku --output_dir space          # a Gradio app: python space/app.py
python -m demos.build space --model ORG/NAME --push_to_hub ORG/trm-demo    # the same as a Space
"""

import argparse
import base64
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, hf_hub_download
from huggingface_hub.errors import HTTPError

from datasets_scripts.tasks import load_puzzles
from modeling_trm import TrmProcessor
from modeling_trm.hub_trm import HubError, HubRepository
from training.errors import require, run_command, user_errors

WEB, SPACE = (Path(__file__).parent / name for name in ("web", "space"))
ROOT = Path(__file__).parent.parent
PAGE = ("index.html", "style.css", "app.js")
MODULES = ("random.js", "kernels.js", "trm.js", "puzzles.js", "solving.js")  # each imports from those before it
WORKER = "worker.js"
MODEL_FILES = ("config.json", "processor_config.json", "model.safetensors")  # what the page reads of a model
BUNDLED = {("maze", 30): ("maze", "hard-sample"), ("sudoku", 6): ("sudoku", "mini-6x6")}  # by rule and width
SPACE_NEEDS = ("torch", "transformers", "huggingface_hub", "safetensors", "numpy", "PyYAML")  # beside gradio itself
PAGE_CARD = """\
---
title: TRM thinks in your browser
emoji: 🧩
colorFrom: blue
colorTo: yellow
sdk: static
app_file: index.html
license: apache-2.0
models: {models}
tags: [trm, recursive-reasoning, webassembly]
short_description: A tiny network solves puzzles, step by step
---

The Tiny Recursive Model ([arXiv 2510.04871](https://arxiv.org/abs/2510.04871)) runs in the page itself: nothing that a
visitor types leaves the browser.
"""


SPACE_CARD = """\
---
title: TRM solves puzzles step by step
emoji: 🧩
colorFrom: blue
colorTo: yellow
sdk: gradio
sdk_version: {gradio}
python_version: "3.11"
app_file: app.py
license: apache-2.0
models: {models}
tags: [trm, recursive-reasoning]
short_description: A tiny network solves puzzles, step by step
---

The Tiny Recursive Model ([arXiv 2510.04871](https://arxiv.org/abs/2510.04871)). Visitors may name any TRM of the Hub;
the code that a repository brings is never run here. `gradio_client` calls `/solve`.
"""


@dataclass(frozen=True)
class DemoModel:
    """A model of the page.

    Attributes:
        name: the folder's, or "ORG/NAME".
        commit: of a model of the Hub, which the page then loads from there; `None` for a folder.
        folder: of the files, all of them or, of a model of the Hub, at least the two small ones.
    """

    name: str
    commit: str | None
    folder: Path

    @property
    def base(self) -> str:
        """Where the page finds the files, with a slash at the end."""
        if self.commit is None:
            return f"models/{self.name}/"
        return f"https://huggingface.co/{self.name}/resolve/{self.commit}/"

    def describe(self) -> dict[str, Any]:
        """Its entry in models.json."""
        processor = TrmProcessor.from_pretrained(self.folder)
        shown = {"sudoku": "Sudoku", "maze": "mazes"}.get(processor.rule or "", "grids")
        label = f"{self.name}: {processor.height}×{processor.width} {shown}"
        return {"name": self.name, "label": label, "base": self.base, "examples": examples_for(processor)}


def examples_for(processor: TrmProcessor) -> list[dict[str, str]]:
    """Puzzles to begin with, where this repository has some of the kind."""
    kind = (processor.rule, processor.width)
    if kind == ("sudoku", 9):
        return json.loads((WEB / "models.json").read_text(encoding="utf-8"))[0]["examples"]
    if kind not in BUNDLED:
        return []
    puzzles = load_puzzles(*BUNDLED[kind], "test").first(3)
    texts = processor.batch_decode(puzzles.input_ids)
    return [{"name": f"Example {number}", "puzzle": text} for number, text in enumerate(texts, 1)]


def find_model(name: str, with_weights: bool) -> DemoModel:
    """A folder, or a model of the Hub at the commit its main branch stands at.

    Raises:
        UserError: there is none, or it is no TRM with its processor.
    """
    folder = Path(name)
    if folder.is_dir():
        model = DemoModel(folder.resolve().name, None, folder)
        for file in MODEL_FILES:
            require((folder / file).is_file(), f"{folder} is no folder of a model: it has no {file}")
    else:
        require(re.fullmatch(r"[\w.-]+/[\w.-]+", name) is not None, f"{name} is no folder, and no ORG/NAME of the Hub")
        with user_errors(f"cannot read {name} from the Hub: ", HTTPError, OSError, ValueError):
            commit = HfApi().model_info(name).sha
            files = MODEL_FILES if with_weights else MODEL_FILES[:2]
            found = [hf_hub_download(name, file, revision=commit) for file in files]
        model = DemoModel(name, commit, Path(found[0]).parent)
    kind = json.loads((model.folder / MODEL_FILES[0]).read_text(encoding="utf-8")).get("model_type")
    require(kind == "trm", f"{name} is a model of type {kind}, not trm")
    return model


def build_site(models: list[DemoModel]) -> dict[str, Path | bytes]:
    """The files of the page by their path; models of the Hub stay there."""
    files: dict[str, Path | bytes] = {name: WEB / name for name in (*PAGE, *MODULES, WORKER)}
    for model in models:
        if model.commit is None:
            files |= {model.base + file: model.folder / file for file in MODEL_FILES}
    files["models.json"] = list_models(models)
    return files


def list_models(models: list[DemoModel]) -> bytes:
    return json.dumps([model.describe() for model in models], ensure_ascii=False, indent=1).encode()


def build_single_file(models: list[DemoModel]) -> str:
    """One HTML file that holds everything and opens from disk."""
    embedded = {"models.json": list_models(models)}
    for model in models:
        embedded |= {model.base + file: (model.folder / file).read_bytes() for file in MODEL_FILES}
    given = {
        "trmFiles": {path: base64.b64encode(content).decode() for path, content in embedded.items()},
        "trmWorker": joined_modules(*MODULES, WORKER),
    }
    setup = f"Object.assign(globalThis, {json.dumps(given)});".replace("</", "<\\/")
    page, style = ((WEB / name).read_text(encoding="utf-8") for name in PAGE[:2])
    parts = {
        '<link rel="stylesheet" href="style.css">': f"<style>\n{style}</style>",
        '<script type="module" src="app.js"></script>': (
            f'<script>{setup}</script>\n<script type="module">\n{joined_modules(*MODULES, "app.js")}</script>'
        ),
    }
    for old, new in parts.items():
        assert page.count(old) == 1
        page = page.replace(old, new)
    return page


def joined_modules(*names: str) -> str:
    """JavaScript modules as one script, each after those that it imports."""
    text = "\n".join((WEB / name).read_text(encoding="utf-8") for name in names)
    return re.sub(r"^export ", "", re.sub(r"^import .*;\n", "", text, flags=re.MULTILINE), flags=re.MULTILINE)


def write_files(files: dict[str, Path | bytes], folder: Path) -> None:
    for path, content in files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content if isinstance(content, bytes) else content.read_bytes())


def push_space(files: dict[str, Path | bytes], repo_id: str, sdk: str) -> str:
    """One commit to a Space, which is made if it is not there; none if nothing has changed. The address."""
    with user_errors("", HubError):
        repository = HubRepository(repo_id, "space")
        repository.create(space_sdk=sdk)
        repository.commit(files, f"Publish {repo_id.split('/')[1]}", repository.head())
    return repository.url


def build_web(args: argparse.Namespace) -> None:
    models = [find_model(name, with_weights=bool(args.single_file)) for name in args.model]
    names = [model.name for model in models]
    require(len(set(names)) == len(names), f"two models have one name: {', '.join(names)}")
    if args.single_file:
        Path(args.single_file).write_text(build_single_file(models), encoding="utf-8")
        print(f"wrote {args.single_file}: open it in a browser")
        return
    files = build_site(models)
    if args.output_dir:
        write_files(files, Path(args.output_dir))
        print(f"wrote {args.output_dir}: python -m http.server -d {args.output_dir}")
    else:
        on_hub = json.dumps([model.name for model in models if model.commit])
        files["README.md"] = PAGE_CARD.format(models=on_hub).encode()
        print(push_space(files, args.push_to_hub, "static"))


def build_space(args: argparse.Namespace) -> None:
    models = [find_model(name, with_weights=False) for name in args.model]
    pinned = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line)
    on_hub = json.dumps([model.name for model in models if model.commit])
    settings = {
        "models": {model.name: model.name if model.commit else model.base for model in models},
        "examples": [[one["puzzle"], model.name] for model in models for one in model.describe()["examples"]],
    }
    files: dict[str, Path | bytes] = {
        "app.py": SPACE / "app.py",
        "requirements.txt": "".join(f"{name}=={pinned[name]}\n" for name in SPACE_NEEDS).encode(),
        "README.md": SPACE_CARD.format(models=on_hub, gradio=pinned["gradio"]).encode(),
        "space.json": json.dumps(settings, ensure_ascii=False, indent=1).encode(),
        **{f"modeling_trm/{path.name}": path for path in sorted((ROOT / "modeling_trm").glob("*.py"))},
    }
    for model in models:
        if model.commit is None:
            files |= {model.base + file: model.folder / file for file in MODEL_FILES}
    if args.output_dir:
        write_files(files, Path(args.output_dir))
        print(f"wrote {args.output_dir}: python {args.output_dir}/app.py")
    else:
        print(push_space(files, args.push_to_hub, "gradio"))


def main(command_line: list[str]) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m demos.build", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    demos = parser.add_subparsers(required=True, metavar="DEMO")
    web = demos.add_parser("web", help="the page that runs the model in the visitor's browser")
    space = demos.add_parser("space", help="a Gradio app that runs it on a server")
    for demo, build in ((web, build_web), (space, build_space)):
        demo.add_argument(
            "--model", action="append", required=True, help="a folder, or ORG/NAME of the Hub; may be repeated"
        )
        where = demo.add_mutually_exclusive_group(required=True)
        where.add_argument("--output_dir", help="folder for the files")
        where.add_argument("--push_to_hub", metavar="ORG/NAME", help="a Space, in one commit")
        if demo is web:
            where.add_argument("--single_file", help="one HTML file that holds all")
        demo.set_defaults(build=build)
    args = parser.parse_args(command_line)
    with user_errors("", OSError):
        args.build(args)


if __name__ == "__main__":
    run_command(main)
