import json
import re
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field

from ganmix.config.base import Count, PositiveFloat, Section
from ganmix.config.help import describe, json_schema


class Wide(Section):
    """Many channels."""

    name: Literal["wide"]
    width: Count
    """Channels of the widest stage, of which there is a very long description that cannot fit on one line."""

    bias: bool = True


class Deep(Section):
    name: Literal["deep", "deeper"]
    depth: Count = 3
    bias: bool = True


class Optimiser(Section):
    lr: PositiveFloat = 2e-4
    betas: tuple[float, float] = (0.0, 0.9)


class Config(Section):
    network: Annotated[Wide | Deep, Field(discriminator="name")] = Deep(name="deep", depth=4)
    """What is trained."""

    optimiser: Optimiser = Optimiser()
    slow: Optimiser | None = None
    faster: Optimiser = Optimiser(lr=1.0)
    labels: Literal["fake", "soft"] = "fake"
    """How mixed images are labelled."""

    stages: tuple[int | Literal["input"], ...] = (0,)
    names: Annotated[list[str], Field(min_length=1)]
    decay: float = Field(0.5, ge=0, lt=1)
    amp: bool = True
    weights: dict[str, float] = Field({})
    note: str | None = None
    seed: int


def entries(columns: int, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Key -> the rest of its entry, its lines joined."""
    monkeypatch.setenv("COLUMNS", str(columns))
    joined = re.sub(r"\n +", " ", describe(Config))
    return {key: " ".join(text.split()) for key, text in re.findall(r"(\S+(?:  \(.*?\))?)\s+(.*)\n", joined)}


@pytest.mark.parametrize("columns", [20, 80, 200])
def test_every_key_is_described(columns: int, monkeypatch: pytest.MonkeyPatch):
    assert entries(columns, monkeypatch) == {
        "network": "section (default {name: 'deep', depth: 4, bias: true}): What is trained.",
        "network.name": "one of 'wide', 'deep', 'deeper' (required): wide: Many channels.",
        "network.width  (name: wide)": "whole number > 0 (required): Channels of the widest stage, "
        "of which there is a very long description that cannot fit on one line.",
        "network.bias": "true or false (default true)",
        "network.depth  (name: not wide)": "whole number > 0 (default 3)",
        "optimiser": "section",
        "optimiser.lr": "number > 0 (default 0.0002)",
        "optimiser.betas": "[number, number] (default [0.0, 0.9])",
        "slow": "section or null (default null)",
        "slow.lr": "number > 0 (default 0.0002)",
        "slow.betas": "[number, number] (default [0.0, 0.9])",
        "faster": "section (default {lr: 1.0, betas: [0.0, 0.9]})",
        "faster.lr": "number > 0 (default 0.0002)",
        "faster.betas": "[number, number] (default [0.0, 0.9])",
        "labels": "one of 'fake', 'soft' (default 'fake'): How mixed images are labelled.",
        "stages": "list of (whole number or 'input') (default [0])",
        "names": "list of text, at least 1 (required)",
        "decay": "number >= 0 and < 1 (default 0.5)",
        "amp": "true or false (default true)",
        "weights": "mapping of names to number (default {})",
        "note": "text or null (default null)",
        "seed": "whole number (required)",
    }


def test_description_is_aligned_and_keeps_to_the_terminal(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "80")
    lines = describe(Config).splitlines()
    assert max(map(len, lines)) <= 80
    starts = {re.search(r"(?<=  )(section|one of|whole|number|list|true|text)", line) for line in lines}
    assert len({start.start() for start in starts if start}) == 1


def test_key_too_long_for_its_column_has_a_line_of_its_own(monkeypatch: pytest.MonkeyPatch):
    class Long(Section):
        a_name_that_takes_far_more_than_half_the_width_of_a_terminal: int
        """Text."""

    monkeypatch.setenv("COLUMNS", "80")
    name = next(iter(Long.model_fields))
    assert describe(Long) == f"{name}\n{' ' * 40}whole number (required): Text.\n"


def test_json_schema_is_pydantics():
    text = json_schema(Config)
    parsed: dict[str, Any] = json.loads(text)
    assert parsed == Config.model_json_schema()
    assert text.endswith("}\n")
