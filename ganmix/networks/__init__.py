"""Networks as rows of stages; `gan` and `classifier` have those known by name. Light: torch alone."""

from ganmix.networks.staged import Staged, is_affine, resolve_stages, staged

__all__ = ["Staged", "is_affine", "resolve_stages", "staged"]
