"""The config models in words, for `--help` and for error messages, and as JSON schema, for editors.

Everything is read off the JSON schema pydantic derives: it alone has types, ranges, defaults and docstrings
in one place, however they were written in the model.
"""

import json
import shutil
import textwrap
from collections.abc import Iterator
from typing import Any, NamedTuple

from pydantic.json_schema import GenerateJsonSchema

from ganmix.config.base import Section

Node = dict[str, Any]
"""A JSON schema without references, as from `schema_tree`."""


def describe(model: type[Section]) -> str:
    """The keys of a config, one entry each: dotted name, type in words, default and description.

    Where a section comes in several kinds, a key that not all have carries them: `penalty.of  (name: r1)`.
    Wrapped to the terminal, which is taken to be at least 80 wide.
    """
    rows = list(_rows(schema_tree(model)))
    width = max(80, shutil.get_terminal_size().columns)
    indent = min(2 + max(len(row.key) for row in rows), width // 2)
    margin = " " * indent
    lines = []
    for row in rows:
        text = row.type
        text += f" ({row.default})" if row.default else ""
        text += f": {row.description}" if row.description else ""
        start = row.key.ljust(indent)
        if len(row.key) + 2 > indent:
            lines.append(row.key)
            start = margin
        lines.append(textwrap.fill(text, width, initial_indent=start, subsequent_indent=margin))
    return "\n".join(lines) + "\n"


def json_schema(model: type[Section]) -> str:
    """The JSON schema of a config, by which editors complete and check YAML files."""
    return json.dumps(model.model_json_schema(), indent=2, ensure_ascii=False) + "\n"


def schema_tree(model: type[Section]) -> Node:
    """The JSON schema with every reference replaced by what it refers to, the tags of unions included."""
    schema = model.model_json_schema(schema_generator=_InOrder)
    definitions = schema.pop("$defs", {})

    def inline(node: Any) -> Any:
        match node:
            case {"$ref": reference, **rest}:
                return inline(reference) | rest
            case dict():
                return {key: inline(value) for key, value in node.items()}
            case list():
                return [inline(item) for item in node]
            case str() if node.startswith("#/$defs/"):
                return inline(definitions[node.removeprefix("#/$defs/")])
        return node

    tree: Node = inline(schema)
    return tree


def alternatives(node: Node) -> list[Node]:
    """What a value may be apart from null: one node, or several for a union that no key tells apart."""
    return [member for member in node.get("anyOf", [node]) if member.get("type") != "null"]


def in_words(node: Node) -> str:
    """The type of a value: `whole number > 0`, `one of 'fake', 'soft'`, `list of text or null`."""
    match node:
        case {"anyOf": members}:
            return " or ".join(in_words(member) for member in members)
        case {"enum": choices}:
            return "one of " + ", ".join(shown(choice) for choice in choices)
        case {"const": value}:
            return shown(value)
        case {"prefixItems": items}:
            return "[" + ", ".join(in_words(item) for item in items) + "]"
        case {"type": "array"}:
            item = in_words(node["items"])
            least, most = node.get("minItems"), node.get("maxItems")
            if least is not None and least == most:
                return "[" + ", ".join([item] * least) + "]"
            kind = f"list of ({item})" if "anyOf" in node["items"] else f"list of {item}"
            kind += f", at least {least}" if least else ""
            return kind + (f", at most {most}" if most is not None else "")
        case {"type": "object", "additionalProperties": dict(values)}:
            return "mapping of names to " + in_words(values)
        case {"type": "integer" | "number" as kind}:
            bounds = {"exclusiveMinimum": ">", "minimum": ">=", "exclusiveMaximum": "<", "maximum": "<="}
            limits = [f"{sign} {node[bound]:g}" for bound, sign in bounds.items() if bound in node]
            name = "whole number" if kind == "integer" else "number"
            return " ".join([name, " and ".join(limits)]).rstrip()
    simple = {"boolean": "true or false", "string": "text", "null": "null"}
    return simple.get(node.get("type", "object"), "section")


def shown(value: Any) -> str:
    """A value as one would write it in the file, on one line; text is quoted."""
    match value:
        case None | bool():
            return json.dumps(value)
        case list() | tuple():
            return "[" + ", ".join(shown(item) for item in value) + "]"
        case dict():
            return "{" + ", ".join(f"{key}: {shown(item)}" for key, item in value.items()) + "}"
    return repr(value)


class _InOrder(GenerateJsonSchema):
    """Keeps the order of the models, where pydantic sorts the kinds of a section by name."""

    def sort(self, value: Node, parent_key: str | None = None) -> Node:
        return value


class _Row(NamedTuple):
    key: str
    type: str
    default: str
    description: str


def _rows(section: Node, prefix: str = "") -> Iterator[_Row]:
    """The rows of the keys of a section and of the sections in it."""
    for name, node in section["properties"].items():
        key = prefix + name
        default = _default(node, required=name in section.get("required", []))
        yield _Row(key, in_words(node), default, node.get("description", ""))
        for member in alternatives(node):
            if "properties" in member:
                yield from _rows(member, f"{key}.")
            elif "discriminator" in member:
                yield from _rows_of_kinds(member["discriminator"], f"{key}.")


def _rows_of_kinds(discriminator: Node, prefix: str) -> Iterator[_Row]:
    """The rows of a section that comes in several kinds; what kinds have in common comes once."""
    tag_key, members = discriminator["propertyName"], discriminator["mapping"]
    tags_of_docstring: dict[str, list[str]] = {}
    tags_of_row: dict[_Row, list[str]] = {}
    for tag, member in members.items():
        tags_of_docstring.setdefault(member.get("description", ""), []).append(tag)
        keys = {name: child for name, child in member["properties"].items() if name != tag_key}
        for row in _rows(member | {"properties": keys}, prefix):
            tags_of_row.setdefault(row, []).append(tag)
    kinds = [f"{', '.join(tags)}: {text}" for text, tags in tags_of_docstring.items() if text]
    yield _Row(prefix + tag_key, in_words({"enum": list(members)}), "required", " ".join(kinds))
    for row, tags in tags_of_row.items():
        others = [tag for tag in members if tag not in tags]
        which = ", ".join(tags) if len(tags) <= len(others) else "not " + ", ".join(others)
        yield row._replace(key=f"{row.key}  ({tag_key}: {which})") if others else row


def _default(node: Node, *, required: bool) -> str:
    if required:
        return "required"
    if "default" not in node:  # Made by a function.
        return ""
    children = node.get("properties")
    if children and node["default"] == {name: child.get("default") for name, child in children.items()}:
        return ""  # The rows of the keys say it.
    return f"default {shown(node['default'])}"
