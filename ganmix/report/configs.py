"""What differs between the groups' configs."""

from collections.abc import Sequence
from typing import Any

from ganmix.config.method import method_keys
from ganmix.report.groups import Group

ABSENT = "\N{EN DASH}"


def config_differences(groups: Sequence[Group]) -> list[tuple[str, list[str]]]:
    """Return the dotted keys that differ between groups, each with the groups' values.

    A section that some groups lack is one row, in words. What is no difference is said by `method_keys`.
    """
    rows: list[tuple[str, list[str]]] = []

    def compare(key: str, values: Sequence[Any]) -> None:
        if all(isinstance(value, dict) for value in values):
            for name in dict.fromkeys(name for value in values for name in value):
                compare(f"{key}.{name}" if key else name, [value.get(name, ABSENT) for value in values])
        elif any(value != values[0] for value in values):
            words = [group.first.mixing.get(key) for group in groups]
            rows.append((key, [word or _text(value) for word, value in zip(words, values, strict=True)]))

    compare("", [method_keys(group.config) for group in groups])
    return rows


def _text(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case float():
            return f"{value:g}"
        case list():
            return f"[{', '.join(map(_text, value))}]"
        case {"name": name, **others}:
            return ", ".join([str(name), *(f"{key} {_text(item)}" for key, item in others.items())])
        case dict():
            return ", ".join(f"{key} {_text(item)}" for key, item in value.items())
    return str(value)
