# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""What is compiled and cast computes what the plain model does; the loop waits for the device once in a step."""

import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partialmethod
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from functorch.compile import make_boxed_func, min_cut_rematerialization_partition
from hypothesis import given
from hypothesis import strategies as st
from tiny import tiny_batch, tiny_model
from torch import nn
from torch._dynamo.backends.common import aot_autograd
from torch._dynamo.utils import counters
from torch.fx import GraphModule
from torch.utils._python_dispatch import TorchDispatchMode

from datasets_scripts.tasks import load_puzzles
from modeling_trm import TrmConfig, TrmForPuzzleSolving, TrmModel
from training import devices
from training.arguments import TrainArguments, build_config, model_arguments, parse_arguments
from training.batches import TrainBatches, first_carry
from training.devices import build_autocast, check_launcher, compile_step
from training.embeddings.table import sum_of_equals
from training.errors import UserError
from training.guards import check_step
from training.meters import Meters
from training.optimizers import ExponentialAverage, build_optimizers
from training.state import TrainState

ROOT = Path(__file__).parent.parent


FAULTS = """
import resource
import torch
from training.devices import keep_freed_memory

def faults(tensors):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(tensors):
        torch.zeros(2**24)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

returned = faults(5)
keep_freed_memory()
print(returned, min(faults(5) for _ in range(6)))  # the heap may have to grow a few times before all fits
"""


@pytest.mark.skipif(sys.platform != "linux", reason="a setting of glibc")
def test_freed_memory_serves_the_next_tensor() -> None:
    """A page that the system had to give anew counts as a fault."""
    returned, kept = subprocess.check_output([sys.executable, "-c", FAULTS], text=True).split()
    assert int(kept) < int(returned) / 4


