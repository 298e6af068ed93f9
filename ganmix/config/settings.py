"""Settings of a lower layer from a config section; a key that one of them lacks is an error, never a default."""

from collections.abc import Callable, Collection
from inspect import signature
from typing import Any, TypeVar

from ganmix.config.base import Section

T = TypeVar("T")


def settings_from(section: Section, into: Callable[..., T], *, but: Collection[str] = (), **more: Any) -> T:
    """Make a lower layer's settings from a config section.

    Args:
        into: a dataclass or a function; each of its arguments must come from `section` or `more`, defaults or not.
        but: keys of the section that `into` does not take; it must take the rest.
        more: arguments that the section lacks, or has in another form.

    Raises:
        TypeError: names the keys without an argument and the arguments without a key.
    """
    keys = {name: value for name, value in section if name not in but} | more
    arguments = signature(into).parameters
    problems = {
        "takes no": sorted(keys.keys() - arguments),
        "lacks": sorted(arguments.keys() - keys),
        "excludes the unknown": sorted(set(but) - type(section).model_fields.keys()),
    }
    if any(problems.values()):
        found = "; ".join(f"{problem} {', '.join(names)}" for problem, names in problems.items() if names)
        raise TypeError(f"{getattr(into, '__name__', into)} from {type(section).__name__}: {found}")
    return into(**keys)
