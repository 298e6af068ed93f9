"""From a YAML file and overrides to a checked config, or to all their problems; and from a config to YAML.

YAML is 1.2 (ruamel), not PyYAML's 1.1: `1e-4` is a number, `off` is text, a repeated key is an error.
"""

import difflib
import io
from collections.abc import Callable, Iterator, Sequence
from functools import reduce
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails, to_json
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.representer import SafeRepresenter

from ganmix.config.base import Section
from ganmix.config.help import Schema, alternatives, in_words, schema_tree, shown
from ganmix.errors import UserError

M = TypeVar("M", bound=Section)
Keys = tuple[str, ...]  # the path to a value; the key of a list's item is its index


def read_config(model: type[M], path: Path, overrides: Sequence[str] = ()) -> M:
    """Read and check a YAML file.

    Args:
        overrides: `section.key=value` from the command line, the value in YAML; later ones win. A number as a key is
            the index of a list's item; the index after the last one appends.

    Raises:
        UserError: all problems in the order of the file, each with its line or override.
    """
    return Document(path, overrides).check(model)


def dump_config(config: Section) -> str:
    """Return the config with all its defaults as YAML text that reads back to an equal config."""
    yaml = YAML(typ="safe", pure=True)
    yaml.Representer = _Representer
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    yaml.width = 10**6  # One key, one line: run folders get compared with diff.
    text = io.StringIO()
    yaml.dump(config.model_dump(mode="json"), text)
    return text.getvalue()


class _Place(NamedTuple):
    """Where a value was written: source 0 is the file, source n the n-th override."""

    source: int
    line: int
    label: str


