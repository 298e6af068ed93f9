# make demo | table6-small | classifiers-small | test | lint | tensorboard. Each sets up what it needs in .venv first; a second call is
# instant.
PY ?= python3
BIN := .venv/bin
JOBS ?= 3

.PHONY: demo table6-small classifiers-small test lint tensorboard clean

demo: .venv/.run
	$(BIN)/python train_gan.py configs/gan/quickstart.yaml

# Table 6 and a low-data setting on Fashion-MNIST, three seeds each: hours on two cores. The same command goes on after
# a stop.
table6-small: .venv/.run
	set -e; for setting in small small_1000; do \
	    for config in configs/gan/$$setting/*.yaml; do \
	        $(BIN)/python train_gan.py $$config --seeds 0 1 2 --jobs $(JOBS); \
	    done; \
	    $(BIN)/python -m ganmix report runs/$$setting --output runs/$$setting; \
	done

# Supervised and semi-supervised classifiers on Fashion-MNIST, five seeds each: half an hour on two cores.
classifiers-small: .venv/.run
	set -e; for setting in small small_semi; do \
	    for config in configs/classifier/$$setting/*.yaml; do \
	        $(BIN)/python train_classifier.py $$config --seeds 0 1 2 3 4 --jobs $(JOBS); \
	    done; \
	    $(BIN)/python -m ganmix evaluate runs/classifier_$$setting; \
	    $(BIN)/python -m ganmix report runs/classifier_$$setting; \
	done

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
