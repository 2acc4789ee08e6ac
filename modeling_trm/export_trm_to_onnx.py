# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""One supervision step of a model as ONNX:

python -m modeling_trm.export_trm_to_onnx --model trm-sudoku --output_dir runs/onnx

`onnx/model.onnx` (float32) and `onnx/model_fp16.onnx` (weights in half the bytes, arithmetic in float32) map
`input_ids`, `answer_state`, `latent_state` and, of a model with puzzle embeddings, `puzzle_ids` to `logits`,
`halt_logits`, `new_answer_state` and `new_latent_state`, for any batch. The caller begins with the initial states and
repeats the step. Where these are one fixed vector each, the metadata of the file hold it as `initial_answer_state` and
`initial_latent_state`, JSON lists; one with random initial states begins with normal numbers, cut at two deviations.
"""

import argparse
import json
import logging
import sys
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import AutoModel

from .modeling_trm import TrmForPuzzleSolving

OUTPUTS = ("logits", "halt_logits", "new_answer_state", "new_latent_state")
OPSET = 20
LEAST_HALVED = 64  # numbers of a tensor; smaller ones would gain nothing in float16


class SupervisionStep(nn.Module):
    """What the graph computes."""

    def __init__(self, model: TrmForPuzzleSolving):
        super().__init__()
        self.solver = model

    def forward(
        self, input_ids: Tensor, answer_state: Tensor, latent_state: Tensor, puzzle_ids: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        """See the module's text; the states are [batch, prefix + seq, hidden], with symbols one more axis."""
        embeds = self.solver.model.embed(input_ids, puzzle_ids)
        answer_state, latent_state = self.solver.model.recur(embeds, answer_state, latent_state)
        return (
            self.solver.answer_logits(answer_state),
            self.solver.halt_logits(answer_state),
            answer_state,
            latent_state,
        )


def example_inputs(model: TrmForPuzzleSolving, batch: int = 2, seed: int = 0) -> dict[str, Tensor]:
    """Random questions and the states they begin with, by the names of the graph's inputs."""
    config, generator = model.config, torch.Generator().manual_seed(seed)
    answer_state, latent_state = model.model.initial_states(batch, torch.arange(batch))
    inputs = {
        "input_ids": torch.randint(config.vocab_size, (batch, config.seq_len), generator=generator),
        "answer_state": answer_state.contiguous(),
        "latent_state": latent_state.contiguous(),
    }
    if config.num_puzzle_tokens:
        inputs["puzzle_ids"] = torch.randint(config.num_puzzles, (batch,), generator=generator)
    return inputs


def export_to_onnx(model: TrmForPuzzleSolving, folder: Path) -> list[Path]:
    """Writes both files.

    Args:
        model: in float32; it is put into eval mode and set to eager attention.
        folder: of the files; `onnx/` by the convention of the Hub.

    Returns:
        Their paths.

    Raises:
        ImportError: the extra `onnx` is not installed.
    """
    import onnx

    model.eval().set_attn_implementation("eager")
    inputs = example_inputs(model)
    batch = torch.export.Dim("batch", min=1, max=2**20)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch about its own exporter
        program = torch.onnx.export(
            SupervisionStep(model),
            (),
            kwargs=inputs,
            input_names=list(inputs),
            output_names=list(OUTPUTS),
            dynamic_shapes={name: {0: batch} for name in inputs},
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    graph = program.model_proto
    remove_debugging_text(graph)
    share_weights(graph)
    if not model.config.random_initial_states:
        for name in ("initial_answer_state", "initial_latent_state"):
            entry = graph.metadata_props.add()
            entry.key, entry.value = name, json.dumps(getattr(model.model, name).tolist())
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / "model.onnx", folder / "model_fp16.onnx"]
    onnx.checker.check_model(graph, full_check=True)
    onnx.save(graph, paths[0])
    halve_weights(graph)
    onnx.checker.check_model(graph, full_check=True)
    onnx.save(graph, paths[1])
    return paths


def remove_debugging_text(model) -> None:
    """What the exporter writes for whoever debugs it: source lines, shapes, names of nodes; half of a small file."""
    graph = model.graph
    del graph.value_info[:], graph.metadata_props[:], model.metadata_props[:]
    for item in (*graph.node, *graph.input, *graph.output, *graph.initializer):
        item.doc_string = ""
        del item.metadata_props[:]
    for node in graph.node:
        node.name = ""


def share_weights(model) -> None:
    """Keeps one of equal weights: the exporter turns each matrix anew for every time it is applied."""
    first: dict[tuple, str] = {}
    same: dict[str, str] = {}
    weights = list(model.graph.initializer)
    del model.graph.initializer[:]
    for weight in weights:
        content = (weight.data_type, tuple(weight.dims), weight.raw_data)
        kept = first.setdefault(content, weight.name) if weight.raw_data else weight.name
        same[weight.name] = kept
        if kept == weight.name:
            model.graph.initializer.append(weight)
    for node in model.graph.node:
        for place, name in enumerate(node.input):
            node.input[place] = same.get(name, name)


def halve_weights(model) -> None:
    """Stores the weights in float16 and casts them back where the graph begins: the arithmetic stays float32."""
    from onnx import TensorProto, helper, numpy_helper

    casts = []
    for weight in model.graph.initializer:
        numbers = numpy_helper.to_array(weight)
        if weight.data_type == TensorProto.FLOAT and numbers.size >= LEAST_HALVED:
            name, stored = weight.name, f"{weight.name}.half"
            weight.CopyFrom(numpy_helper.from_array(numbers.astype("float16"), stored))
            casts.append(helper.make_node("Cast", [stored], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def main(command_line: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m modeling_trm.export_trm_to_onnx", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--model", required=True, help="a folder, or ORG/NAME of the Hub")
    parser.add_argument("--output_dir", required=True, type=Path, help="folder to write: config.json and onnx/")
    args = parser.parse_args(command_line)
    try:
        model = AutoModel.from_pretrained(args.model, dtype=torch.float32, use_safetensors=True)
        if not isinstance(model, TrmForPuzzleSolving):
            raise ValueError(f"{args.model} is a model of type {model.config.model_type}, not trm")
        paths = export_to_onnx(model, args.output_dir / "onnx")
    except (OSError, ValueError, ImportError) as error:
        hint = ": pip install trm-transformers[onnx]" if isinstance(error, ImportError) else ""
        print(f"error: {' '.join(str(error).split())}{hint}", file=sys.stderr)
        sys.exit(2)
    model.config.save_pretrained(args.output_dir)
    for path in paths:
        print(f"wrote {path} ({path.stat().st_size:,} bytes)")


if __name__ == "__main__":
    main()
