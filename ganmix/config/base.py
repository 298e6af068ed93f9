"""What every config model is made of: the section and the number types with their ranges."""

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field


class Section(BaseModel):
    """A mapping in the config file: unknown keys and loose types (`steps: true`, `lr: '1'`) are errors.

    A union of sections is told apart by a key of each, `Field(discriminator="name")`.
    """

    model_config = ConfigDict(
        strict=True, extra="forbid", frozen=True, validate_default=True, use_attribute_docstrings=True
    )


def _integral(value: Any) -> Any:
    # YAML reads 1e4 as a float; as a number of steps it is meant as a whole number.
    return int(value) if isinstance(value, float) and value.is_integer() else value


Count = Annotated[int, Field(gt=0), BeforeValidator(_integral)]
"""A whole number of at least 1; 1e4 will do."""

CountOrZero = Annotated[int, Field(ge=0), BeforeValidator(_integral)]
"""A whole number of at least 0; 1e4 will do."""

PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
"""A finite number greater than 0."""
