"""What is a GAN's or a classifier's: built, watched, scored, exported. A new kind is a file here and a case below."""

from ganmix.config.either import Config
from ganmix.engine.task import Task
from ganmix.engine.world import World


def task_of(config: Config, world: World | None = None) -> Task:
    """Return a run's config as a task, on its device.

    Args:
        world: the processes that share the work; None: this one is alone.

    Raises:
        UserError: the device cannot be had.
    """
    from ganmix.config.gan import GanConfig
    from ganmix.engine.device import prepare_device
    from ganmix.tasks.classifier import ClassifierTask
    from ganmix.tasks.gan import GanTask

    world = world or World()
    device = world.place(prepare_device(config.device))
    return GanTask(config, device, world) if isinstance(config, GanConfig) else ClassifierTask(config, device, world)
