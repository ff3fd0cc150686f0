# make run: the default recipe, from dump files to report. make test: the tests.
PYTHON ?= python3
RECIPE ?= flows/recipes/smoke.yaml
BIN := .venv/bin
INSTALLED := .venv/.installed

.DEFAULT_GOAL := help
.PHONY: help setup run test test-all lint recipe-page bench-dumps bench-evals planted planted-off bench-reward bench-ppo bench-plan bench-load

help:
	@echo "make setup        install into .venv, and nothing else"
	@echo "make run          install, then run $(RECIPE) from raw input to report"
	@echo "make test         install, then run the tests"
	@echo "make test-all     the slow tests too, and the servers' (PostgreSQL is needed)"
	@echo "make lint         ruff, mypy, import-linter, sqlfluff, hadolint"
	@echo "make recipe-page  docs/recipe.md from the recipe's help texts"
	@echo "make bench-dumps  dumps, threads and labels against bare tools, peers and themselves"
	@echo "make planted      the report against a world of known truth (an hour); planted-off: its controls"
	@echo "make bench-evals  evaluation against lm-evaluation-harness"
	@echo "make bench-reward training a reward model against TRL's RewardTrainer"
	@echo "make bench-plan   knowing what is stale against DVC"
	@echo "make bench-load   what stays true under load and when things break"
	@echo "make bench-ppo    a step of PPO against the last PPOTrainer of TRL"

setup: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
		|| { echo "KARMA needs Python 3.11 or newer: install it, or name one with make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null \
		|| { echo "This Python lacks venv: install it (Debian, Ubuntu: apt install python3-venv)"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $(INSTALLED)

run: setup
	$(BIN)/karma run $(RECIPE)

test: setup
	$(BIN)/python -m pytest

test-all: setup
	$(BIN)/python -m pytest -m 'not stack and not gpu'
	$(BIN)/python -m pytest -m stack

bench-evals: setup
	$(BIN)/python -m tests.bench.evals

planted: setup
	$(BIN)/karma run flows/recipes/planted.yaml --workspace build/planted/on

# One world for each effect switched off, with the rewards that its answer needs; without fit, jokes
# that lie would be all that is welcome.
PLANTED_OFF := $(BIN)/karma run flows/recipes/planted.yaml \
	--set 'policy.exposures=[reddit]' --set 'evals.benchmarks=[fit, truthfulqa]'
planted-off: setup
	$(PLANTED_OFF) --workspace build/planted/fit-off --set world.fit=0 --set world.joke_false=0 \
		--set 'reward.variants={context: {}, random: {}, length: {}}'
	$(PLANTED_OFF) --workspace build/planted/joke_false-off --set world.joke_false=0 \
		--set 'reward.variants={context: {}, random: {}}'
	$(PLANTED_OFF) --workspace build/planted/metadata-off --set world.metadata=0 \
		--set 'reward.variants={metadata: {}, context: {}, random: {}}' \
		--set 'policy.variants=[random]' --set 'seeds=[0, 1, 2]'
	$(PLANTED_OFF) --workspace build/planted/length-off --set world.length=0 \
		--set 'reward.variants={length: {}, random: {}}' --set 'policy.variants=[random]' \
		--set 'seeds=[0]'

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/sqlfluff lint sql
	$(BIN)/hadolint docker/Dockerfile

recipe-page: setup
	$(BIN)/python -m karma.reference > docs/recipe.md

bench-reward: setup
	$(BIN)/python -m tests.bench.reward

bench-dumps: setup
	$(BIN)/python -m tests.bench.dumps

bench-ppo: setup
	$(BIN)/python -m tests.bench.ppo

bench-load: setup
	$(BIN)/python -m tests.bench.load

bench-plan: setup
	$(BIN)/python -m tests.bench.plan
