"""What augmentation costs: the time of a GAN's step with every arm over its time with none, memory, and fitting.

    python benchmarks/augment.py            some ten minutes on two cores; run nothing beside it

The GAN is `--model gan` with its defaults, batches of 64 images, 28x28 grey and 32x32 in colour. Each arm takes its
turns right after one without augmentation; the ratio is the median of all, by the lower quartile of a turn's steps.
The images are noise: what they show costs nothing.
"""

import argparse
import os
import platform
import statistics
import sys
import time
import warnings
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from pytorch_lightning import Callback, Trainer

from callbacks.budget import Budget
from callbacks.ema import Ema
from datamodules import ImageDataModule
from lightning_genae import registry
from lightning_genae.augment import Composition, _training
from lightning_genae.commands.parse import DEFAULT_STEPS
from lightning_genae.data.dataset import Images
from lightning_genae.logs import configure_logging
from lightning_genae.models.gan import GAN

OUT = Path(__file__).resolve().parent / "augment"
SHAPES = {"28x28": (1, 28, 28), "32x32": (3, 32, 32)}
# name in the table: arms, options of the arms, options of the augmentation, the ratio that was asked for
CASES = {
    "none": ("none", {}, {}, None),
    "repeat": ("repeat", {}, {}, None),
    "noise": ("noise", {}, {}, None),
    "classic": ("classic", {}, {}, None),
    "ae on the data": ("ae", {}, {"on": "data"}, 1.10),
    "ae on the data, decode": ("ae", {"detail": "decode"}, {"on": "data"}, 1.10),
    "ae on the data, interpolate": ("ae", {"perturb": "interpolate"}, {"on": "data"}, 1.10),
    "vae on the data": ("vae", {}, {"on": "data"}, None),
    "ae on the critic": ("ae", {}, {"on": "critic"}, 1.35),
    "pca on the critic": ("pca", {}, {"on": "critic"}, None),
    "diffaug": ("diffaug", {}, {}, None),
    "ada": ("ada", {}, {"fraction": 0.5}, None),
}


class Noise(ImageDataModule):
    """Random images."""

    def __init__(self, image_shape: tuple[int, int, int], num: int):
        super().__init__(batch_size=64)
        self.shape, self.num = image_shape, num

    def load(self) -> tuple[Images, Images, int]:
        images = torch.randint(0, 256, (self.num + 64, *self.shape), dtype=torch.uint8)
        labels = torch.randint(10, (self.num + 64,))
        return Images(images[64:], labels[64:]), Images(images[:64], labels[:64]), 10


class Clock(Callback):
    """Seconds of every batch, with all that comes before it, but for the first ones."""

    def __init__(self, device: torch.device):
        self.device, self.seconds, self.last, self.num = device, [], 0.0, 0

    def on_train_batch_end(self, *args) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        now = time.perf_counter()
        self.num += 1
        if self.num > 4:
            self.seconds.append(now - self.last)
        self.last = now


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=20, help="batches of an arm's turn")
    parser.add_argument("--fit_steps", type=int, default=1000, help="of the autoencoder whose fitting is timed")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    configure_logging(debug=False)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    machine = torch.cuda.get_device_name() if device.type == "cuda" else f"{os.cpu_count()} cores, {platform.machine()}"
    lines = [
        "# What augmentation costs",
        "",
        f"{machine}, torch {torch.__version__}, float32; batches of 64. {__doc__}",
    ]
    for name, shape in SHAPES.items():
        lines += ["", f"## {name}", "", *compare(shape, given, device)]
    lines += ["", *fitting(given, device), ""]
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "README.md").write_text("\n".join(lines))
    print("\n".join(lines))


