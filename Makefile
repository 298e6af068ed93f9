# make demo | test | lint | tensorboard. Each sets up what it needs in .venv first; a second call is instant.
PY ?= python3
BIN := .venv/bin

.PHONY: demo test lint tensorboard clean

demo: .venv/.run
	$(BIN)/python train_gan.py configs/gan/quickstart.yaml

test: .venv/.dev
	$(BIN)/pytest

lint: .venv/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

tensorboard: .venv/.run
	$(BIN)/tensorboard --logdir runs

clean:
	rm -rf .venv

.venv/bin/python:
	@$(PY) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PY=python3.12")'
	$(PY) -m venv .venv

.venv/.run: requirements.txt | .venv/bin/python
	@echo "setting up .venv (PyTorch is large: some minutes the first time)"
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.txt
	@$(BIN)/python -c 'import torch, torchvision, torch_fidelity'
	@touch $@

.venv/.dev: requirements.txt requirements-dev.txt pyproject.toml | .venv/bin/python
	@echo "setting up .venv (PyTorch is large: some minutes the first time)"
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --editable .
	@$(BIN)/python -c 'import torch, torchvision, torch_fidelity'
	@touch $@ .venv/.run
