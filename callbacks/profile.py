"""Where the time of a batch goes: a trace, and the dearest operations."""

import logging
import os
from pathlib import Path

from pytorch_lightning import Callback
from torch.profiler import ProfilerActivity, profile

log = logging.getLogger("lightning_genae")


class Profile(Callback):
    """Records some batches with torch's profiler, once the first ones have warmed up.

    Writes profile/trace.json, for chrome://tracing or ui.perfetto.dev, and profile/operations.txt to the run folder,
    and logs the operations that take the most time themselves. The recorded batches are slower than others.

    Args:
        folder: the run folder.
        steps: length of the training; a shorter one is recorded as far as it goes.
    """

    num_warming, num_recorded, num_shown = 20, 20, 10

    def __init__(self, folder: Path, steps: int):
        self.folder = Path(folder) / "profile"
        self.first = min(self.num_warming, max(0, steps - self.num_recorded))  # batches before those recorded
        self.last = min(steps, self.first + self.num_recorded)
        self.recorder: profile | None = None
        os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # else the library below prints "errors" where there is no GPU

    def on_train_batch_start(self, trainer, pl_module, *args) -> None:
        if trainer.is_global_zero and trainer.datamodule.batches - 1 == self.first:
            activities = [ProfilerActivity.CPU]
            if pl_module.device.type == "cuda":
                activities.append(ProfilerActivity.CUDA)
            self.recorder = profile(activities=activities)
            self.recorder.start()

    def on_train_batch_end(self, trainer, pl_module, *args) -> None:
        if trainer.datamodule.batches == self.last:
            self._write(pl_module.device.type)

    def on_exception(self, trainer, pl_module, exception) -> None:
        if self.recorder is not None:
            self.recorder.stop()

    def _write(self, device: str) -> None:
        recorder, self.recorder = self.recorder, None
        if recorder is None:  # the run was resumed after the batches to be recorded, or is not the first process
            return
        recorder.stop()
        self.folder.mkdir(parents=True, exist_ok=True)
        recorder.export_chrome_trace(str(self.folder / "trace.json"))
        operations, by = recorder.key_averages(), f"self_{device}_time_total"
        (self.folder / "operations.txt").write_text(operations.table(sort_by=by, row_limit=100))
        num = self.last - self.first
        attribute = "self_device_time_total" if device == "cuda" else "self_cpu_time_total"
        dearest = sorted(operations, key=lambda operation: -getattr(operation, attribute))[: self.num_shown]
        total = sum(getattr(operation, attribute) for operation in operations)
        lines = [f"  {'of the time':>11} {'ms a batch':>10} {'calls':>6}  operation"]
        for operation in dearest:
            time = getattr(operation, attribute)
            calls = operation.count / num
            lines.append(f"  {time / total:>11.1%} {time / num / 1000:>10.3f} {calls:>6.1f}  {operation.key}")
        log.info(f"The dearest operations of {num} batches, by '{self.folder / 'trace.json'}':\n" + "\n".join(lines))
