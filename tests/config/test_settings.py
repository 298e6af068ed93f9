"""What a lower layer gets from a config section, and what is refused where their keys part."""

from dataclasses import dataclass
from functools import partial

import pytest

from ganmix.config.base import Count, Section
from ganmix.config.settings import settings_from


class Training(Section):
    steps: Count = 3
    lr: float = 0.1
    drops: tuple[int, ...] = (1, 2)


@dataclass(frozen=True)
class Descent:
    lr: float
    drops: list[int]
    ema: float | None = None


def scaled(factor: float, *, lr: float, steps: int = 1) -> float:
    return factor * lr * steps


def test_dataclass_gets_the_sections_values_and_those_beside_it():
    found = settings_from(Training(lr=0.5), Descent, but=["steps"], drops=[4], ema=None)
    assert found == Descent(0.5, [4])


def test_function_gets_its_arguments_from_the_section():
    assert settings_from(Training(lr=0.5), partial(scaled, 2.0), but=["drops"]) == 3.0


@pytest.mark.parametrize(
    ("but", "more", "problem"),
    [
        ([], {"ema": None}, "Descent from Training: takes no steps$"),
        (["steps", "lr"], {"ema": None}, "lacks lr$"),
        (["steps"], {}, "lacks ema$"),  # a default is no value
        (["steps"], {"ema": None, "l1": 0.0}, "takes no l1$"),
        (["steps", "epochs"], {"ema": None}, "excludes the unknown epochs$"),
        (["lr"], {}, "takes no steps; lacks ema, lr$"),
    ],
)
def test_key_that_one_side_lacks_is_named(but: list[str], more: dict[str, float], problem: str):
    with pytest.raises(TypeError, match=problem):
        settings_from(Training(), Descent, but=but, **more)
