"""Which use of an autoencoder makes a GAN better that has DiffAugment already, and better than its control?

    pip install -e benchmarks/autoencoder_wins      the candidates, as a package beside lightning_genae
    python benchmarks/autoencoder_wins.py tune      the base, by DiffAugment alone: three quarters of an hour, two cores
    python benchmarks/autoencoder_wins.py screen    all candidates against that base, six seeds
    python benchmarks/autoencoder_wins.py controls  their controls, the same seeds
    python benchmarks/autoencoder_wins.py default   ae on the generator, critic or data, with nothing tuned or beside it
    python benchmarks/autoencoder_wins.py confirm   the best, as the library has it, and its controls, fresh seeds
    python benchmarks/autoencoder_wins.py long      the same without pca, two to three times as long

Every stage is `python run.py ablate --arms autoencoder_wins/STAGE.yaml`, and goes on where it stopped; --dry_run says
how many runs there are and how long they take. kept.py keeps a row of every run, so that a stage goes
on on another machine, with --seed of those that are missing. Arms are compared by late_fd, the geometric mean of the
Frechet distance at the last three looks, never the best one. Seeds draw the training subset and the initialisation;
what tunes shares none with what screens. Published images are halved, which takes a quarter of the time; those of
cifar10-2500-whole alone are not.
"""

import sys
from pathlib import Path

from low_data import ablate, new_parser

HERE = Path(__file__).resolve().parent
ALL = "--precision bf16-mixed --logger none --metrics.looks 8 --metric late_fd --threads 1 --workers 2"
GAN = "--data.batch_size 32 --model.ema 0.999"
# batches, options: a run takes 3 to 6 minutes of a core, of digits 1, of whole images 15
DATA = {
    # what the first command of the README trains
    "digits": (3_000, "--data digits --data.batch_size 64 --model.ema 0.995 --precision 32-true"),
    "fashion_mnist-500": (10_000, "--data fashion_mnist --data.image_size 14 --data.num_train 500"),
    "fashion_mnist-2000": (10_000, "--data fashion_mnist --data.image_size 14 --data.num_train 2000"),
    "digits-200": (4_000, "--data digits --data.num_train 200"),
    "digits-200-conditional": (4_000, "--data digits --data.num_train 200 --model.conditional projection"),
    "cifar10-2500": (12_000, "--data cifar10 --data.image_size 16 --data.num_train 2500"),
    "cifar10-2500-whole": (8_000, "--data cifar10 --data.num_train 2500"),
}
BASE = "--model.r1 0.1 --model.r1_every 16 --model.lr 1e-3"  # by the stage tune
LONG = {"digits-200": 12_000, "fashion_mnist-500": 20_000, "cifar10-2500": 36_000}  # batches of the stage long
# folder, data sets, seeds, options; controls join the arms that they are to be compared with
STAGES: dict[str, tuple[str, tuple[str, ...], str, str]] = {
    "tune": ("tune", ("fashion_mnist-500",), "0..2", "--augment diffaug --model gan --steps 16000"),
    "screen": ("screen", ("fashion_mnist-500",), "10..15", f"--augment diffaug {BASE}"),
    "controls": ("screen", ("fashion_mnist-500",), "10..15", f"--augment diffaug {BASE}"),
    "default": ("default", ("digits", "digits-200", "fashion_mnist-500", "cifar10-2500"), "100..104", "--model gan"),
    "confirm": ("confirm", tuple(DATA)[1:], "100..119", f"--model gan {BASE}"),
    "long": ("long", tuple(LONG), "100..104", f"--model gan {BASE}"),
}


def main() -> int:
    parser = new_parser(__doc__)
    parser.add_argument("stage", choices=STAGES)
    parser.add_argument("--data", nargs="+", choices=DATA, help="only these data sets of the stage")
    parser.add_argument("--runs", type=Path, default=Path("runs/autoencoder_wins"))
    given, others = parser.parse_known_args()
    stage, data, seeds, options = STAGES[given.stage]
    if unknown := set(given.data or ()) - set(LONG) if given.stage == "long" else ():
        parser.error(f"--data: expected {', '.join(LONG)} for the stage long; got {', '.join(sorted(unknown))}")
    studies = []
    for name in given.data or data:
        words = ["--arms", str(HERE / "autoencoder_wins" / f"{given.stage}.yaml"), "--seed", seeds]
        steps, of_data = DATA[name]
        steps = LONG.get(name, steps) if given.stage == "long" else steps
        words += f"{ALL} {GAN} {of_data} --steps {steps} {options}".split()
        studies.append((given.runs / stage / name, words))
    return ablate(studies, others)


if __name__ == "__main__":
    sys.exit(main())