@given(ids=st.lists(st.integers(0, 6), min_size=1, max_size=20))
def test_rows_of_equal_ids_are_summed(ids: list[int]) -> None:
    ids = torch.tensor(ids)
    rows = torch.randn(len(ids), 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = torch.stack([rows[ids == number].sum(0) for number in ids])
    torch.testing.assert_close(sum_of_equals(ids, rows), expected)


@pytest.mark.parametrize(("recipe", "width"), [("sudoku_fast", 9), ("maze_fast", 30)])
def test_the_length_of_the_fast_recipes_is_what_tensor_cores_want(recipe: str, width: int) -> None:
    """Registers fill it up to a multiple of 8 elements of 16 bits."""
    command = ["--config", str(ROOT / "recipes" / f"{recipe}.yaml")]
    _, model_args = parse_arguments([TrainArguments, model_arguments()], command)
    given = {"vocab_size": 10, "seq_len": width**2, "answer_token_ids": None, "num_puzzles": 1}
    config = build_config(model_args, grid_width=width, **given)
    assert (config.prefix_len + config.seq_len) % 8 == 0


class NoWaiting(TorchDispatchMode):
    """Refuses whatever makes the host wait for the device, or the device for the host's memory.

    On the device `meta`, which has no numbers, reading one fails by itself; copies from the host are caught here.
    """

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if func in (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default):
            devices = {tensor.device.type for tensor in (*args, result) if isinstance(tensor, torch.Tensor)}
            assert len(devices) == 1, f"{func} copies between {devices}"
        return result


@pytest.mark.parametrize(
    ("task", "loss", "optimizer"),
    [
        ("sudoku", {"loss_type": "softmax", "label_smoothing": 0.1}, {"use_muon": True}),
        ("sudoku", {"loss_type": "stablemax"}, {"optimizer": "adamw"}),
        ("arc-agi", {"loss_type": "stablemax"}, {}),
    ],
)
def test_a_training_step_waits_for_the_device_once(
    task: str, loss: dict[str, Any], optimizer: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Batch, forward, backward, optimizers, average and meters: the one value read is whether all is finite."""
    config, count = {"sudoku": ("mini-6x6", 1000), "arc-agi": ("arc-agi-1", 5)}[task]
    puzzles = load_puzzles(task, config, "train", num_augmentations=count)
    processor, device = puzzles.format.processor, torch.device("meta")
    monkeypatch.setattr(TrmModel, "compute_dtype", torch.float32)  # autocast does not know the device
    model_config = TrmConfig(
        vocab_size=len(processor["vocabulary"]), seq_len=processor["height"] * processor["width"], hidden_size=16,
        num_attention_heads=2, num_puzzles=puzzles.num_puzzles, num_puzzle_tokens=1, deep_cycles=2, latent_cycles=1,
        answer_token_ids=puzzles.format.answer_tokens, **loss,
        random_initial_states=True, state_damping=0.1,
    )  # fmt: skip
    with device:
        model = TrmForPuzzleSolving(model_config).train()
    args = TrainArguments(batch_size=16, ema_warmup=True, **optimizer)
    read = []
    accelerator = SimpleNamespace(device=device, num_processes=1, process_index=0, reduce=read.append)
    state = TrainState(model, ExponentialAverage(model, 0.9, True), build_optimizers(model, args))
    batches = TrainBatches(puzzles, args, model_config, accelerator)
    meters, carry = Meters(accelerator), None
    for step in range(2):
        with NoWaiting():
            output = model(**batches(step), carry=carry)
            output.loss.backward()
            gradient_norm, _ = check_step(output.loss, model, accelerator)
            nn.utils.clip_grads_with_norm_(model.model.network.parameters(), 1.0, gradient_norm)
            for optimizer in state.optimizers:
                optimizer.step()
            state.average.update_parameters(model)
            meters.update(output, gradient_norm)
        model.zero_grad()
        carry = output.carry
    assert [flag.shape for flag in read] == [(), ()]


def whole_step_case(num_puzzle_tokens: int, **fields: Any) -> tuple[TrmForPuzzleSolving, dict[str, torch.Tensor]]:
    """A model to train, with a table of puzzle embeddings or without, and a batch for it."""
    fields |= {"num_puzzle_tokens": num_puzzle_tokens, "num_register_tokens": 1}
    fields |= {} if num_puzzle_tokens else {"puzzle_embedding_size": 0}
    batch = dict(zip(("input_ids", "puzzle_ids", "labels"), tiny_batch(4), strict=True))
    model = tiny_model(dtype=torch.float32, **fields).train()
    if num_puzzle_tokens:
        model.model.puzzle_embeddings.sparse = True  # as in training
    return model, batch | {"min_steps": torch.zeros(4)}


@pytest.mark.parametrize("num_puzzle_tokens", [0, 2])
def test_a_whole_step_compiles_as_on_a_gpu(num_puzzle_tokens: int) -> None:
    """Also with puzzle embeddings, whose sparse gradient Inductor refuses."""
    gradients = []
    for compiled in (False, True):
        model, batch = whole_step_case(num_puzzle_tokens)
        if compiled:
            compile_step(model, whole=True)
        counters.clear()
        output = model(**batch, carry=first_carry(model, batch))
        first = counters["stats"]["unique_graphs"]
        model(**batch, carry=output.carry).loss.backward()
        assert counters["stats"]["unique_graphs"] == first  # the second step is the first one's code
        gradients.append([p.grad.to_dense() for p in model.parameters() if p.grad is not None])
    for plain, ours in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, plain, atol=1e-4, rtol=1e-3)


def test_random_states_are_the_same_compiled() -> None:
    model, batch = whole_step_case(0, random_initial_states=True)
    keys = torch.arange(4)
    plain = model.model.initial_states(4, keys)
    compile_step(model, whole=False)
    for ours, eager in zip(model.model.initial_states(4, keys), plain, strict=True):
        torch.testing.assert_close(ours, eager, atol=0, rtol=1e-6)
    assert model(**batch, noise_key=keys).loss.isfinite()


@pytest.fixture
def autocast(monkeypatch: pytest.MonkeyPatch) -> Callable[[], AbstractContextManager]:
    """The loop's, on any CPU."""
    monkeypatch.setattr(devices, "has_bf16", lambda device: True)
    return build_autocast(TrainArguments(), SimpleNamespace(device=torch.device("cpu")))


class Casts(TorchDispatchMode):
    """Counts how often each parameter of a model is cast."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.names = {parameter.data_ptr(): name for name, parameter in model.named_parameters()}
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten._to_copy.default and args[0].data_ptr() in self.names:
            self.counts[self.names[args[0].data_ptr()]] += 1
        return func(*args, **(kwargs or {}))


def test_autocast_casts_a_weight_once_per_step(autocast: Callable[[], AbstractContextManager]) -> None:
    """Those of all products, and however often the recursion uses them, with gradient or without."""
    model, batch = whole_step_case(2)
    carry, products = None, [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    for _ in range(2):
        with Casts(model) as casts, autocast():
            carry = model(**batch, carry=carry or first_carry(model, batch)).carry
        assert casts.counts == dict.fromkeys([*(f"{name}.weight" for name in products), "halt_head.bias"], 1)


@pytest.mark.parametrize(("num_puzzle_tokens", "num_graphs"), [(0, 1), (2, 5)])
def test_a_whole_step_is_few_graphs_that_cast_a_weight_once(
    num_puzzle_tokens: int, num_graphs: int, autocast: Callable[[], AbstractContextManager], monkeypatch
) -> None:
    """Compiled up to what Inductor would generate code for: the recursion in one graph, the same at every step.

    Puzzle embeddings stay outside and cut the step into pieces.
    """
    traced: list[GraphModule] = []  # by Dynamo
    lowered: list[GraphModule] = []  # forward and backward, with autocast's casts

    def lower(module: GraphModule, inputs: list[torch.Tensor]) -> Callable:
        lowered.append(module)
        return make_boxed_func(module.forward)

    def record(module: GraphModule, inputs: list[torch.Tensor]) -> Callable:
        traced.append(module)
        return aot_autograd(fw_compiler=lower, partition_fn=min_cut_rematerialization_partition)(module, inputs)

    torch.compiler.reset()
    monkeypatch.setattr(nn.Module, "compile", partialmethod(nn.Module.compile, backend=record))
    model, batch = whole_step_case(num_puzzle_tokens, token_mixer="mlp")
    compile_step(model, whole=True)
    carry = None
    for _ in range(3):
        with autocast():
            output = model(**batch, carry=carry or first_carry(model, batch))
        output.loss.backward()
        carry = output.carry
    assert len(traced) == num_graphs

    updates = model.config.deep_cycles * (model.config.latent_cycles + 1)
    products = [isinstance(module, nn.Linear) for module in model.model.network.modules()].count(True)
    uses = [sum(node.target is nn.functional.linear for node in module.graph.nodes) for module in traced]
    assert max(uses) >= updates * products

    casts = [
        node for module in lowered for node in module.graph.nodes if node.target is torch.ops.aten._to_copy.default
    ]
    inputs = [
        node.args[0] for node in casts if node.args[0].op == "placeholder" and node.kwargs["dtype"] == torch.bfloat16
    ]
    assert products < len(inputs) == len(set(inputs)) <= len(list(model.parameters()))


@pytest.mark.parametrize(
    ("variable", "value", "name"),
    [
        ("ACCELERATE_USE_FSDP", "true", "FSDP"),
        ("ACCELERATE_USE_DEEPSPEED", "true", "DeepSpeed"),
        ("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "4", "gradient accumulation"),
        ("ACCELERATE_DYNAMO_BACKEND", "INDUCTOR", "Dynamo (inductor)"),
        ("ACCELERATE_MIXED_PRECISION", "fp16", "mixed_precision=fp16, the command or its recipe for bf16"),
    ],
)
def test_what_the_launcher_asks_for_and_nobody_does_is_refused_by_name(monkeypatch, variable, value, name) -> None:
    for other in ("ACCELERATE_MIXED_PRECISION", "ACCELERATE_DYNAMO_BACKEND"):
        monkeypatch.setenv(other, "no")
    check_launcher("bf16")
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    check_launcher("bf16")
    monkeypatch.setenv(variable, value)
    with pytest.raises(UserError, match=re.escape(name)):
        check_launcher("bf16")


@pytest.mark.process
def test_a_recipe_and_a_launcher_that_disagree_end_in_one_line(tmp_path: Path) -> None:
    for script in ("train.py", "eval.py"):
        words = ["--mixed_precision", "fp16", "--num_processes", "1", "--num_machines", "1", "--dynamo_backend", "no"]
        words += [script, *(["--config", "recipes/sudoku_6x6.yaml"] if script == "train.py" else ["--model", "m"])]
        words += ["--task", "sudoku"] if script == "eval.py" else ["--output_dir", str(tmp_path / "run")]
        command = [sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--quiet", *words]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
        assert "mixed_precision=fp16" in line
        assert done.returncode != 0 and not (tmp_path / "run").exists()
