"""What a run shows of itself: metrics.jsonl, TensorBoard events, sample grids, progress on the terminal."""

import io
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter
from torchvision.utils import make_grid
from tqdm import tqdm

from ganmix.engine.files import write_atomically
from ganmix.engine.run_folder import RunFolder
from ganmix.errors import DivergedError

PLAIN_SECONDS = 10  # between progress lines where stderr is not a terminal


class Recorder:
    """Keeps each step's values on their device and reads them all at once: one synchronisation an interval.

    Args:
        folder: of the run.
        step: the step the run starts or resumes from; later points that TensorBoard has are dropped.
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
        self._progress = _Progress(step, total_steps, images_per_step)
        self._images_per_step = images_per_step
        self._names: list[str] = state["names"] if state else []
        self._pending: list[Tensor] = state["pending"] if state else []
        self._since = (time.perf_counter(), step)

    def push(self, record: Mapping[str, Tensor]) -> None:
        """Take the 0-d tensors of one more step; the names are the same in each."""
        self._names = list(record)
        device = next(iter(record.values())).device
        self._pending.append(torch.stack([value.to(device).float() for value in record.values()]))

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
        """Return the values of all steps since the last flush [steps, names], up to `step`.

        Raises:
            DivergedError: one is not a finite number; the message names the first, and its step.
        """
        values = torch.stack([v.cpu() for v in self._pending]) if self._pending else torch.empty(0, len(self._names))
        bad = ~values.isfinite()
        if bad.any():
            row = int(bad.any(1).nonzero()[0])
            name = self._names[int(bad[row].nonzero()[0])]
            bad_step = step - len(values) + row + 1
            raise DivergedError(f"{name} is {values[row, self._names.index(name)]} at step {bad_step}")
        return values

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Add a point to TensorBoard curves."""
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)

    def grid(self, step: int, name: str, images: Tensor, file: str | None = None) -> None:
        """Show images, float [-1, 1] [N, C, H, W], as a grid in TensorBoard and as a PNG in samples/.

        Args:
            file: name of the PNG; None: NAME_STEP.png.
        """
        grid = image_grid(images)
        self.writer.add_image(name, grid, step)
        write_png(self.folder.samples / (file or f"{name}_{step:06d}.png"), grid)

    def progress(self, step: int) -> None:
        """Move the progress bar."""
        self._progress.show(step)

    def say(self, text: str) -> None:
        """Print a line without breaking the progress bar."""
        tqdm.write(text, file=sys.stderr)

    def state_dict(self) -> dict[str, Any]:
        """Return the values not written yet, so that the curves of a resumed run lack none."""
        return {"names": self._names, "pending": [values.cpu() for values in self._pending]}

    def restart_clock(self, step: int) -> None:
        """Leave what happened since the last flush out of the speed."""
        self._since = (time.perf_counter(), step)

    def close(self) -> None:
        """Finish the files and the bar."""
        self.writer.close()
        self._progress.close()


def image_grid(images: Tensor) -> Tensor:
    """Lay out float images [-1, 1] [N, C, H, W] as one uint8 image [3, H', W'], enlarged to 512 pixels if smaller."""
    num_columns = max(1, round(len(images) ** 0.5))
    scale = max(1, -(-512 // (num_columns * images.shape[-1])))
    # Smooth, since a person reads an 8-pixel digit so, and not as a mosaic.
    pixels = F.interpolate(images.detach().float().cpu(), scale_factor=float(scale), mode="bicubic")
    grid = make_grid(pixels, num_columns, padding=2, normalize=True, value_range=(-1, 1))
    return grid.mul(255).round().to(torch.uint8)


def write_png(path: Path, image: Tensor) -> None:
    """Write a uint8 image [3, H, W]."""
    buffer = io.BytesIO()
    Image.fromarray(image.permute(1, 2, 0).numpy()).save(buffer, "png")
    write_atomically(path, buffer.getbuffer())


class _Progress:
    """A bar on a terminal, a line now and then elsewhere: steps, images/s, time left, last losses."""

    def __init__(self, step: int, total_steps: int, images_per_step: int):
        self.losses: dict[str, float] = {}
        self._images_per_step = images_per_step
        self._total = total_steps
        self._first = step
        self._start = self._last = time.monotonic()
        self._bar = tqdm(total=total_steps, initial=step, unit="step") if sys.stderr.isatty() else None

    def show(self, step: int) -> None:
        now = time.monotonic()
        if self._bar is not None:
            self._bar.update(step - self._bar.n)
            if now - self._last > 1:
                self._bar.set_postfix_str(f"{self._speed(step, now):.0f} images/s{self._last_losses()}", refresh=False)
                self._last = now
        elif now - self._last > PLAIN_SECONDS or step == self._total:
            left = (now - self._start) * (self._total - step) / max(1, step - self._first)
            minutes, seconds = divmod(round(left), 60)
            print(
                f"step {step}/{self._total}  {self._speed(step, now):.0f} images/s  "
                f"{minutes}:{seconds:02d} left{self._last_losses()}",
                file=sys.stderr,
            )
            self._last = now

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()

    def _speed(self, step: int, now: float) -> float:
        return (step - self._first) * self._images_per_step / max(1e-9, now - self._start)

    def _last_losses(self) -> str:
        return "".join(f"  {name} {value:.3f}" for name, value in self.losses.items())
