"""Wrong commands, configs, data, checkpoints and environments, and what is said of each: a list, which
tests/test_bad_input.py and benchmarks/bad_input.py go through.

A case is a command line after `python run.py`, in an empty folder in which its set-up made files. Status 2 is the
user's mistake, 3 the machine's lack.
"""

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lightning_genae import registry
from tests.bad_files import (
    a_run,
    array,
    bomb,
    bomb_npz,
    checkpoint_of_tensors,
    cifar_label,
    cifar_of_other_bytes,
    config_of,
    csv_of_long_cell,
    cut_checkpoint,
    cut_flac,
    cut_gzip,
    cut_idx,
    cut_npz,
    cut_short,
    cut_wav,
    damaged,
    damaged_pack,
    eight_images,
    empty_folder,
    empty_wav,
    fewer_labels,
    file,
    floats_of_255,
    full_disk,
    grid_of_damaged_json,
    grid_of_other_json,
    hostile_checkpoint,
    in_a_class,
    label_out_of_range,
    lacking,
    lost_config,
    lying_idx,
    missing_labels,
    nan_tiff,
    nan_wav,
    no_bytes,
    no_cache,
    numbers_of_32_bits,
    one_image,
    other_files,
    other_size,
    pictures,
    ragged_npz,
    several,
    silent_wav,
    slow_wav,
    somebodys_folder,
    svhn_junk,
    table,
    text_in_png,
    twelve_bits,
    unfinished_run,
    weights_alone,
    white_glyph,
    without_weights,
    zero_byte_wav,
)

# of the run that sample, evaluate and the like are given; its folder is copied into that of the case, as `run`
RUN = "--model ae --model.network mlp --model.hidden [4] --model.latent_dim 2 --steps 2 --metrics.features pixels"
READ_ONLY = "/sys/kernel"  # for root, too


def nothing(run: Path) -> None:
    """The case needs no files."""


class Case(NamedTuple):
    """A wrong command line.

    Attributes:
        words: after `python run.py`.
        message: a part of what is said.
        status: 2 or 3.
        files: makes what the command reads in the working folder; gets the folder of a finished run.
        leaves: pattern of files that may stay, because they are right.
        without: a package that is not there.
        environment: variables that are set.
    """

    words: list[str]
    message: str
    status: int = 2
    files: Callable[[Path], None] = nothing
    leaves: str = ""
    without: str | None = None
    environment: tuple[tuple[str, str], ...] = ()

    @property
    def own_cache(self) -> list[str]:
        """Words that keep its cache in its folder."""
        return [] if self.words[0] in ("sample", "compare") or "--cache" in self.words else ["--cache", "cache"]

    @property
    def name(self) -> str:
        made = "" if self.files is nothing else f" [{self.files.__name__.replace('_', ' ')}]"
        lacking = f" [without {self.without}]" if self.without else ""
        given = "".join(f" [{name}={value}]" for name, value in self.environment)
        words = shlex.join(word if len(word) < 60 else f"{word[:57]}..." for word in self.words) or "''"
        return f"{words}{made}{lacking}{given}".encode(errors="backslashreplace").decode()


def of(prefix: str, files: Callable[[Path], None], *pairs: tuple[str, str], status: int = 2) -> list[Case]:
    """Cases that share the first words and the set-up."""
    return [Case(shlex.split(f"{prefix} {words}"), message, status, files) for words, message in pairs]


