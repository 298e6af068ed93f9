import json
import subprocess
import sys

import pytest

# In this order, so that what one line loads cannot hide in what a line before it loaded.
IMPORTS = [
    "ganmix.mixup",
    "ganmix.networks",
    "ganmix.data.convert",
    "ganmix.networks.gan",
    "ganmix.networks.classifier",
]
CODE = f"""
import importlib, json, sys
import torch
news = {{}}
for name in {IMPORTS}:
    before = set(sys.modules)
    importlib.import_module(name)
    news[name] = sorted(set(sys.modules) - before)
print(json.dumps(news))
"""


@pytest.fixture(scope="module")
def news() -> dict[str, list[str]]:
    """For each import, in a process that has imported torch, the modules that it loads first."""
    found: dict[str, list[str]] = json.loads(subprocess.check_output([sys.executable, "-c", CODE]))
    return found


@pytest.mark.parametrize("name", IMPORTS)
def test_import_needs_torch_alone(news: dict[str, list[str]], name: str):
    packages = {module.partition(".")[0] for module in news[name]} - {"ganmix", "torch"}
    assert name in news[name]
    assert packages <= set(sys.stdlib_module_names)


def test_mixup_imports_nothing_of_ours(news: dict[str, list[str]]):
    assert {module for module in news["ganmix.mixup"] if module.startswith("ganmix")} == {"ganmix", "ganmix.mixup"}


def test_staged_networks_come_without_those_known_by_name(news: dict[str, list[str]]):
    ours = {module for module in news["ganmix.networks"] if module.startswith("ganmix")}
    assert ours == {"ganmix.errors", "ganmix.networks", "ganmix.networks.modes", "ganmix.networks.staged"}
