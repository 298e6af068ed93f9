"""YAML file and command line to a checked config, every problem at once and with its line; and back to YAML.

YAML is 1.2 (ruamel), not PyYAML's 1.1: `1e-4` is a number, `off` is text, a key given twice is an error.
"""

import difflib
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails, to_json
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, ScalarNode, SequenceNode
from ruamel.yaml.representer import SafeRepresenter

from ganmix.config.base import Section
from ganmix.config.help import Node, alternatives, in_words, schema_tree, shown
from ganmix.errors import UserError

M = TypeVar("M", bound=Section)


def read_config(model: type[M], path: Path, overrides: Sequence[str] = ()) -> M:
    """Reads and checks a YAML file.

    Args:
        model: the top-level section.
        path: the file.
        overrides: `section.key=value` from the command line, the value in YAML; later ones win.

    Raises:
        UserError: with all problems, each with its line or override, in the order of the file.
    """
    document = _read_file(path)
    for order, override in enumerate(overrides, start=1):
        document = _override(document, order, override)
    # As JSON, because strict validation of JSON lets a list be a tuple: YAML has no tuples either.
    as_json = to_json(document.plain(), inf_nan_mode="constants")
    try:
        return model.model_validate_json(as_json)
    except ValidationError as error:
        schema = schema_tree(model)
        found = [details for details in error.errors(include_url=False) if not _is_consequence(details)]
        problems = [problem for details in found for problem in _problems(document, schema, details)]
    # Each member of a union reports: the same line, kept once.
    in_order = sorted(dict.fromkeys(problems), key=lambda problem: problem.place[:2])
    raise UserError([f"{problem.place.label}: {problem.text}" for problem in in_order])


def dump_config(config: Section) -> str:
    """The config with all its defaults as YAML text that reads back to an equal config."""
    yaml = YAML(typ="safe", pure=True)
    yaml.Representer = _Representer
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    yaml.width = 10**6  # One key, one line: run folders get compared with diff.
    text = io.StringIO()
    yaml.dump(config.model_dump(mode="json"), text)
    return text.getvalue()


def differences(old: Section, new: Section) -> list[tuple[str, Any, Any]]:
    """The dotted keys whose values differ, with the old and the new value; None where a key is absent.

    A section that is there on one side only is one entry.
    """
    return tree_differences(old.model_dump(), new.model_dump())


def tree_differences(old: dict[str, Any], new: dict[str, Any]) -> list[tuple[str, Any, Any]]:
    """What `differences` finds, between two configs as mappings."""

    def compare(key: str, before: Any, after: Any) -> Iterator[tuple[str, Any, Any]]:
        if isinstance(before, dict) and isinstance(after, dict):
            for name in before | after:
                yield from compare(f"{key}.{name}" if key else name, before.get(name), after.get(name))
        elif before != after:
            yield key, before, after

    return list(compare("", old, new))


class _Place(NamedTuple):
    """Where a value was written: source 0 is the file, source n the n-th override."""

    source: int
    line: int
    label: str


@dataclass(frozen=True)
class _Value:
    """A YAML value that knows its place; `content` is a scalar, or a list or mapping of further values."""

    place: _Place
    content: Any

    def plain(self) -> Any:
        match self.content:
            case dict():
                return {key: value.plain() for key, value in self.content.items()}
            case list():
                return [value.plain() for value in self.content]
        return self.content

    def find(self, keys: Sequence[str | int]) -> "_Value":
        """The value under the keys or, where there is none, the innermost one around it."""
        value = self
        for key in keys:
            content = value.content
            inside = dict(enumerate(content)) if isinstance(content, list) else content
            if not isinstance(inside, dict) or key not in inside:
                break
            value = inside[key]
        return value

    def assign(self, keys: Sequence[str], value: "_Value") -> "_Value":
        """A copy with another value under the keys. A copy, as `*alias` puts one value in several spots."""
        if not keys:
            return value
        section = self if isinstance(self.content, dict) else _Value(value.place, {})
        below = section.content.get(keys[0], _Value(value.place, None))
        return _Value(section.place, section.content | {keys[0]: below.assign(keys[1:], value)})


def _read_file(path: Path) -> _Value:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not text in UTF-8") from error
    document = _parse(text, lambda line: _Place(0, line, f"{path}:{line}"))
    if document.content is None:
        raise UserError(f"{path}: empty, expected a mapping of keys to values")
    if not isinstance(document.content, dict):
        got = _got(document.plain())
        raise UserError(f"{document.place.label}: expected a mapping of keys to values, {got}")
    return document


def _override(document: _Value, order: int, override: str) -> _Value:
    place = _Place(order, 0, f"command line {override!r}")
    dotted, equals, text = override.partition("=")
    keys = dotted.split(".")
    if not equals or not all(keys):
        raise UserError(f"{place.label}: expected section.key=value")
    return document.assign(keys, _parse(text, lambda line: place))