OPTIONS = of(
    "",
    nothing,
    (
        "--model gna",
        f"--model: expected one of {', '.join(registry.names('lightning_genae.models'))}; got 'gna'",
    ),
    ("--model ''", "--model: expected one of"),
    ("--model", "--model: expected a value; got none"),
    ("--model gan+vae", "--model: expected one of"),
    ("--data ''", "--data: expected one of"),
    ("--data digit", "did you mean 'digits'?"),
    ("--augment ae+ae", "--augment: expected every choice once; got 'ae+ae'"),
    ("--augment ae+", "--augment: expected one of"),
    ("--augment ae+vae", "--augment: expected choices that go together"),
    ("--augment aee", "did you mean 'ae'?"),
    ("--modle gan", "--modle: there is no such option here; did you mean '--model'?"),
    ("--model.latnet_dim 3", "did you mean '--model.latent_dim'?"),
    ("--größe 3", "--größe: there is no such option here"),
    ("--", "--: there is no such option here"),
    ("-x 3", "-x: there is no such option here"),
    ("--seed 3 gan", "expected --OPTION VALUE; got 'gan'"),
    ("trian", "expected one of the verbs sample, evaluate, prefetch, ablate, compare, cache, or none; got 'trian'"),
    ("''", "expected one of the verbs sample, evaluate, prefetch, ablate, compare, cache, or none; got ''"),
    ("--debug maybe", "--debug: expected true or false; got 'maybe'"),
    ("--debug=maybe", "--debug: expected true or false; got 'maybe'"),
    ("--overwrite perhaps", "--overwrite: expected true or false; got 'perhaps'"),
    ("--seed", "--seed: expected a value; got none"),
    ("--seed ''", "--seed: expected a whole number at least 0"),
    ("--seed -1", "--seed: expected a whole number at least 0"),
    ("--seed 1.5", "--seed: expected a whole number at least 0"),
    ("--seed 1e3", "--seed: expected a whole number at least 0"),
    ("--seed nan", "--seed: expected a whole number at least 0"),
    ("--seed 1_000", "--seed: expected a whole number at least 0 and below 4294967296, finite, in digits"),
    ("--seed 010", "--seed: expected a whole number at least 0 and below 4294967296, finite, in digits"),
    ("--seed 0x10", "--seed: expected a whole number at least 0"),
    ("--seed 99999999999999999999999", "--seed: expected a whole number at least 0 and below 4294967296"),
    ("--steps 0", "--steps: expected a whole number above 0 or null; got '0'"),
    ("--steps 1e400", "--steps: expected a whole number above 0 or null; got '1e400'"),
    ("--epochs -1", "--epochs: expected a whole number above 0 or null; got '-1'"),
    ("--steps 5 --epochs 2", "--epochs: expected steps or epochs, got both"),
    ("--checkpoint_seconds inf", "--checkpoint_seconds: expected a whole number at least 0; got 'inf'"),
    ("--model.lr abc", "--model.lr: expected a number above 0 or null; got 'abc'"),
    ("--model.lr nan", "--model.lr: expected a number above 0 or null; got 'nan'"),
    ("--model.lr inf", "--model.lr: expected a number above 0 or null, finite"),
    ("--model.lr 1e400", "--model.lr: expected a number above 0 or null, finite"),
    ("--model.lr 1_0.0", "--model.lr: expected a number above 0 or null, finite, in digits"),
    ("--model.lr true", "--model.lr: expected a number above 0 or null; got 'true'"),
    ("--model.lr ''", "--model.lr: expected a number above 0 or null; got ''"),
    ("--model.beta1 1", "--model.beta1: expected a number at least 0 and below 1; got '1'"),
    ("--model.hidden [1,a]", "--model.hidden: expected null or a list, each a whole number above 0; got '[1,a]'"),
    ("--model.hidden [1,2", "--model.hidden: expected null or a list"),
    ("--model.hidden [1_0] --model.network mlp", "--model.hidden: expected null or a list"),
    (
        "--model.network cov",
        "--model.network: expected mlp, conv, resnet, fastgan, stylegan2 or recurrent or null; got 'cov'",
    ),
    ("--model.loss wgan-gp --model.gradient_penalty 0", "--model.gradient_penalty: expected a weight"),
    ("--model vaegan --model.start nowhere", "--model.start: expected a checkpoint"),
    ("--model aae --model.latent_dim 1 --model.prior mixture", "--model.latent_dim: expected"),
    ("--model cogan --model.num_shared 9", "--model.num_shared: expected at most"),
    ("--model began --model.gamma 1.5", "--model.gamma: expected"),
    ("--model ae --model.noise masking --model.noise_level 2", "--model.noise_level: expected"),
    (
        "--model ae --model.noise diffaug --data timeseries",
        "--model.noise: expected no, gaussian or masking for what is neither a grey nor an RGB image; got diffaug",
    ),
    ("--model vae --model.sigma 0", "--model.sigma: expected a number above 0 or null; got '0'"),
    (
        "--model rnn_ae",
        "data of modality image (--data); got rnn_ae, which is for series, text, audio",
    ),
    (
        "--model vaegan --data text",
        "--model: expected ae or gan or rnn_ae or vae for data of modality text",
    ),
    ("--model ae --model.network recurrent", "recurrent expected sequences, got data of shape"),
    ("--data timeseries --model rnn_ae --model.loss ce", "--model.loss: expected mse or l1 for data"),
    ("--data ring", "network: expected mlp for points, tables and images of 1x1"),
    ("--augment ae --augment.fraction 1.2", "--augment.fraction: expected a number at least 0 and at most 1"),
    ("--augment ae --augment.strength nan", "--augment.strength: expected a number at least 0 and at most 1"),
    ("--augment ae --augment.steps -1", "--augment.steps: expected a whole number at least 0; got '-1'"),
    ("--augment ae --augment.checkpoint nowhere", "--augment.checkpoint: expected a checkpoint"),
    ("--augment ae --augment.checkpoint /etc/passwd", "--augment.checkpoint: '/etc/passwd' is damaged"),
    ("--augment diffaug --augment.on critic --model ae", "--augment.on: expected data for a model without a critic"),
    ("--data timeseries --augment diffaug", "modality series (--data); got diffaug"),
    (
        "--data text --augment classic",
        "of modality text (--data); got classic, which is for image, series, audio",
    ),
    (
        "--data text --augment ae --augment.autoencoder vaegan",
        "--augment.autoencoder: expected ae or rnn_ae or vae for",
    ),
    ("--augment ae --augment.autoencoder gan", "--augment.autoencoder: expected one of aae, ae, began"),
    ("--augment ae --augment.autoencoder aegan", "got 'aegan'; it is called vaegan now"),
    ("--augment ae --augment.autoencoder mlp", "--augment.autoencoder: expected --augment.autoencoder.network mlp, as"),
    ("--augment ae --augment.autoencoder.lt 1", "--augment.autoencoder.lt: there is no such option here"),
    ("--augment ae --augment.autoencoder.width 0", "--augment.autoencoder.width: expected a whole number above 0"),
    ("--augment ae --augment.width 8", "--augment.width: expected --augment.autoencoder.width, an option of"),
    ("--augment ae --augment.lr 1", "--augment.lr: expected --augment.autoencoder.lr, an option of"),
    (
        "--augment vae --augment.autoencoder mlp",
        "--augment.autoencoder: expected --augment.network, as it is called now",
    ),
    ("--metrics.every 64", "--metrics.every: expected --metrics.looks, how many evaluations there are"),
    ("--metrics.looks 0", "--metrics.looks: expected a whole number above 0 or null; got '0'"),
    ("--metrics.num_samples 1", "--metrics.num_samples: expected 10 to 100,000; got"),
    ("--metrics.features nope", "--metrics.features: expected classifier"),
    ("--metrics.features rocket", "for data of modality image (--data); got rocket, which is for series, text, audio"),
    ("--metrics.features inception --metrics.weights nowhere", "--metrics.weights: expected a file"),
    ("--metrics.features inception --metrics.weights /etc/passwd", "--metrics.weights: '/etc/passwd'"),
    ("--metrics.features pixels --metrics.weights /etc/passwd", "--metrics.weights: goes with --metrics.features"),
    ("--metrics.features pixels --metrics.lpips nowhere --model ae", "--metrics.lpips: expected a file"),
    (
        "--data timeseries --metrics.features efficientnet",
        "--metrics.features: expected classifier or moments or pixels or rocket for data of modality series",
    ),
    (
        "--data ring --metrics.features classifier --model.network mlp",
        "--metrics.features: expected pixels for data of modality points (--data); got classifier",
    ),
    ("--data.num_train 5000", "--data.num_train: expected at most 1190"),
    ("--data.num_train 10", "--data.num_train: expected at least one batch"),
    ("--data.num_train 1.5", "--data.num_train: expected a whole number above 0 or null; got '1.5'"),
    ("--data.batch_size 5000", "--data.batch_size: expected at least one batch"),
    ("--data.num_train 100 --data.batch_size 5000", "--data.batch_size: expected at least one batch"),
    ("--data.batch_size 0", "--data.batch_size: expected a whole number above 0 or null; got '0'"),
    ("--data.num_workers 100000", "--data.num_workers: expected a whole number at least 0 and at most 1000"),
    ("--data.split_seed 99999999999", "--data.split_seed: expected a whole number at least 0 and below 4294967296"),
    ("--data digits --data.root x", "--data.root: there is no such option here"),
    ("--logger tensorboard", "--logger: expected wandb, csv or none; got 'tensorboard'"),
    ("--threads 0", "--threads: expected a whole number at least 1 and at most 1000 or auto; got '0'"),
    ("--threads many", "--threads: expected a whole number at least 1 and at most 1000 or auto; got 'many'"),
    ("--precision 12-bit", "--precision: expected auto, 32-true, bf16-mixed, 16-mixed or another of Lightning's; got"),
    ("--precision ''", "--precision: expected text that is not empty"),
    ("--trainer.precision 16-mixed --accelerator cpu", "--precision: expected one that this device can do"),
    ("--strategy best", "--strategy best"),
    ("--accelerator abacus", "--accelerator abacus"),
    ("--accelerator tpu", "--accelerator tpu"),
    ("--devices 0 --accelerator cpu", "--devices 0"),
    ("--devices two --accelerator cpu", "--devices two"),
    ("--devices 20 --accelerator cpu", "--devices: expected at least one batch of 64 images"),
    ("--trainer.num_nodes 0", "`num_nodes` must be a positive integer"),
    ("--trainer.gradient_clip_val 1", "see --model.gradient_clip"),
    ("--trainer.max_time 00:00:00:01", "--trainer.max_time: there is no such option"),
    ("--trainer.acumulate_grad_batches 2", "did you mean '--trainer.accumulate_grad_batches'?"),
    ("--trainer.log_every_n_steps x", "--trainer.log_every_n_steps: expected a whole number"),
    ("--trainer 3", "--trainer: expected options of it"),
    ("--folder ''", "--folder: expected text that is not empty"),
    ("--folder ' '", "--folder: expected text that is not empty"),
    ("--folder /dev/null/x", "--folder: expected a folder that can be written to"),
    (f"--folder {'x' * 300}", "File name too long"),
    ("--cache ''", "--cache: expected text that is not empty"),
    ("--cache /dev/null", "--cache: expected a folder that can be written to"),
    ("--config missing.yaml", "--config: expected a file, got 'missing.yaml'"),
    ("--config ''", "--config: expected a file, got ''"),
    ("--config .", "--config: expected a file, got '.'"),
)
OPTIONS += [
    Case(["--folder", "\udcff\udcfe"], "expected arguments in UTF-8; got '\\udcff\\udcfe'"),
    Case(["--data", "folder", "--data.root", "caf\udce9"], "expected arguments in UTF-8; got 'caf\\udce9'"),
    Case(["sample", "\udcff"], "expected arguments in UTF-8"),
]