class Document:
    """A YAML file with overrides, unchecked; see `read_config`."""

    def __init__(self, path: Path, overrides: Sequence[str] = ()):
        try:
            text = path.read_text(encoding="utf-8")
        except OSError as error:
            raise UserError(f"{path}: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise UserError(f"{path}: not text in UTF-8") from error
        self.tree, self._written = _parse(text, lambda line: _Place(0, line, f"{path}:{line}"))
        self._overridden: list[tuple[Keys, _Place]] = []
        if self.tree is None:
            raise UserError(f"{path}: empty, expected a mapping of keys to values")
        if not isinstance(self.tree, dict):
            raise UserError(f"{self.place(()).label}: expected a mapping of keys to values, {_got(self.tree)}")
        for order, override in enumerate(overrides, start=1):
            self._override(override, _Place(order, 0, f"command line {override!r}"))

    def check(self, model: type[M]) -> M:
        """Return the document as a config."""
        # Strict validation of JSON takes a list for a tuple; YAML has no tuples either.
        as_json = to_json(self.tree, inf_nan_mode="constants")
        try:
            return model.model_validate_json(as_json)
        except ValidationError as error:
            schema = schema_tree(model)
            problems = [problem for details in error.errors() for problem in _problems(self, schema, details)]
        # Each member of a union reports the same problem.
        in_order = sorted(dict.fromkeys(problems), key=lambda problem: problem[0])
        raise UserError([f"{place.label}: {text}" for place, text in in_order])

    def place(self, keys: Keys) -> _Place:
        """Return where a value was written. An override of a key also writes a section that the file lacks."""
        in_file = any(keys == others[:-1] for others in self._written if others)
        for others, place in reversed(self._overridden):
            if others == keys[: len(others)] or (not in_file and keys == others[: len(keys)]):
                return place
        return self._written.get(keys) or self.place(keys[:-1])

    def _override(self, override: str, place: _Place) -> None:
        dotted, equals, text = override.partition("=")
        keys = tuple(dotted.split("."))
        if not equals or not all(keys):
            raise UserError(f"{place.label}: expected section.key=value")
        self.tree = _assigned(self.tree, keys, _parse(text, lambda line: place)[0])
        self._overridden.append((keys, place))


def _children(tree: Any) -> dict[str, Any]:
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    return {str(key): value for key, value in items}


def _assigned(tree: Any, keys: Keys, value: Any) -> Any:
    """Return a copy with another value under the keys; in place, it would change all uses of an alias."""
    if not keys:
        return value
    children = _children(tree)
    is_item = isinstance(tree, list) and keys[0] in {*children, str(len(children))}
    if not is_item and not isinstance(tree, dict):
        children = {}
    children[keys[0]] = _assigned(children.get(keys[0]), keys[1:], value)
    return list(children.values()) if is_item else children


def _parse(text: str, place: Callable[[int], _Place]) -> tuple[Any, dict[Keys, _Place]]:
    """Parse a YAML text into plain values and their places; `place` turns a line number into a place."""
    yaml = YAML(typ="safe", pure=True)
    try:
        root = yaml.compose(text)
        if root is None:
            return None, {(): place(1)}
        # This refuses repeated keys, and merges `<<` into the nodes.
        tree = yaml.constructor.construct_document(root)
        return tree, {keys: place(line + 1) for keys, line in _lines(root, (), root.start_mark.line)}
    except MarkedYAMLError as error:
        raise UserError(f"{place(error.problem_mark.line + 1).label}: {error.problem}") from error
    except (YAMLError, ValueError) as error:  # a control character, or a wrong tag like `!!int x`
        reason = getattr(error, "reason", error)
        line = text.count("\n", 0, getattr(error, "position", 0)) + 1
        raise UserError(f"{place(line).label}: {reason}") from error


def _lines(node: Node, keys: Keys, line: int) -> Iterator[tuple[Keys, int]]:
    """Yield the keys and the line, from 0, of each value: the line of its key or, in a list, its own."""
    yield keys, line
    if isinstance(node, MappingNode):
        for key, value in node.value:
            if not isinstance(key, ScalarNode):
                raise MarkedYAMLError(problem="a key must be text", problem_mark=key.start_mark)
            yield from _lines(value, (*keys, key.value), key.start_mark.line)
    elif isinstance(node, SequenceNode):
        for index, item in enumerate(node.value):
            yield from _lines(item, (*keys, str(index)), item.start_mark.line)


_EXPECTED = {  # by pydantic's error type; other errors name the key's type
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


def _problems(document: Document, schema: Schema, error: ErrorDetails) -> list[tuple[_Place, str]]:
    """Return an error of pydantic as problems in our words; each line of a section's own check is one problem."""
    kind, value, context = error["type"], error["input"], error.get("ctx", {})
    if kind == "too_short" and len(value) >= context["min_length"]:
        return []  # bad items made the list too short, and each is a problem of its own
    # The schema and the place of an unknown or missing key are its section's.
    about_key = kind in ("missing", "extra_forbidden")
    path, node = _walk(schema, error["loc"][:-1] if about_key else error["loc"])
    if kind in ("value_error", "assertion_error"):
        text = error["msg"].partition(", ")[2]
    elif len(alternatives(node)) > 1:
        whole = reduce(lambda tree, key: _children(tree)[key], path, document.tree)
        text = f"expected {in_words(node)}, {_got(whole)}"
    elif kind == "missing":
        text = f"missing key '{error['loc'][-1]}'"
    elif kind == "extra_forbidden":
        path, known = (*path, str(error["loc"][-1])), list(node["properties"])
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
    prefix = ".".join(path)
    texts = text.splitlines() if kind == "value_error" else [text]
    return [(document.place(path), f"{prefix}: {text}" if prefix else text) for text in texts]


def _walk(schema: Schema, loc: Sequence[str | int]) -> tuple[Keys, Schema]:
    """Turn pydantic's error location into keys of the document, and return the schema there.

    Tags of unions are in the location, but aren't keys. A union without tags ends the walk: the errors of its members
    are one problem of the whole value.
    """
    path: Keys = ()
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
        path = (*path, str(part))
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
    """Writes lists of scalars on one line, and shared values without anchors."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_list(self, data: list[Any]) -> Any:
        nested = any(isinstance(item, list | dict) for item in data)
        return self.represent_sequence("tag:yaml.org,2002:seq", data, flow_style=not nested)


_Representer.add_representer(list, _Representer.represent_list)