def compare(shape: tuple[int, int, int], given: argparse.Namespace, device: torch.device) -> list[str]:
    """The table of one kind of images."""
    arms = {name: build(*CASES[name][:3], shape, 640) for name in dict.fromkeys(["none", *given.cases])}
    many = build(*CASES["ae on the data"][:3], shape, 20_000)  # fifty times as many images to learn from
    arms["ae on the data, 20,000 images"] = many
    ratios = {name: [] for name in arms}
    peaks = dict.fromkeys(arms, 0)
    steps = []
    for _ in range(given.rounds):
        for name in arms:
            # right after each other, because a machine's speed drifts
            without, _ = step_time(*arms["none"], given.steps, device)
            seconds, peak = step_time(*arms[name], given.steps, device)
            steps.append(without)
            ratios[name].append(seconds / without)
            peaks[name] = max(peaks[name], peak)
    medians = {name: statistics.median(values) for name, values in ratios.items()}
    lines = [
        f"`none`: {1000 * statistics.median(steps):.1f} ms a step.",
        "",
        "| arm | over `none` | asked for | kept in memory, MB | peak over `none`, MB |",
        "|---|---|---|---|---|",
    ]
    for name, ratio in medians.items():
        wanted = CASES.get(name, CASES["ae on the data"])[3]
        peak = f"{(peaks[name] - peaks['none']) / 1e6:.1f}" if device.type == "cuda" else "not measured on a CPU"
        cells = [f"{ratio:.2f}", f"at most {wanted:.2f}" if wanted else ""]
        lines.append(f"| {' | '.join([name, *cells, f'{size(arms[name][1]) / 1e6:.2f}', peak])} |")
    autoencoder = size(many[1].parts["ae"].autoencoder)
    one_batch = 64 * 4 * shape[0] * shape[1] * shape[2]
    lines += ["", f"The autoencoder has {autoencoder / 1e6:.2f} MB, a batch {one_batch / 1e6:.2f} MB."]
    return lines


def build(name: str, options: dict, around: dict, shape: tuple[int, int, int], num: int):
    """A data set and an augmentation, fitted with as few steps as it takes."""
    datamodule = Noise(shape, num)
    datamodule.cache_dir = "runs/augment_benchmark"
    datamodule.setup()
    steps = {"steps": 2} if name in ("ae", "vae") else {}
    arm = registry.load("lightning_genae.augment", name)(**steps, **options)
    augment = Composition({name: arm}, **around)
    augment.target = None  # a fixed fraction
    augment.fit(datamodule.dataset, accelerator="cpu", enable_progress_bar=False)
    return datamodule, augment


def step_time(datamodule: Noise, augment: Composition, steps: int, device: torch.device) -> tuple[float, int]:
    """Seconds of a step, and the largest memory (of a GPU) in bytes."""
    seconds, peak = turn(datamodule, augment, steps, device)
    # the lower quartile, because whatever else the machine does only adds time
    return statistics.quantiles(seconds, n=4)[0], peak


def turn(datamodule: Noise, augment: Composition, steps: int, device: torch.device) -> tuple[list[float], int]:
    """Seconds of every step of a short training, and the largest memory (of a GPU) in bytes."""
    torch.manual_seed(0)
    model = GAN(datamodule.dataset.image_shape, 10)
    datamodule.augment, datamodule.batches, clock = augment, 0, Clock(device)
    if augment.applied_to("critic"):
        model.critic_transform = augment.critic_transform
    trainer = Trainer(
        accelerator=device.type,
        devices=1,
        max_epochs=-1,
        callbacks=[Ema(), clock, Budget(steps)],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
    )
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    trainer.fit(model, datamodule=datamodule)
    return clock.seconds, torch.cuda.max_memory_allocated() if device.type == "cuda" else 0


def size(module: torch.nn.Module) -> int:
    """Bytes of parameters and buffers."""
    return sum(value.numel() * value.element_size() for value in module.state_dict().values())


def fitting(given: argparse.Namespace, device: torch.device) -> list[str]:
    """What training the autoencoder costs beside the GAN's default training."""
    datamodule, augment = build("none", {}, {}, SHAPES["28x28"], 640)
    step = statistics.median(turn(datamodule, augment, given.steps, device)[0])
    _training._Stop.patience = given.fit_steps  # as if the error fell to the end
    arm = registry.load("lightning_genae.augment", "ae")(steps=given.fit_steps)
    fresh = replace(datamodule.dataset, cache_dir=f"runs/augment_benchmark/{time.time_ns()}")  # it is trained now
    start = time.perf_counter()
    arm.fit(fresh, accelerator=device.type, enable_progress_bar=False)
    seconds = time.perf_counter() - start
    share = seconds / (DEFAULT_STEPS * step)
    training = f"the GAN's {DEFAULT_STEPS:,} batches ({DEFAULT_STEPS * step:.0f} s by the median step)"
    return [
        f"Fitting the autoencoder, 28x28, {given.fit_steps:,} batches without an early end: {seconds:.1f} s, "
        f"{share:.2f} of {training}; asked for: at most 0.20."
    ]


if __name__ == "__main__":
    main()