FOLDERS = of(
    "",
    somebodys_folder,
    ("--folder somebodys", "--folder: expected a new or empty folder or that of a run"),
    ("--folder somebodys --overwrite", "--folder: expected a new or empty folder or that of a run"),
    ("--folder a_file", "--folder: expected a folder that can be written to"),
    ("--folder a_file/run", "--folder: expected a folder that can be written to"),
    ("--cache a_file", "--cache: expected a folder that can be written to"),
    ("--augment ae --augment.checkpoint a_file", "--augment.checkpoint: 'a_file' is damaged"),
    ("--augment ae --augment.checkpoint somebodys", "--augment.checkpoint: expected a checkpoint"),
    ("ablate --seed 0,1 --folder somebodys", "--folder: expected a new or empty folder or that of an ablation"),
    ("sample somebodys", "RUN: expected a run folder"),
    ("sample a_file", "RUN: expected a run folder"),
    ("evaluate somebodys", "RUN: expected a run folder"),
    ("compare somebodys", "RUN: expected a run folder or one that holds some"),
    ("compare a_file", "RUN: expected run folders"),
    ("--data timeseries --data.root somebodys", "--data.root: expected a file of series"),
    ("--data folder --data.root a_file", "--data.root: expected a folder or a zip archive"),
    ("--data mnist --data.root a_file --data.download true", "--data.root: expected a folder, got 'a_file'"),
)


