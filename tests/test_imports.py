"""The order of imports in CONTRIBUTING.md is the true one: a room imports rooms of lower rows only."""

import ast
import re
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parents[1]
HEAD = "Imports go one way, downwards in this list:\n\n| place |"
FILES = [*sorted((ROOT / "ganmix").rglob("*.py")), ROOT / "train_gan.py", ROOT / "train_classifier.py"]


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {name_of(path): path for path in FILES}


def imports(path: Path) -> Iterator[str]:
    """Yield the modules of ours that a file imports, in functions and for type checkers too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in MODULES)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: relative import"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                if full in MODULES or node.module in MODULES:
                    yield full if full in MODULES else str(node.module)


IMPORTS = {name: set(imports(path)) for name, path in MODULES.items()}


def rows() -> list[list[str]]:
    """The places of each row of the table, from the top."""
    table = (ROOT / "CONTRIBUTING.md").read_text().partition(HEAD)[2].partition("\n\n")[0]
    return [re.findall(r"`(.+?)`", line.split("|")[1]) for line in table.splitlines()[2:]]


PLACES = {place: depth for depth, row in enumerate(rows()) for place in row}


def place_of(name: str) -> str | None:
    """The innermost place of the table that a module lies in."""
    file = str(MODULES[name].relative_to(ROOT))
    return max((place for place in PLACES if file == place or file.startswith(place)), key=len, default=None)


def test_the_table_is_read_and_every_place_is_there():
    assert len(rows()) > 10
    assert [place for place in PLACES if not (ROOT / place).exists()] == []


def test_every_module_with_code_has_a_place():
    homeless = [name for name in MODULES if place_of(name) is None]
    assert [name for name in homeless if IMPORTS[name] or MODULES[name].name != "__init__.py"] == []


def test_imports_go_downwards():
    found: dict[str, set[str]] = {}
    for name, imported in IMPORTS.items():
        for other in imported:
            here, there = place_of(name), place_of(other)
            if here is not None and there is not None and here != there and PLACES[here] >= PLACES[there]:
                found.setdefault(name, set()).add(other)
    assert found == {}


def test_no_imports_go_round():
    TopologicalSorter(IMPORTS).prepare()
