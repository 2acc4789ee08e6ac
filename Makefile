# make demo: train, evaluate and watch a Sudoku solver.   make test: lint, types and the whole test suite.
# make check: the same without the tests that start processes or take long, in about a minute.
# make docs: the pages as a site in build/site; a warning is an error.
PYTHON ?= python3
BIN := .venv/bin
CORES := $(shell $(PYTHON) -c "import os; print(os.cpu_count())")
RUN := runs/sudoku_easy
TWO_WORKERS := -n 2 --dist loadfile  # a file's tests share its fixtures
# A held-out puzzle of the demo's test split.
PUZZLE := 3.4.752..15.24...3...6.31.55.83..4...13524..7.........7..8...648.54.27.149.7.....

.PHONY: demo lint check test web-kernels clean

demo: .venv/installed-demo
	@echo "== 1. Training on 1,000 real puzzles with 35-45 clues =="
	$(BIN)/accelerate launch --quiet --num_processes 1 --num_machines 1 --mixed_precision no --dynamo_backend no \
		--num_cpu_threads_per_process $(CORES) \
		train.py --config recipes/sudoku_easy.yaml --output_dir $(RUN)
	@printf "\n== 2. One held-out puzzle, step by step ==\n\n"
	$(BIN)/python -m modeling_trm --model $(RUN) $(PUZZLE)
	@printf "\n== 3. 200 of the hardest puzzles, and the model in this repository that was trained on such for longer ==\n\n"
	$(BIN)/python eval.py --model trm-sudoku --task sudoku --dataset_config hard-sample --max_examples 200
	@printf "\nNext: solve your own puzzle with\n  $(BIN)/python -m modeling_trm --model $(RUN) YOUR_81_CHARACTERS\n"
	@printf "or train on the hard puzzles, for some hours, with\n"
	@printf "  $(BIN)/torchrun --nproc_per_node 2 train.py --config recipes/sudoku.yaml\n"

lint: .venv/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

check: lint
	$(BIN)/python -m pytest $(TWO_WORKERS) -m "not process and not slow"

test: lint
	$(BIN)/python -m pytest $(TWO_WORKERS)

# The page's arithmetic: C to WebAssembly (Debian's clang and lld), as base64 that names the source it is of.
KERNELS := demos/web/kernels
web-kernels:
	clang --target=wasm32 -Oz -msimd128 -mbulk-memory -nostdlib -Wall -Werror -Wl,--no-entry -Wl,--strip-all \
		-o $(KERNELS).wasm $(KERNELS).c
	(printf '// Made by `make web-kernels` of kernels.c, SHA-256 %s.\nexport const KERNELS = "%s";\n' \
		"$$(sha256sum < $(KERNELS).c | cut -d " " -f 1)" "$$(base64 -w 0 < $(KERNELS).wasm)") > $(KERNELS).js
	rm $(KERNELS).wasm

docs: .venv/installed-docs
	$(BIN)/python -m mkdocs build --strict

# One virtual environment; a marker file per set of extras, made anew when the requirements change.
.venv/installed-%: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[$*]"
	touch $@

clean:
	rm -rf .venv runs