def config(content: str | bytes, message: str, words: str) -> Case:
    return Case(["--config", "c.yaml"], message, files=file("c.yaml", content, words))


CONFIGS = [
    config("a: [", "--config: 'c.yaml' is no YAML", "an open bracket"),
    config("[1, 2]", "--config: expected options and values in 'c.yaml', got a list", "a list"),
    config("", "--config: expected options and values in 'c.yaml', got nothing", "an empty file"),
    config(b"\xff\xfe\x00m", "--config: 'c.yaml' is no YAML", "UTF-16"),
    config("model: {lrr: 1}", "--model.lrr: there is no such option here", "an unknown option"),
    config("model: gna", "--model: expected one of", "an unknown model"),
    config("model: [gan]", "--model", "a list for a model"),
    config("seed: yes", "--seed: expected a whole number", "yes for a number"),
    config("seed: 2001-01-01", "--seed: expected a whole number", "a date for a number"),
    config('folder: "a\\0b"', "--folder: expected text", "a zero in a name"),
    config("model.lr: .inf", "--model.lr: expected a number above 0 or null", "infinity"),
    config("!!python/object/apply:os.system ['touch hacked']", "--config: 'c.yaml' is no YAML", "a command"),
    config("a: &a [*a]", "--config: expected plain values in 'c.yaml'", "a reference to itself"),
    config("steps: 5\nepochs: 2", "--epochs: expected steps or epochs, got both", "steps and epochs"),
    config("3: 4", "--3: there is no such option here", "a number for an option"),
    config("data: {name: folder}", "--data.root: expected a value; got none", "no root"),
]

PACK = "cache/images/*.npy"
PICTURES = "--data folder --data.root pictures --data.batch_size 4 --model ae --model.network mlp"
IMAGES = [
    *of("--data folder", nothing, ("", "--data.root: expected a value; got none")),
    *of(
        "--data folder",
        nothing,
        ("--data.root ''", "--data.root: expected text that is not empty"),
        ("--data.root nowhere", "--data.root: expected a folder of images, a zip archive"),
        ("--data.root . --data.image_size 0", "--data.image_size: expected a whole number above 0 or null; got '0'"),
        (
            "--data.root . --data.heldout 1",
            "--data.heldout: expected a number above 0 and below 1; got '1'",
        ),
        (
            "--data.root . --data.background greem",
            "--data.background: expected a colour such as white or '#336699'; got 'greem'",
        ),
        *(
            (f"--data.root . --data.background {colour}", f"--data.background: expected a colour such as {rest}")
            for colour, rest in (
                ("'#33669980'", "white or '#336699'; got '#33669980'"),
                ("'rgb(300,0,0)'", "white or '#336699'; got 'rgb(300,0,0)'"),
            )
        ),
        ("--data.root . --data.bits 3", "--data.bits: expected 8 to 16 bits; got 3"),
    ),
    *[
        Case(shlex.split(PICTURES), message, files=files)
        for files, message in [
            (empty_folder, "--data.root: expected images (.jpg"),
            (other_files, "--data.root: expected images (.jpg"),
            (one_image, "--data.heldout: expected at least 2 images to hold out and 2 to train on"),
            (other_size, "--data.image_size: expected images of one size, but 'pictures/"),
            (no_bytes, "'pictures/odd.png' is a broken image, or none"),
            (text_in_png, "'pictures/odd.png' is a broken image, or none: of no kind that is known; mend or remove it"),
            *(
                (cut_short(suffix), f"'pictures/odd.{suffix}' is a broken image")
                for suffix in ("png", "jpg", "gif", "tif")
            ),
            *((several(suffix), f"'pictures/odd.{suffix}' holds 3 images") for suffix in ("gif", "tif", "png")),
            (bomb, "'pictures/odd.png' unpacks to too many pixels"),
            (floats_of_255, "'pictures/odd.tif' holds numbers from 200 to 200; expected [0, 1]"),
            (nan_tiff, "'pictures/odd.tif' holds numbers from nan to nan; expected [0, 1]"),
            (twelve_bits, "'pictures/odd.png' has 16 bits or more, and none of its values is above 4000"),
            (numbers_of_32_bits, "'pictures/odd.tif' holds numbers from 1000000 to 1000000"),
            (white_glyph, "'pictures/odd.png' shows nothing on white; expected --data.background black"),
            (
                in_a_class,
                "--data.root: expected every image in a subfolder, its class, but 'pictures/00.png' is in none",
            ),
            (damaged_pack, "is damaged; delete it to have it anew"),
        ]
    ],
    Case(shlex.split(PICTURES), "--data: expected more than 10 images beside", 2, eight_images, PACK),
    Case(
        shlex.split(f"{PICTURES} --model gan --model.conditional projection"), "--model.conditional", 2, pictures, PACK
    ),
]

