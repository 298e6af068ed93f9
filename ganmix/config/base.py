"""The base class of all config sections, and the number types with their ranges."""

from collections.abc import Iterator
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator


class Section(BaseModel):
    """A mapping in the config file. Unknown keys and loose types (`steps: true`, `lr: '1'`) are errors.

    A union of sections has a key that tells its members apart: `Field(discriminator="name")`.
    """

    model_config = ConfigDict(
        strict=True, extra="forbid", frozen=True, validate_default=True, use_attribute_docstrings=True
    )

    def _problems(self) -> Iterator[str]:
        """Yield what is wrong with valid values together, one line each."""
        yield from ()

    @model_validator(mode="after")
    def _check(self) -> Self:
        if problems := list(self._problems()):
            raise ValueError("\n".join(problems))
        return self


def _integral(value: Any) -> Any:
    # YAML reads 1e4 as a float.
    return int(value) if isinstance(value, float) and value.is_integer() else value


Count = Annotated[int, Field(gt=0), BeforeValidator(_integral)]
"""A whole number of at least 1; may be written as 1e4."""

CountOrZero = Annotated[int, Field(ge=0), BeforeValidator(_integral)]
"""A whole number of at least 0; may be written as 1e4."""

PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
EmaDecay = Annotated[float, Field(gt=0, lt=1)]
