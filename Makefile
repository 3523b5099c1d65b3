# SPDX-License-Identifier: Apache-2.0
# Every target sets the machine up first; done steps are skipped. `make help` lists them.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup build demo dataset eval test lint format bench bench-sim bench-bus clean distclean

ENV := . ./env.sh;

# make demo CHECKPOINT=folder-or-hub-id TASK="…" SEED=1 ARGS="--no-video"
CHECKPOINT ?=
TASK ?=
SEED ?=
ARGS ?=
# make bench SECONDS=20
SECONDS ?= 60
# make eval TASK=reach N=100 SEED=1000 CHECKPOINT=folder-or-hub-id ARGS="--policy scripted"
N ?=
EVAL_ARGS = $(if $(CHECKPOINT),--checkpoint "$(CHECKPOINT)") $(if $(TASK),--task "$(TASK)") \
	$(if $(N),--episodes "$(N)") $(if $(SEED),--seed "$(SEED)") $(ARGS)
# make dataset TASK=pick_place N=50 OUT=data/pick_place ARGS="--cameras top,wrist --grounding"
OUT ?=
DATASET_TASK = $(or $(TASK),pick_place)
DATASET_ARGS = --task "$(DATASET_TASK)" --episodes "$(or $(N),50)" \
	--out "$(or $(OUT),data/$(DATASET_TASK))" $(if $(SEED),--seed "$(SEED)") $(ARGS)
# make bench-sim TASK=reach N=20 CHECKPOINT=folder-or-hub-id ARGS="--quick" NODES="--seeds 3"
NODES ?=
BENCH_SIM_ARGS = $(if $(CHECKPOINT),--checkpoint "$(CHECKPOINT)") \
	$(if $(TASK),--task "$(TASK)") $(if $(N),--seeds "$(N)") \
	$(if $(SEED),--first-seed "$(SEED)") $(ARGS)
DEMO_ARGS = $(if $(CHECKPOINT),--checkpoint "$(CHECKPOINT)") $(if $(TASK),--task "$(TASK)") \
	$(if $(SEED),--seed "$(SEED)") $(ARGS)

help: ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup:
	@scripts/setup.sh

build: setup ## Set this machine up and build the workspace (happens by itself before the others)
	@echo "Built. Next: make demo, or '. ./env.sh' for a shell with the nodes."

demo: setup ## Simulated SO-100 obeys a sentence over real ROS 2 (CHECKPOINT=, TASK=, SEED=, ARGS=)
	@$(ENV) exec python -m smolvla_bringup.demo $(DEMO_ARGS)

dataset: setup ## Record the simulation's expert as a LeRobot dataset (TASK=, N=, OUT=, SEED=, ARGS=)
	@$(ENV) exec python -m smolvla_sim.demonstrations.record_dataset $(DATASET_ARGS)

eval: setup ## How often a checkpoint does a task in the simulation (TASK=, N=, SEED=, CHECKPOINT=)
	@$(ENV) exec python -m smolvla_sim.evaluate $(EVAL_ARGS)

test: setup ## Run all tests, C++ and Python (ARGS= goes to pytest and leaves the C++ ones out)
	@$(if $(ARGS),,scripts/test_cpp.sh)
	@$(ENV) exec python -m pytest $(ARGS)

lint: setup ## ruff, mypy and clang-format over the whole workspace
	@$(ENV) ruff check . && ruff format --check . && mypy src scripts
	@files="$$(git ls-files '*.cpp' '*.hpp')"; \
	if [ -n "$$files" ]; then .venv/bin/clang-format --dry-run --Werror $$files; fi
	@echo "lint: clean"

format: setup ## Format the sources
	@$(ENV) ruff check --fix --exit-zero -q . && ruff format .
	@files="$$(git ls-files '*.cpp' '*.hpp')"; \
	if [ -n "$$files" ]; then .venv/bin/clang-format -i $$files; fi

bench: setup ## Measure inference and the executor's timing here (LEROBOT_PYTHON=, SECONDS=60)
	@mkdir -p bench_out
	@$(ENV) test -e bench_out/checkpoint/model.safetensors || \
		python -m smolvla_policy.bench_inference --make-checkpoint bench_out/checkpoint
	@$(ENV) python -m smolvla_policy.bench_inference --checkpoint bench_out/checkpoint \
		--json bench_out/inference.json $(ARGS)
	@$(ENV) python -m smolvla_bringup.bench.executor --checkpoint bench_out/checkpoint \
		--seconds $(SECONDS)

bench-sim: setup ## Synchronous against asynchronous in the simulation (TASK=, N=, CHECKPOINT=, NODES=)
	@$(ENV) python -m smolvla_sim.bench --out bench_out $(BENCH_SIM_ARGS)
	@$(ENV) python -m smolvla_bringup.bench.sim_nodes --out bench_out $(NODES)

bench-bus: setup ## Time the servo bus beside Feetech's SDK, at the servo emulator (ARGS=)
	@$(ENV) exec python scripts/bench_bus.py $(ARGS)

clean: ## Remove what was built and recorded; keep .venv
	@rm -rf build install log demo_out bench_out
	@find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
	@echo "Removed build, install, log, demo_out, bench_out."

distclean: clean ## clean, and remove .venv too
	@rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis
	@echo "Removed .venv and the caches."