PUBLISHED = [
    *of(
        "",
        nothing,
        ("--data mnist --data.root nowhere", "--data.root: expected the files of MNIST"),
        ("--data cifar10 --data.root nowhere", "--data.root: expected CIFAR-10's files"),
        ("--data svhn --data.root nowhere", "--data.root: expected 'nowhere/train_32x32.mat', which is missing"),
        ("--data kmnist --data.download maybe", "--data.download: expected true or false; got 'maybe'"),
    ),
    *[
        Case(shlex.split(words), message, files=files)
        for words, files, message in [
            ("--data mnist --data.root idx", label_out_of_range, "gives image 0 the label 10 (40 are wrong)"),
            ("--data mnist --data.root idx", cut_idx, "'idx/train-images-idx3-ubyte' is no IDX file of bytes in 3"),
            ("--data kmnist --data.root idx", lying_idx, "'idx/train-images-idx3-ubyte' is no IDX file of bytes in 3"),
            ("--data mnist --data.root idx", missing_labels, "--data.root: one of the four files is missing"),
            ("--data mnist --data.root idx", fewer_labels, "--data.root: 'idx' holds 40 images but 9 labels"),
            ("--data mnist --data.root idx", cut_gzip, "'idx/train-images-idx3-ubyte.gz' is damaged"),
            ("--data cifar10 --data.root cifar", cifar_of_other_bytes, "expected records of 3073 bytes"),
            ("--data cifar10 --data.root cifar", cifar_label, "gives image 0 the label 11"),
            ("--data svhn --data.root svhn", svhn_junk, "--data.root: 'svhn/train_32x32.mat' is damaged"),
        ]
    ],
]

