"""What a training takes on a device, in all precisions, and how much of the device it uses.

    python benchmarks/speed.py --device cuda      25 minutes at most; to benchmarks/speed/cuda.json and cuda.md
    python benchmarks/speed.py --device cpu --share 0.05 --out /tmp/speed     to try the script without a GPU

Steps at 8x8 and 28x28 as in speed_steps.py; steps on colour images of 32, 64 and 128 pixels, with images per second and
the share of the chip's peak in bfloat16, by the operations that torch counts; whether a killed run goes on to the same
weights; and two workers of `ablate` on the device over one.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from speed_data import draw_folder
from speed_steps import BATCH, OURS, measure
from speed_table import machine, save
from speed_turns import ROOT, by_turns, train_by_turns

# operations per second in bfloat16 without sparsity, from the data sheets, by a part of the name
PEAKS = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12, "L4": 121e12, "T4": 65e12}
PRECISIONS = {"cuda": ("32-true", "16-mixed", "bf16-mixed"), "cpu": ("32-true", "bf16-mixed")}
ACCELERATOR = {"cuda": "gpu", "cpu": "cpu"}
SIDES = (32, 64, 128)


def write(device: str, out: Path, rounds: int, share: float) -> None:
    """Measures everything and writes DEVICE.json and DEVICE.md; for a CPU their names begin with device-."""
    begin = time.perf_counter()
    stem = device if device == "cuda" else f"device-{device}"
    content = {"machine": machine(device), "share": share, "peak": peak(device)}
    for part in (steps, sizes, resumed, workers):
        content[part.__name__] = part(device, rounds, share)
        content["seconds"] = time.perf_counter() - begin
        print(part.__name__, json.dumps(content[part.__name__]), f"[{content['seconds']:.0f} s]", flush=True)
        save(out / f"{stem}.json", content)
    (out / f"{stem}.md").write_text("\n".join(table(content)))


def steps(device: str, rounds: int, share: float) -> dict[str, dict[str, float]]:
    """Seconds of a step by size and contender."""
    found = {}
    for side, block in ((8, 200), (28, 200 if device == "cuda" else 40)):
        times = measure(side, max(2, int(block * share)), rounds, PRECISIONS[device][1:], device)
        found[f"{side}x{side}"] = {name: time.seconds for name, time in times.items()}
    return found


def sizes(device: str, rounds: int, share: float) -> dict[str, dict[str, dict[str, float]]]:
    """By side and precision: seconds of a step, images per second, operations of a step, share of the peak."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    highest = peak(device)
    block = max(2, int((100 if device == "cuda" else 10) * share))
    for side in SIDES:
        operations = count(side)
        with tempfile.TemporaryDirectory() as work:
            draw_folder(Path(work, "images"), 400, side)
            words = [*OURS, "--augment", "none", "--accelerator", ACCELERATOR[device]]
            words += ["--data", "folder", "--data.root", str(Path(work, "images")), "--metrics.num_samples", "64"]
            ours = {"function": train_by_turns, "block": block}
            contenders = {name: {**ours, "words": [*words, "--precision", name]} for name in PRECISIONS[device]}
            times = by_turns(contenders, rounds)
        found[str(side)] = {
            name: {
                "seconds": time.seconds / block,
                "images_per_second": BATCH * block / time.seconds,
                "operations": operations,
                "share_of_peak": operations * block / time.seconds / highest,
            }
            for name, time in times.items()
        }
    return found


