"""Which networks make the best pictures of 64 pixels from some 1,200 of them, in the same time?

    npm pack emoji-datasource-twitter@16.0.0 && tar xf emoji-datasource-twitter-16.0.0.tgz
    python benchmarks/emoji_from_npm.py package data/emoji-twitter        and -facebook in the same way
    python benchmarks/photographs.py networks           every network
    python benchmarks/photographs.py default            what gan does by default, and did before

Every stage is `python run.py ablate --arms photographs/STAGE.yaml`, for every data set, and goes on where it stopped;
--dry_run says how many runs there are and how long they take. All runs of a data set take the same time, 40 minutes of
one core for 64 pixels: the arms have as many batches as take that long, by `--steps`. networks.csv keeps a row of
every run, by kept.py. Samples are measured in the features of the classifier, which no critic sees; `python run.py
evaluate RUN --metrics.features efficientnet` is the other judge, but not of critics on that network's features.
"""

import sys
from pathlib import Path

from low_data import ablate, new_parser

HERE = Path(__file__).resolve().parent
ALL = "--model gan --precision bf16-mixed --logger none --metrics.looks 8 --metrics.features classifier"
ALL += " --metric late_fd --threads 1 --workers 2 --seed 100..102 --augment diffaug"
EMOJI = "--data folder --data.num_train 1200 --data.root"
DATA = {
    "emoji-twitter": f"{EMOJI} data/emoji-twitter",
    "emoji-facebook": f"{EMOJI} data/emoji-facebook",
    "cifar10": "--data cifar10 --data.num_train 5000",  # of 32 pixels: as many batches take a quarter of the time
}
STAGES = ("networks", "default")


def main() -> int:
    parser = new_parser(__doc__)
    parser.add_argument("stage", choices=STAGES)
    parser.add_argument("--data", nargs="+", choices=DATA, default=list(DATA), help="only these data sets")
    parser.add_argument("--runs", type=Path, default=Path("runs/photographs"))
    given, others = parser.parse_known_args()
    arms = ["--arms", str(HERE / "photographs" / f"{given.stage}.yaml")]
    studies = []
    for name in given.data:
        words = [*arms, *f"{ALL} {DATA[name]}".split()]
        studies.append((given.runs / given.stage / name, words))
    return ablate(studies, others)


if __name__ == "__main__":
    sys.exit(main())