SERIES = "--data timeseries --data.root series"
SEQUENCES = [
    *of(
        "--data timeseries",
        nothing,
        ("--data.root none.npy", "--data.root: expected a file of series, got 'none.npy', which is none"),
        ("--data.window 500", "--data.window: expected at most the steps"),
        ("--data.window 1", "--data.window: expected at least 2 steps; got 1"),
        ("--data.stride 100000", "--data: expected more than 10 sequences beside those held out"),
        ("--data.columns a", "--data.columns: expected with a .csv; got 'no --data.root'"),
        ("--data.heldout 0.999", "--data.window: expected at most the steps"),
    ),
    *[
        Case(shlex.split(f"{SERIES}.csv {words}"), message, files=files)
        for words, files, message in [
            ("", table("gap", "50,,3"), "expected a finite number at every step, got nan at step 50, channel 1 of"),
            ("", table("word", "50,much,3"), "'series.csv', line 52: expected a number in column 'a', got 'much'"),
            (
                "",
                table("underscore", "50,1_00,3"),
                "'series.csv', line 52: expected a number in column 'a', got '1_00'",
            ),
            ("", table("Arabic digits", "50,\u0661,3"), "line 52: expected a number in column 'a'"),
            ("", table("comma of decimals", "50,'1,5',3"), "'series.csv', line 52: expected 3 columns, got 4"),
            (
                "",
                table("quoted comma of decimals", '50,"1,5",3'),
                "'series.csv', line 52: expected a number in column 'a', got '1,5'; decimals come after a point",
            ),
            ("", file("series.csv", "zeit;a\n1,5;2\n2,5;3\n", "semicolons"), "'series.csv' has ';' between its cells"),
            ("", file("series.csv", "zeit\ta\n1\t2\n2\t3\n", "tabs"), "'series.csv' has '\\t' between its cells"),
            ("", table("ragged", "50,1"), "'series.csv', line 52: expected 3 columns, got 2"),
            ("", table("1e400", "50,1e400,3"), "expected a finite number at every step, got inf at step 50"),
            ("", table("infinity", "50,inf,3"), "expected a finite number at every step, got inf at step 50"),
            (
                "",
                table("Latin-1", header="zeit,größe,b", encoding="latin-1"),
                "expected UTF-8 text; got 'series.csv' with the byte 0xf6",
            ),
            ("", table("UTF-16", encoding="utf-16"), "expected UTF-8 text; got 'series.csv' with the byte 0xff"),
            ("", table("columns of one name", header="a,a,b"), "expected columns of different names"),
            ("--data.columns c", table("good"), "--data.columns: expected one of time, a, b, or its number; got 'c'"),
            ("--data.columns a,a", table("good"), "columns that are different"),
            ("--data.columns ''", table("good"), "--data.columns: expected text that is not empty"),
            ("--data.series c", table("good"), "--data.series: expected one of time, a, b, or its number; got 'c'"),
            ("--data.series time", table("good"), "expected at least 2 steps, got 1 in series 0 of 'series.csv'"),
            ("", file("series.csv", "a,b\n" + "1,1\n2,1\n" * 50, "flat"), "expected channels that change, got 1.0"),
            ("", file("series.csv", "", "empty"), "--data.root: 'series.csv' is empty"),
            ("", file("series.csv", "a,b\n", "header alone"), "got 0 rows"),
            ("", file("series.csv", "a\n1\n2\n3\n", "three steps"), "--data.window: expected at most the steps"),
            ("", file("series.csv", "series,step\n1,2\n1,3\n", "no channel"), "the columns none in 'series.csv'"),
            ("", file("series.csv", "NA,1\n2,3\n", "NA in the first row"), "line 1: expected a number in column '0'"),
            ("", csv_of_long_cell, "'series.csv', line 3: field larger than field limit"),
        ]
    ],
    *[
        Case(shlex.split(f"{SERIES}.npy {words}"), message, files=files)
        for words, files, message in [
            (
                "",
                file("series.npy", b"\x93NUMPY nothing", "junk"),
                "'series.npy' is damaged, or holds other than arrays",
            ),
            ("", file("series.npy", b"", "no bytes"), "'series.npy' is damaged, or holds other than arrays"),
            (
                "",
                array("objects", lambda: np.array([{"a": 1}], dtype=object)),
                "'series.npy' is damaged, or holds other",
            ),
            ("", array("words", [["a", "b"], ["c", "d"]]), "expected arrays of numbers, (length, channels) or"),
            ("", array("complex numbers", [1j, 2j]), "expected arrays of numbers, (length, channels) or"),
            (
                "",
                array("an infinite step", np.where(np.arange(90) == 70, np.inf, np.arange(90) % 7)),
                "got inf at step 70",
            ),
            ("", array("nothing but NaN", np.full(90, np.nan)), "expected at least 2 steps, got 0"),
            ("", array("an empty array", np.zeros((0, 5, 2))), "got an empty one in 'series.npy'"),
            ("", array("four dimensions", np.zeros((2, 2, 2, 2))), "expected arrays of numbers"),
            ("", array("a number", 3.0), "expected arrays of numbers"),
            ("", array("one series", np.arange(90.0).reshape(1, 90, 1) % 7 + 1e308), "expected a finite number"),
            ("--data.columns a", array("good", np.arange(90.0) % 7), "--data.columns: expected with a .csv"),
        ]
    ],
    Case(shlex.split(f"{SERIES}.npz"), "'series.npz' is damaged, or holds other", files=cut_npz),
    Case(shlex.split(f"{SERIES}.npz"), "it unpacks to 4.29 GB; expected at most 4", files=bomb_npz),
    Case(shlex.split(f"{SERIES}.npz"), "expected series of as many channels each", files=ragged_npz),
    Case(
        shlex.split(f"{SERIES}.txt"),
        "expected .csv, .npy or .npz; got 'series.txt'",
        files=file("series.txt", "1", "text"),
    ),
    *of(
        "--data text",
        nothing,
        ("--data.root nowhere", "--data.root: expected a file or a folder of text"),
        ("--data.window 1", "--data.window: expected at least 2 tokens, got 1"),
        ("--data.vocabulary 2", "--data.vocabulary: expected at least 3 tokens"),
        ("--data.window 100000000", "--data.root: expected text for at least 2 windows"),
    ),
    *[
        Case(shlex.split("--data text --data.root x.txt"), message, files=file("x.txt", content, words))
        for content, words, message in [
            (" \n", "blank", "--data.root: expected text, but 'x.txt' is empty"),
            (bytes(range(256)) * 20, "binary", "expected UTF-8 text; got 'x.txt' with the byte 0x"),
            ("größe ".encode("latin-1") * 99, "Latin-1", "expected UTF-8 text; got 'x.txt' with the byte 0xf6 at 2"),
            ("short", "short", "expected text for at least 2 windows of 64 tokens"),
        ]
    ],
    *of(
        "--data audio",
        nothing,
        ("--data.root nowhere", "--data.root: expected a folder of sounds"),
        ("--data.root .", "--data.root: expected sounds (.wav, .flac"),
        ("--data.sample_rate 10", "--data.sample_rate: expected at least 1000 samples a second; got 10"),
        ("--data.seconds 0.01", "--data.seconds: expected at least 0.128, 8 frames; got 0.01"),
        ("--data.seconds 1e6", "--data.seconds: expected at most 262.144 at --data.sample_rate 16000"),
        ("--data.seconds inf", "--data.seconds: expected a number above 0, finite"),
        ("--data.num_mels 500", "--data.num_mels: expected fewer bands"),
    ),
    *[
        Case(shlex.split("--data audio --data.root sounds"), message, files=files)
        for files, message in [
            (silent_wav, "'sounds/odd.wav' is silent; expected a sound above -60 dB"),
            (empty_wav, "'sounds/odd.wav' is empty"),
            (nan_wav, "'sounds/odd.wav' holds samples that are not finite"),
            (slow_wav, "'sounds/odd.wav' has 10 samples a second; expected 1,000 to 1,000,000"),
            (cut_wav, "'sounds/odd.wav' is cut short"),
            (zero_byte_wav, "'sounds/odd.wav' is a broken sound, or none"),
            (cut_flac, "'sounds/odd.flac' is a broken sound, or none"),
        ]
    ],
]

