"""The libraries that results depend on, and their versions."""

from importlib.metadata import version

LIBRARIES = ("torch", "torchvision", "torch_fidelity", "numpy")


def library_versions() -> dict[str, str]:
    """Return the installed version of each, by its name."""
    return {name: version(name) for name in LIBRARIES}