def count(side: int) -> int:
    """Floating-point operations of a step of the GAN on colour images: both losses, forward and backward."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from lightning_genae.models.gan import GAN

    gan = GAN((3, side, side))
    x, labels = torch.zeros(BATCH, 3, side, side), torch.zeros(BATCH, dtype=torch.long)
    with FlopCounterMode(display=False) as counter:
        gan.loss_critic(x, labels).backward()
        gan.critic.requires_grad_(False)  # as while the generator learns
        gan.loss_generator(x, labels).backward()
    return counter.get_total_flops()


def peak(device: str) -> float:
    """Operations per second in bfloat16: of the data sheet, or else of a product of large matrices."""
    import torch

    if device == "cuda":
        name = torch.cuda.get_device_name()
        for part, value in PEAKS.items():
            if part in name:
                return value
    num = 8192 if device == "cuda" else 1024
    matrix = torch.randn(num, num, device=device, dtype=torch.bfloat16)
    times = []
    for _ in range(5):
        start = time.perf_counter()
        float((matrix @ matrix)[0, 0])  # waits for the device
        times.append(time.perf_counter() - start)
    return 2 * num**3 / min(times)


def resumed(device: str, rounds: int, share: float) -> dict[str, float]:
    """The largest difference of weights between a run that was killed and went on, and one that was not."""
    from safetensors.torch import load_file

    words = ["--model", "gan", "--steps", str(max(60, int(600 * share))), "--metrics.features", "pixels"]
    words += ["--augment", "none", "--accelerator", ACCELERATOR[device], "--logger", "none", "--metrics.looks", "1"]
    words += ["--checkpoint_seconds", "0", "--cache", "cache"]
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        run(work, *words, "--folder", "whole")
        killed = popen(work, *words, "--folder", "killed")
        wait_for(work / "killed" / "checkpoints", killed)
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        status = json.loads((work / "killed" / "results.json").read_text())["status"]
        run(work, *words, "--folder", "killed")
        whole, other = (load_file(work / folder / "model.safetensors") for folder in ("whole", "killed"))
    difference = max(float((whole[key].double() - other[key].double()).abs().max()) for key in whole)
    return {"largest_difference": difference, "was_killed": float(status != "finished")}


def workers(device: str, rounds: int, share: float) -> dict[str, float]:
    """Seconds of a grid of four runs by one worker and by two."""
    words = ["--model", "gan", "--steps", str(max(4, int(1000 * share))), "--metrics.features", "pixels"]
    words += ["--accelerator", ACCELERATOR[device], "--logger", "none", "--cache", "cache"]
    found = {}
    with tempfile.TemporaryDirectory() as name:
        run(Path(name), "prefetch", *words, "--augment", "none")
        for num in (1, 2):
            grid = ["--augment", "none,diffaug", "--seed", "0..1", "--workers", str(num), "--folder", f"grid{num}"]
            start = time.perf_counter()
            run(Path(name), "ablate", *words, *grid)
            found[f"{num} worker{'s' * (num > 1)}"] = time.perf_counter() - start
    return found


def wait_for(folder: Path, process: subprocess.Popen) -> None:
    """Waits until a run has saved a checkpoint, or has ended."""
    while process.poll() is None and not any(folder.glob("*.ckpt")):
        time.sleep(0.02)


def popen(work: Path, *words: str) -> subprocess.Popen:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with (work / "log").open("a") as log:
        command = [sys.executable, str(ROOT / "run.py"), *words]
        return subprocess.Popen(command, cwd=work, env=environment, stdout=log, stderr=log)


def run(work: Path, *words: str) -> None:
    if popen(work, *words).wait():
        raise SystemExit(f"{' '.join(words)}\n{(work / 'log').read_text()[-3000:]}")


def table(content: dict) -> list[str]:
    """The results in Markdown."""
    about = content["machine"]
    where = about.get("gpu", about["cpu"])
    text = [f"# Speed on {where}", "", f"torch {about['torch']}, {about['date']}; batches of {BATCH}, medians.", ""]
    text += ["| step | " + " | ".join(next(iter(content["steps"].values()))) + " |"]
    text += ["|---" * (1 + len(next(iter(content["steps"].values())))) + "|"]
    for size, seconds in content["steps"].items():
        text.append(f"| {size}, ms | " + " | ".join(f"{1e3 * value:.2f}" for value in seconds.values()) + " |")
    text += ["", f"Colour images; the peak is {content['peak'] / 1e12:.3g} TFLOP/s in bfloat16.", ""]
    text += ["| side | precision | ms a step | images/s | GFLOP a step | of the peak |", "|---|---|---|---|---|---|"]
    for side, found in content["sizes"].items():
        for name, row in found.items():
            text.append(
                f"| {side} | {name} | {1e3 * row['seconds']:.2f} | {row['images_per_second']:.0f} | "
                f"{row['operations'] / 1e9:.2f} | {row['share_of_peak']:.2%} |"
            )
    difference, both = content["resumed"]["largest_difference"], content["workers"]
    equal = "equal to the bit" if difference == 0 else f"up to {difference:.2g} apart"
    text += ["", f"A run that was killed and went on has weights that are {equal}.", ""]
    text += [
        "Four runs by `ablate`: " + ", ".join(f"{name} {seconds:.0f} s" for name, seconds in both.items()) + ".",
        "",
    ]
    return text
