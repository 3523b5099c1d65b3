# SPDX-License-Identifier: Apache-2.0
# Every target sets the machine up first; done steps are skipped. `make help` lists them.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup build demo dataset eval metaworld test lint format bench bench-sim bench-bus clean \
	distclean

ENV := . ./env.sh;

# What a target takes: make demo CHECKPOINT=folder-or-hub-id TASK="…" SEED=1 ARGS="--no-video".
# The recipes read TASK from the environment, whatever characters it has.
CHECKPOINT ?=
TASK ?=
KIND ?=
SEED ?=
EPISODES ?=
OUTPUT ?=
ARGS ?=
# make bench SECONDS=20
SECONDS ?= 60
# make bench-sim NODES="--episodes 3"
NODES ?=
export TASK
SEEDED = $(if $(CHECKPOINT),--checkpoint "$(CHECKPOINT)") $(if $(SEED),--seed "$(SEED)")
PLAYED = $(SEEDED) $(if $(EPISODES),--episodes "$(EPISODES)")
GIVEN = $(SEEDED) $(if $(TASK),--task "$$TASK")
SIMULATED = $(PLAYED) $(if $(TASK),--task "$$TASK") $(if $(KIND),--kind "$(KIND)")
DATASET_KIND = $(or $(KIND),pick_place)
$(if $(N),$(error N is called EPISODES now))
$(if $(OUT),$(error OUT is called OUTPUT now))

help: ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup:
	@scripts/setup.sh

build: setup ## Set this machine up and build the workspace (happens by itself before the others)
	@echo "Built. Next: make demo, or '. ./env.sh' for a shell with the nodes."

demo: setup ## Simulated SO-100 obeys a sentence over real ROS 2 (CHECKPOINT=, TASK=, SEED=, ARGS=)
	@$(ENV) exec smolvla demo $(GIVEN) $(ARGS)

dataset: setup ## Record the simulation's expert as a LeRobot dataset (KIND=, EPISODES=, OUTPUT=, SEED=, ARGS=)
	@$(ENV) exec smolvla dataset simulate --kind "$(DATASET_KIND)" \
		--episodes "$(or $(EPISODES),50)" --output "$(or $(OUTPUT),data/$(DATASET_KIND))" \
		$(if $(SEED),--seed "$(SEED)") $(ARGS)

eval: setup ## How often a checkpoint does a task in the simulation (KIND=, TASK=, EPISODES=, SEED=, CHECKPOINT=)
	@$(ENV) exec smolvla eval $(SIMULATED) $(ARGS)

metaworld: setup ## How often a checkpoint does tasks of the benchmark Meta-World (EPISODES=, SEED=, CHECKPOINT=)
	@exec scripts/with_metaworld.sh python -m smolvla_metaworld.evaluate $(PLAYED) $(ARGS)

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

bench: setup ## Measure inference (LEROBOT_PYTHON=, ARGS="--busy --isa avx2") and the executor (SECONDS=60)
	@$(ENV) test -e bench_out/checkpoint/model.safetensors || \
		smolvla bench inference --make-checkpoint bench_out/checkpoint
	@$(ENV) smolvla bench inference --checkpoint bench_out/checkpoint \
		--json bench_out/inference.json $(ARGS)
	@$(ENV) exec smolvla bench executor --checkpoint bench_out/checkpoint --seconds $(SECONDS)

bench-sim: setup ## Synchronous against asynchronous in the simulation (KIND=, EPISODES=, CHECKPOINT=, NODES=)
	@$(ENV) smolvla bench sim --output bench_out $(SIMULATED) $(ARGS)
	@$(ENV) exec smolvla bench sim-nodes --output bench_out $(NODES)

bench-bus: setup ## Time the servo bus beside Feetech's SDK, at the servo emulator (ARGS=)
	@$(ENV) exec smolvla bench bus $(ARGS)

clean: ## Remove what was built and recorded; keep .venv
	@rm -rf build install log demo_out bench_out
	@find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
	@echo "Removed build, install, log, demo_out, bench_out."

distclean: clean ## clean, and remove .venv too
	@rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis
	@echo "Removed .venv and the caches."