def _parse(text: str, place: Callable[[int], _Place]) -> _Value:
    """Parses a YAML text; `place` makes a place of a line number."""
    yaml = YAML(typ="safe", pure=True)

    def build(node: Any, line: int) -> _Value:
        content: Any
        match node:
            case MappingNode():
                content = {}
                for key, value in node.value:
                    if not isinstance(key, ScalarNode):
                        raise MarkedYAMLError(problem="a key must be text", problem_mark=key.start_mark)
                    content[key.value] = build(value, key.start_mark.line)
            case SequenceNode():
                content = [build(item, item.start_mark.line) for item in node.value]
            case ScalarNode():
                content = yaml.constructor.construct_object(node)
        return _Value(place(line + 1), content)

    try:
        root = yaml.compose(text)
        if root is None:
            return _Value(place(1), None)
        # Refuses repeated keys and merges `<<` into the nodes; its values have lost their lines.
        yaml.constructor.construct_document(root)
        return build(root, root.start_mark.line)
    except MarkedYAMLError as error:
        raise UserError(f"{place(error.problem_mark.line + 1).label}: {error.problem}") from error
    except (YAMLError, ValueError) as error:  # A control character, or a tag that doesn't fit: `!!int x`.
        reason = getattr(error, "reason", error)
        line = text.count("\n", 0, getattr(error, "position", 0)) + 1
        raise UserError(f"{place(line).label}: {reason}") from error


class _Problem(NamedTuple):
    place: _Place
    text: str


_EXPECTED = {  # By pydantic's error type; in the other cases the type in words says it.
    "model_type": "a section",
    "dict_type": "a section",
    "int_type": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "greater_than": "a number greater than {gt:g}",
    "greater_than_equal": "a number of at least {ge:g}",
    "less_than": "a number less than {lt:g}",
    "less_than_equal": "a number of at most {le:g}",
}


def _problems(document: _Value, schema: Node, error: ErrorDetails) -> list[_Problem]:
    """One of pydantic's errors in our words and with its place; of a section's own check, each line is a problem."""
    kind, value, context = error["type"], error["input"], error.get("ctx", {})
    # Of an unknown or missing key the section is of interest: its place, or what it does know.
    about_key = kind in ("missing", "extra_forbidden")
    path, node = _walk(schema, error["loc"][:-1] if about_key else error["loc"])
    if kind in ("value_error", "assertion_error"):
        text = error["msg"].partition(", ")[2]
    elif len(alternatives(node)) > 1:
        text = f"expected {in_words(node)}, {_got(document.find(path).plain())}"
    elif kind == "missing":
        text = f"missing key '{error['loc'][-1]}'"
    elif kind == "extra_forbidden":
        path, known = (*path, error["loc"][-1]), list(node["properties"])
        text = "unknown key" + (_did_you_mean(path[-1], known) or f"; known here: {', '.join(known)}")
    elif kind == "union_tag_not_found":
        text = f"missing key {context['discriminator']}"
    elif kind == "union_tag_invalid":
        key = node["discriminator"]["propertyName"]
        path, text = (*path, key), _expected_one_of(list(node["discriminator"]["mapping"]), value[key])
    elif kind == "literal_error":
        text = _expected_one_of(node["enum"] if "enum" in node else [node["const"]], value)
    else:
        text = f"expected {_EXPECTED.get(kind, in_words(node)).format(**context)}, {_got(value)}"
    prefix = ".".join(map(str, path))
    texts = text.splitlines() if kind == "value_error" else [text]
    return [_Problem(document.find(path).place, f"{prefix}: {text}" if prefix else text) for text in texts]


def _is_consequence(error: ErrorDetails) -> bool:
    """Whether pydantic calls a list too short for its bad items alone, each of which it reports too."""
    return error["type"] == "too_short" and len(error["input"]) >= error["ctx"]["min_length"]


def _walk(schema: Node, loc: Sequence[str | int]) -> tuple[tuple[str | int, ...], Node]:
    """Follows pydantic's error location to its keys in the file and the schema of what is there.

    Tags of unions are in the location, but not in the file. A union without tags ends the walk: its members'
    errors make one problem of the whole value.
    """
    path: tuple[str | int, ...] = ()
    node = schema
    for part in loc:
        members = alternatives(node)
        if len(members) > 1:
            break
        match members[0]:
            case {"discriminator": {"mapping": mapping}}:
                node = mapping[part]
                continue
            case {"properties": children} | {"prefixItems": children}:
                node = children[part]
            case {"items": child} | {"additionalProperties": child}:
                node = child
        path = (*path, part)
    members = alternatives(node)
    return path, members[0] if len(members) == 1 else node


def _expected_one_of(choices: Sequence[Any], value: Any) -> str:
    *others, last = map(shown, choices)
    names = f"{', '.join(others)} or {last}" if others else last
    return f"expected {names}, {_got(value)}{_did_you_mean(value, choices)}"


def _did_you_mean(word: Any, known: Sequence[Any]) -> str:
    near = difflib.get_close_matches(str(word), map(str, known), n=1, cutoff=0.7)
    return f"; did you mean '{near[0]}'?" if near else ""


def _got(value: Any) -> str:
    text = shown(value)
    return f"got {text}" if len(text) <= 60 else f"got {text[:57]}..."


class _Representer(SafeRepresenter):
    """Lists of scalars on one line, and no anchors for values that happen to be shared."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_list(self, data: list[Any]) -> Any:
        nested = any(isinstance(item, list | dict) for item in data)
        return self.represent_sequence("tag:yaml.org,2002:seq", data, flow_style=not nested)


_Representer.add_representer(list, _Representer.represent_list)
