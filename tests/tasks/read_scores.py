"""A run's scores, as tests compare them."""

from ganmix.engine.run_folder import RunFolder


def read_scores(run):
    """The measurements of a run as mappings, with each score's value by its label."""
    return [
        {"step": each.step, "checkpoint": each.checkpoint, "scores": each.values, "protocol": each.protocol}
        for each in RunFolder(run).measurements
    ]