VERBS = [
    *of(
        "",
        nothing,
        ("sample", "RUN: expected a value; got none"),
        ("sample nowhere", "RUN: expected a run folder with a config.yaml, got 'nowhere'"),
        ("sample nowhere --num", "--num: expected a value; got none"),
        ("sample nowhere --nmu 3", "--nmu: there is no such option here; did you mean '--num'?"),
        ("evaluate", "RUN: expected a value; got none"),
        ("evaluate nowhere", "RUN: expected a run folder with a config.yaml, got 'nowhere'"),
        ("compare", "FOLDERS: expected a value; got none"),
        ("compare nowhere", "RUN: expected run folders, or folders that hold some; got 'nowhere', which is none"),
        ("prefetch --data folder --data.root nowhere", "--data.root: expected a folder of images, a zip archive"),
        ("prefetch --model gna", "--model: expected one of"),
        ("prefetch --debug maybe", "--debug: expected true or false; got 'maybe'"),
        ("ablate --seed 0", "expected an option with several values"),
        ("ablate", "expected an option with several values"),
        ("ablate seed", "expected --OPTION VALUE; got 'seed'"),
        ("ablate --seed 0,0", "--seed: expected every value once; got 0,0"),
        ("ablate --seed 0,", "--seed: expected a whole number at least 0"),
        ("ablate --seed 0,x", "--seed: expected a whole number at least 0"),
        ("ablate --seed -1..4", "--seed: expected a whole number at least 0"),
        ("ablate --seed 0..99999999999", "--seed: expected at most"),
        ("ablate --augment none,ea", "--augment: expected one of"),
        ("ablate --seed 0..4 --modl gan", "--modl: there is no such option here; did you mean '--model'"),
        ("ablate --seed 0..4 --model gun", "--model: expected one of"),
        ("ablate --seed 0..4 --model.lr fast", "--model.lr: expected a number"),
        ("ablate --seed 0..4 --config a.yaml,b.yaml", "--config: expected one file; got a.yaml,b.yaml"),
        ("ablate --seed 0..4 --config a.yaml", "--config: expected a file, got 'a.yaml'"),
        ("ablate --seed 0..4 --slurm.partition x", "--slurm.partition: expected it with --launcher slurm or print"),
        ("ablate --seed 0..4 --workers 0", "--workers: expected a whole number above 0 or null; got '0'"),
        ("ablate --seed 0..4 --launcher pbs", "--launcher: expected local, slurm or print; got 'pbs'"),
        ("ablate --seed 0..4 --metric fid", "--metric: expected one of fd, "),
        ("ablate --seed 0..4 --baseline some", "--baseline: expected one of gan; got some"),
        ("ablate --seed 0..4 --factor augment --data.num_train 100,200", "--factor: expected one that varies"),
        ("ablate --seed 0..4 --dry_run perhaps", "--dry_run: expected true or false; got 'perhaps'"),
        ("ablate --seed 0,1 --folder ''", "--folder: expected text that is not empty"),
        ("ablate --seed 0,1 --folder /dev/null", "--folder: expected a folder that can be written to"),
    ),
    *of(
        "",
        a_run,
        ("sample run --num 0", "--num: expected a whole number at least 1 and at most 100000; got '0'"),
        ("sample run --num 100001", "--num: expected a whole number at least 1 and at most 100000; got '100001'"),
        ("sample run --film --num 1001", "--num: expected at most 1000 samples in a film; got 1001"),
        ("sample run --num 1_000", "--num: expected a whole number at least 1 and at most 100000, finite"),
        ("sample run --label 1", "--label: expected no label for a model without conditions"),
        ("sample run --out ''", "--out: expected text that is not empty"),
        ("sample run --out /dev/null/x", "--out: expected a folder that can be written to"),
        ("sample run --seed 99999999999", "--seed: expected a whole number at least 0 and below 4294967296"),
        ("evaluate run --metrics.features nope", "--metrics.features: expected classifier"),
        ("evaluate run --metrics.num_samples 3", "--metrics.num_samples: expected 10 to 100,000; got 3"),
        ("evaluate run --metrics.weights nowhere --metrics.features dinov2", "--metrics.weights: expected a file"),
        ("evaluate run --cache /dev/null", "--cache: expected a folder that can be written to"),
        ("compare run --metric fid --out out", "--metric: expected one of fd, "),
        ("compare run --baseline some --out out", "--baseline: expected one of"),
        ("--folder run --model ae --seed 5", "--folder: 'run' holds a run with --model.network mlp, not conv"),
        ("--augment ae --augment.checkpoint run --data ring --model.network mlp", "--augment.checkpoint: expected an"),
    ),
]

