"""What a run shows of itself: metrics.jsonl, TensorBoard events, sample grids, progress on the terminal."""

import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from ganmix.config.base import Section
from ganmix.config.reader import dump_config
from ganmix.engine.pictures import square_grid, write_png
from ganmix.engine.progress import TrainingProgress
from ganmix.engine.run_folder import RunFolder
from ganmix.errors import DivergedError


class Recorder:
    """Keeps each step's values on their device until they are logged, so that no step waits for the device.

    Args:
        folder: of the run.
        step: the step the run starts or resumes from; TensorBoard drops its later points.
        total_steps, images_per_step: for the progress bar and the speed.
        state: what `state_dict` returned at `step`, for a resumed run.
    """

    def __init__(
        self,
        folder: RunFolder,
        step: int,
        total_steps: int,
        images_per_step: int,
        state: Mapping[str, Any] | None = None,
    ):
        self.folder = folder
        self.writer = SummaryWriter(str(folder.path), purge_step=step + 1 if step else None)
        self._progress = TrainingProgress(step, total_steps, images_per_step)
        self._images_per_step = images_per_step
        self._names: list[str] = state["names"] if state else []
        # Of each step the tensors on a device, as one tensor there, and all values, None standing for these.
        self._pending: list[tuple[Tensor, list[float | None]]] = []
        if state:
            self._pending = [(row, [None] * len(row)) for row in state["pending"]]
        self._since = (time.perf_counter(), step)

    def push(self, record: Mapping[str, Tensor | float]) -> None:
        """Take the values of one more step: 0-d tensors, at most one device's beside the CPU's, and numbers.

        The names are the same in each step.
        """
        self._names = list(record)
        away: list[Tensor] = []
        here: list[float | None] = []
        for value in record.values():
            if isinstance(value, Tensor) and not value.is_cpu:
                away.append(value.detach().float())
                here.append(None)
            else:
                here.append(float(value.detach() if isinstance(value, Tensor) else value))
        self._pending.append((torch.stack(away) if away else torch.empty(0), here))

    def flush(self, step: int, **extra: float) -> None:
        """Write the means since the last flush, as of `step`, and `extra` values beside them.

        Raises:
            DivergedError: see `check`.
        """
        values = self.check(step)
        now, (then, first) = time.perf_counter(), self._since
        speed = (step - first) * self._images_per_step / (now - then)
        means = dict(zip(self._names, values.mean(0).tolist(), strict=True)) | extra | {"images_per_second": speed}
        self.scalars(step, means)
        self.folder.add_metrics(step, means)
        self._progress.losses = {name: value for name, value in means.items() if name.startswith("loss")}
        self._pending = []
        self._since = (now, step)

    def check(self, step: int) -> Tensor:
        """Return the values of all steps since the last flush, up to `step`: float32 [steps, names] on the CPU.

        Raises:
            DivergedError: one is not a finite number; the message names the first, and its step.
        """
        values = torch.tensor([_read(*values) for values in self._pending]).view(len(self._pending), len(self._names))
        bad = ~values.isfinite()
        if bad.any():
            row, column = bad.nonzero()[0].tolist()
            bad_step = step - len(values) + row + 1
            raise DivergedError(f"{self._names[column]} is {values[row, column]} at step {bad_step}")
        return values

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Add a point to TensorBoard curves."""
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)

    def show_config(self, config: Section) -> None:
        """Write the resolved config as text into TensorBoard."""
        self.writer.add_text("config", f"```yaml\n{dump_config(config)}```")

    def show_result(self, config: Section, scores: Mapping[str, float]) -> None:
        """Write the config's values and the result into TensorBoard's HParams table."""
        hparams = {key: value for key, value in _leaves(config.model_dump()) if value is not None}
        self.writer.add_hparams(hparams, {f"final/{name}": value for name, value in scores.items()}, run_name=".")

    def grid(self, step: int, name: str, images: Tensor, file: str | None = None) -> None:
        """Show images, float [-1, 1] [N, C, H, W], as a grid in TensorBoard and as a PNG in samples/.

        Args:
            file: name of the PNG; None: NAME_STEP.png.
        """
        grid = square_grid(images)
        self.writer.add_image(name, grid, step)
        write_png(self.folder.samples / (file or f"{name}_{step:06d}.png"), grid)

    def progress(self, step: int) -> None:
        """Show that `step` steps are done."""
        self._progress.show(step)

    def state_dict(self) -> dict[str, Any]:
        """Return the values not written yet, so that the curves of a resumed run lack none."""
        return {"names": self._names, "pending": [torch.tensor(_read(*values)) for values in self._pending]}

    def restart_clock(self, step: int) -> None:
        """Leave what happened since the last flush out of the speed."""
        self._since = (time.perf_counter(), step)

    def close(self) -> None:
        """Finish the files and the bar."""
        self.writer.close()
        self._progress.close()


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value if isinstance(value, bool | int | float | str | None) else str(value)


def _read(away: Tensor, here: Iterable[float | None]) -> list[float]:
    """Return the values of a step; waits for the device."""
    read = iter(away.tolist())
    return [next(read) if value is None else value for value in here]
