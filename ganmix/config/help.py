"""The config models in words, for `--help` and error messages, and as JSON schema, for editors.

Pydantic's JSON schema has their types, ranges, defaults and docstrings.
"""

import json
import shutil
import textwrap
from collections.abc import Iterator
from typing import Any, NamedTuple

from pydantic.json_schema import GenerateJsonSchema

from ganmix.config.base import Section

Schema = dict[str, Any]
"""A JSON schema without references, see `schema_tree`."""


def describe(model: type[Section]) -> str:
    """Return an entry for each key of a config: dotted name, type in words, default and description.

    A key that only some kinds of its section have names these kinds: `penalties.N.of  (name: r1)`. Lines are wrapped at
    the width of the terminal, but at 80 or more.
    """
    rows = list(_rows(schema_tree(model)))
    width = max(80, shutil.get_terminal_size().columns)
    indent = min(2 + max(len(row.key) for row in rows), width // 2)
    text = ""
    for row in rows:
        body = textwrap.fill(row.words, width, initial_indent=" " * indent, subsequent_indent=" " * indent)
        fits = len(row.key) + 2 <= indent
        text += f"{row.key.ljust(indent)}{body[indent:]}\n" if fits else f"{row.key}\n{body}\n"
    return text


def json_schema(model: type[Section]) -> str:
    """Return the JSON schema of a config, by which editors complete and check YAML files."""
    return json.dumps(model.model_json_schema(), indent=2, ensure_ascii=False) + "\n"


def schema_tree(model: type[Section]) -> Schema:
    """Return the JSON schema with each reference replaced by its definition, in the tags of unions too."""
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

    return {key: inline(value) for key, value in schema.items()}


def alternatives(node: Schema) -> list[Schema]:
    """Return the types of a value except null: one, or all of a union without a discriminator."""
    return [member for member in node.get("anyOf", [node]) if member.get("type") != "null"]


def in_words(node: Schema) -> str:
    """Return the type of a value in words: `whole number > 0`, `one of 'fake', 'soft'`, `list of text or null`."""
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
            kind = f"list of ({item})" if "anyOf" in node["items"] else f"list of {item}"
            return kind + (f", at least {node['minItems']}" if node.get("minItems") else "")
        case {"type": "object", "additionalProperties": dict(values)}:
            return "mapping of names to " + in_words(values)
        case {"type": "integer" | "number" as kind}:
            bounds = {"exclusiveMinimum": ">", "minimum": ">=", "exclusiveMaximum": "<", "maximum": "<="}
            limits = [f"{sign} {node[bound]:g}" for bound, sign in bounds.items() if bound in node]
            name = "whole number" if kind == "integer" else "number"
            return f"{name} {' and '.join(limits)}".rstrip()
    simple = {"boolean": "true or false", "string": "text", "null": "null"}
    return simple.get(node.get("type", "object"), "section")


def shown(value: Any) -> str:
    """Return a value as YAML on one line; text is quoted."""
    match value:
        case None | bool():
            return json.dumps(value)
        case list() | tuple():
            return "[" + ", ".join(shown(item) for item in value) + "]"
        case dict():
            return "{" + ", ".join(f"{key}: {shown(item)}" for key, item in value.items()) + "}"
    return repr(value)


class _InOrder(GenerateJsonSchema):
    """Keeps the order of the model, where pydantic sorts by name."""

    def sort(self, value: Schema, parent_key: str | None = None) -> Schema:
        return value


class _Row(NamedTuple):
    key: str
    words: str


def _rows(section: Schema, prefix: str = "") -> Iterator[_Row]:
    """Yield the rows of a section's keys and of its sections' keys."""
    for name, node in section["properties"].items():
        key = prefix + name
        default = "required" if name in section.get("required", []) else _default(node)
        description = f": {node['description']}" if "description" in node else ""
        yield _Row(key, in_words(node) + (f" ({default})" if default else "") + description)
        for member in alternatives(node):
            if "discriminator" in member.get("items", {}):
                member, key = member["items"], f"{key}.N"
            if "properties" in member:
                yield from _rows(member, f"{key}.")
            elif "discriminator" in member:
                yield from _rows_of_kinds(member["discriminator"], f"{key}.")


def _rows_of_kinds(discriminator: Schema, prefix: str) -> Iterator[_Row]:
    """Yield the rows of a section of several kinds; equal rows of several kinds become one."""
    tag_key, members = discriminator["propertyName"], discriminator["mapping"]
    tags_of_docstring: dict[str, list[str]] = {}
    tags_of_row: dict[_Row, list[str]] = {}
    for tag, member in members.items():
        tags_of_docstring.setdefault(member.get("description", ""), []).append(tag)
        keys = {name: child for name, child in member["properties"].items() if name != tag_key}
        for row in _rows(member | {"properties": keys}, prefix):
            tags_of_row.setdefault(row, []).append(tag)
    kinds = " ".join(f"{', '.join(tags)}: {text}" for text, tags in tags_of_docstring.items() if text)
    yield _Row(prefix + tag_key, in_words({"enum": list(members)}) + " (required)" + (f": {kinds}" if kinds else ""))
    for row, tags in tags_of_row.items():
        others = [tag for tag in members if tag not in tags]
        which = ", ".join(tags) if len(tags) <= len(others) else "not " + ", ".join(others)
        yield row._replace(key=f"{row.key}  ({tag_key}: {which})") if others else row


def _default(node: Schema) -> str:
    own = {name: child.get("default") for name, child in node.get("properties", {}).items()}
    if "default" not in node or (own and own == node["default"]):  # made by a function, or in the keys' own rows
        return ""
    return f"default {shown(node['default'])}"