HERE = f"{RUN} --folder run"
DAMAGED = [
    *[
        Case(shlex.split(words), message, files=files)
        for words, files, message in [
            (HERE, damaged("checkpoints/last.ckpt"), "--folder: 'run/checkpoints/last.ckpt' is damaged"),
            (HERE, damaged("checkpoints/last.ckpt", ""), "--folder: 'run/checkpoints/last.ckpt' is damaged"),
            (HERE, weights_alone, "'run', which holds a trained model alone (model.safetensors)"),
            (f"{HERE} --model.lr 0.5", lost_config, "--folder: 'run' holds a run with --model.lr 0.002, not 0.5"),
            ("--augment none,ae", a_run, "got 'none,ae'; `python run.py ablate` compares several"),
            ("cache --cache own --prune", no_cache, "--cache: expected a folder that runs have as their --cache"),
            ("compare run --metric foo", unfinished_run, "--metric: expected a folder with runs of several arms"),
            (HERE, damaged("config.yaml", "a: ["), "--folder: 'run/config.yaml' is damaged"),
            ("sample run", damaged("config.yaml", ""), "--folder: 'run/config.yaml' is damaged"),
            ("sample run", damaged("config.yaml", b"\xff"), "--folder: 'run/config.yaml' is damaged"),
            ("sample run", damaged("results.json", "{"), "--folder: 'run/results.json' is damaged"),
            (
                "sample run",
                damaged("checkpoints/last.ckpt", "junk"),
                "--folder: 'run/checkpoints/last.ckpt' is damaged",
            ),
            ("sample run", without_weights, "RUN: expected a run with a checkpoint, got 'run'"),
            ("sample run", lacking("config.yaml"), "RUN: expected a run folder with a config.yaml"),
            ("sample run", cut_checkpoint, "--folder: 'run/checkpoints/last.ckpt' is damaged"),
            ("sample run", hostile_checkpoint, "--folder: 'run/checkpoints/last.ckpt' is damaged"),
            ("sample run", checkpoint_of_tensors, "--folder: expected a checkpoint of Autoencoder as its code is now"),
            ("sample run", config_of("another model", model={"name": "gna"}), "--model: expected one of"),
            ("sample run", config_of("no model", model=None), "--folder: 'run/config.yaml' is damaged"),
            ("sample run", config_of("a path for a model", model={"name": "../x"}), "--model: expected one of"),
            ("evaluate run", config_of("another data set", data={"name": "digit"}), "--data: expected one of"),
            (
                "evaluate run",
                config_of("a data option", data={"name": "digits", "x": 1}),
                "--folder: 'run/config.yaml' is damaged, or of another version",
            ),
            (
                "evaluate run",
                config_of("a wrong data option", data__num_train="x"),
                "--folder: 'run/config.yaml' is damaged, or of another version",
            ),
            (
                "evaluate run",
                config_of("other images", data__num_train=100),
                "--data: the checkpoint was trained on other",
            ),
            (
                "evaluate run",
                config_of("a metric option", metrics={"x": 1}),
                "--folder: 'run/config.yaml' is damaged, or of another version",
            ),
            ("compare run", lacking("results.json"), "RUN: expected run folders; got 'run', which has no results.json"),
            ("compare run", unfinished_run, "RUN: expected finished runs; 'run' is running"),
            ("compare run", damaged("results.json", "{"), "--folder: 'run/results.json' is damaged"),
            (
                "compare run",
                damaged("results.json", '{"status": "finished"}'),
                "--folder: 'run/results.json' is damaged",
            ),
            ("compare grid", grid_of_damaged_json, "RUN: 'grid/ablation.json' is damaged"),
            ("compare grid", grid_of_other_json, "RUN: 'grid/ablation.json' is damaged"),
            ("ablate --seed 0,1 --folder grid", grid_of_damaged_json, "'grid/ablation.json' is damaged"),
            (
                "--config run/config.yaml --folder other",
                damaged("config.yaml", "a: ["),
                "--config: 'run/config.yaml' is no",
            ),
            (
                "--augment ae --augment.checkpoint run",
                damaged("checkpoints/last.ckpt", "junk"),
                "--augment.checkpoint: 'run/checkpoints/last.ckpt' is damaged",
            ),
        ]
    ]
]

MACHINE = [
    *of(
        "",
        nothing,
        (f"--folder {READ_ONLY}/x", "--folder: expected a folder that can be written to"),
        (f"--cache {READ_ONLY}/x", "--cache: expected a folder that can be written to"),
        (f"prefetch --cache {READ_ONLY}/x", "--cache: expected a folder that can be written to"),
        (f"ablate --seed 0,1 --folder {READ_ONLY}/x", "--folder: expected a folder that can be written to"),
        ("--model.latent_dim 100000000000", "--model: expected a network that fits into memory"),
        status=3,
    ),
    Case(["sample", "run", "--out", f"{READ_ONLY}/x"], "--out: expected a folder that can be written to", 3, a_run),
    Case(["--data", "text"], 'pip install -e ".[sequences]"', 3, without="tokenizers"),
    Case(["--data", "text"], 'nltk; pip install -e ".[sequences]"', 3, leaves="cache/features/*", without="nltk"),
    Case(["--data", "timeseries"], 'pip install -e ".[sequences]"', 3, without="statsmodels"),
    Case(["--data", "audio"], 'pip install -e ".[sequences]"', 3, without="librosa"),
    Case(["--data", "audio"], 'pip install -e ".[sequences]"', 3, without="soundfile"),
    Case(["--metrics.features", "inception"], 'pip install -e ".[inception]"', 3, without="torch_fidelity"),
    Case(["--metrics.features", "dinov2"], 'pip install -e ".[pretrained]"', 3, without="timm"),
    Case(["--metrics.features", "efficientnet"], 'pip install -e ".[pretrained]"', 3, without="timm"),
    Case(
        shlex.split("ablate --launcher slurm --seed 0,1 --folder grid"),
        "--launcher: expected a machine with Slurm's sbatch and squeue for slurm",
        3,
        environment=(("PATH", ""),),
    ),
    Case(
        shlex.split("--logger wandb --metrics.features pixels"),
        "--logger: expected settings of W&B",
        environment=(("WANDB_BASE_URL", "nowhere"),),
    ),
    Case(shlex.split("--folder full/run"), "--folder: expected a folder that can be written to", 3, full_disk),
    Case(shlex.split("--cache full/cache"), "--cache: expected a folder that can be written to", 3, full_disk),
]

CASES = [*OPTIONS, *FOLDERS, *CONFIGS, *IMAGES, *PUBLISHED, *SEQUENCES, *VERBS, *DAMAGED, *MACHINE]
