"""Networks as sequences of named stages. Needs only torch; the tables by name are in `gan` and `classifier`."""

from ganmix.networks.staged import Staged, is_affine, resolve_stages, staged

__all__ = ["Staged", "is_affine", "resolve_stages", "staged"]
