"""When a model is evaluated during training: a number of looks at fixed batches, the same for all arms and seeds.

The best of many looks is better than the best of few, so arms that are compared must have the same number.
"""

import json
import logging
from collections.abc import Callable
from pathlib import Path

from lightning_genae.cache import cached, report_damage
from lightning_genae.run_folder import without_free

MOST = 5  # looks, unless the user asks for more
FRACTION = 0.1  # of the training time, for looks
MIN_TIMED, MAX_TIMED = 5, 20  # batches that are timed
log = logging.getLogger("lightning_genae")


def places(steps: int, looks: int) -> list[int]:
    """The batches after which a training is evaluated; the last one is its end.

    Raises:
        ValueError: there are more looks than batches.
    """
    if looks > steps:
        raise ValueError(f"--metrics.looks: expected at most {steps:,}, the batches of the training; got {looks:,}")
    return [round(k * steps / looks) for k in range(1, looks + 1)]


def affordable(steps: int, seconds_per_batch: float, seconds_per_look: float) -> int:
    """The number of looks that take a tenth of the training time, at least 1 and at most 5."""
    return max(1, min(MOST, int(FRACTION * steps * seconds_per_batch / seconds_per_look)))


def chosen(config: dict, steps: int, measure: Callable[[int], tuple[float, float]]) -> int:
    """The number of looks of a run for which the user set none.

    It is chosen once, from measured cost, and cached for all runs that differ only in their augmentation and seeds.

    Args:
        config: of the run.
        steps: batches of the training.
        measure: from a number of batches to time to the seconds of a batch without augmentation and of a look.
    """
    num_timed = min(MAX_TIMED, steps // 50)  # a small fraction of the training, so that measuring costs little
    if num_timed < MIN_TIMED:
        return 1
    key = {name: value for name, value in without_free(config).items() if name != "augment"}
    key |= {"steps": steps, "data": {name: value for name, value in config["data"].items() if name != "split_seed"}}

    def build(path: Path) -> None:
        per_batch, per_look = measure(num_timed)
        looks = affordable(steps, per_batch, per_look)
        path.write_text(json.dumps({"looks": looks, "seconds_per_batch": per_batch, "seconds_per_look": per_look}))

    path = cached(config["cache"], "schedule", key, build)
    with report_damage("--cache", path):
        plan = json.loads(path.read_text())
        looks = int(plan["looks"])
        log.info(
            f"looks: {looks}, one takes {plan['seconds_per_look']:.2g} s, chosen for a tenth of "
            f"{steps * plan['seconds_per_batch']:.2g} s without augmentation; --metrics.looks asks for others"
        )
    return looks
