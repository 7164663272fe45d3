"""README.md and docs/: every command is understood, and runs, page by page in its order, with few steps; every link,
picture, table and example holds."""

import ast
import csv
import re
import shlex
import subprocess
import sys
import zipfile
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from pytorch_lightning import LightningModule, Trainer
from sklearn.datasets import load_iris

import run
from datamodules import ImageDataModule
from lightning_genae import registry
from lightning_genae.ablation.grid import pair
from lightning_genae.augment import Augmentation
from lightning_genae.commands.parse import parse_run
from lightning_genae.config.nested import flatten
from lightning_genae.evaluation.extractors import Extractor
from lightning_genae.evaluation.metrics import SampleMetric, Samples
from lightning_genae.models.gan import GAN
from tests.conftest import ROOT

WINS = ROOT / "benchmarks" / "autoencoder_wins"
sys.path.append(str(WINS.parent))
import kept  # noqa: E402

INSTALL = 'pip install -e ".[test]" && '
MAIN, TEST = f"{INSTALL}python run.py --model gan --augment ae", f"{INSTALL}pytest"
SHOWN = ("--help", "--print_config")  # instead of a training
TOP = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")
PATHS = [*(ROOT / name for name in TOP), *sorted((ROOT / "docs").rglob("*.md"))]
PAGES = {str(path.relative_to(ROOT)): path.read_text() for path in PATHS}


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"(?m)^```{language}\n(.*?)^```", PAGES[page], re.DOTALL)


def commands(page: str) -> list[str]:
    lines = [line for block in blocks(page, "bash") for line in block.splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


# CONTRIBUTING.md has the commands of .ci/run
COMMANDS = {page: commands(page) for page in PAGES if page != "CONTRIBUTING.md" and commands(page)}
RUNS = {page: [one.removeprefix(INSTALL) for one in found if one != TEST] for page, found in COMMANDS.items()}


def test_the_two_commands():
    """Installing is .ci/run's business; here it matters that they stand there as they are run."""
    assert COMMANDS["README.md"][:2] == [MAIN, TEST]
    assert TEST in (ROOT / ".ci" / "run").read_text()


def shortened(words: list[str]) -> list[str]:
    """The command with few steps, if it trains, and few samples."""
    if words[0] == "evaluate" and "--metrics.num_samples" in words:
        return [*words, "--metrics.num_samples", "20"]
    if words[0] in ("sample", "evaluate", "compare", "cache") or "--help" in words:
        return words
    if words[0] == "ablate":
        return words if "--dry_run" in words else [*words, "--launcher", "print"]  # tests/test_ablate.py runs some
    trains = re.search(r"--augment (ae|vae)|--augment.match ae", " ".join(words))
    augments = ["--augment.steps", "10"] if trains else []
    return [*words, "--steps", "10", *augments]


def test_every_training_is_understood():
    """The options of all commands that train exist, and their values are taken; slow tests run them."""
    trainings = [shlex.split(command)[2:] for page in RUNS.values() for command in page]
    trainings = [words for words in trainings if words[0] not in run.VERBS and words[-1] not in SHOWN]
    assert len(trainings) > 25
    for words in trainings:
        config = flatten(parse_run(run.COMMAND_LINE, words))
        for option, value in pair(words).items():
            expected = (
                float(value) if re.fullmatch(r"[\d.e-]+", value) else {"true": True, "false": False}.get(value, value)
            )
            assert config[option] == expected, (words, option)


@pytest.mark.slow
@pytest.mark.parametrize("page", RUNS)
def test_commands(page, cli):
    write_what_is_brought()
    for command in RUNS[page]:
        python, script, *words = shlex.split(command)
        assert (python, script) == ("python", "run.py")
        status, out, error = cli(*shortened(words))
        assert status == 0, (command, error)
        assert out


def write_what_is_brought() -> None:
    """What the pages take as the user's own: a table, pictures in a folder, an archive and a Parquet file."""
    write_measurements(Path("measurements.csv"))
    kinds = ("cat", "dog")
    rows = ["file_name,kind"]
    for i in range(200):
        path = Path("pictures", kinds[i % 2], f"{i}.png")
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(i).integers(0, 256, (8, 8, 4), np.uint8)
        Image.fromarray(pixels, "RGBA").resize((64, 64)).save(path)
        rows.append(f"{path.relative_to('pictures')},{kinds[i % 2]}")
    contents = [{"bytes": path.read_bytes(), "path": None} for path in sorted(Path("pictures").rglob("*.png"))]
    datasets.Dataset.from_dict({"image": contents}).to_parquet("train.parquet")
    with zipfile.ZipFile("pictures.zip", "w") as archive:
        archive.writestr("metadata.csv", "\n".join(rows))
        for path in sorted(Path("pictures").rglob("*.png")):
            archive.write(path, path.relative_to("pictures"))


def write_measurements(path: Path) -> None:
    """The file that a user brings: irises, with the names of their species."""
    irises = load_iris()
    rows = [
        [*values, irises.target_names[label]] for values, label in zip(irises.data.tolist(), irises.target.tolist())
    ]
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([[*irises.feature_names, "species"], *rows])


def test_no_page_lost_its_commands():
    numbers = {page: len(found) for page, found in RUNS.items()}
    names = ("index", "running", "data", "models", "augmentation", "sequences", "metrics", "ablations")
    assert numbers.keys() == {"README.md", *(f"docs/{name}.md" for name in names)}
    assert sum(numbers.values()) > 45


def test_readme_is_short():
    assert len(PAGES["README.md"].splitlines()) < 200


def anchors(path: Path) -> set[str]:
    """Those that headings make, on a code host and on the site: in lower case, hyphens for spaces, no punctuation."""
    headings = re.findall(r"(?m)^#+ (.*)$", re.sub(r"(?ms)^```.*?^```", "", path.read_text()))
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES)
def test_links(page):
    """Every relative link, those of pictures among them, is of a file of this repository, and of a heading there."""
    text = re.sub(r"(?ms)^```.*?^```|`[^`\n]*`", "", PAGES[page])
    for link in re.findall(r"\]\((?!\w+:)(.*?)\)", text):
        target, _, anchor = link.partition("#")
        path = (ROOT / page).parent / target if target else ROOT / page
        assert path.is_file(), link
        assert path.resolve().is_relative_to(ROOT), link
        assert not anchor or anchor in anchors(path), link
        if page != "README.md" and path.name != "README.md":
            assert path.is_relative_to(ROOT / "docs") or path.resolve() in on_site(), f"{link} is not on the site"


def on_site() -> set[Path]:
    """The files outside docs/ that docs/hooks.py, which needs MkDocs, puts on the site."""
    tree = ast.parse((ROOT / "docs" / "hooks.py").read_text())
    (patterns,) = (node.value for node in tree.body if isinstance(node, ast.Assign) and node.targets[0].id == "OUTSIDE")
    return {path.resolve() for pattern in ast.literal_eval(patterns) for path in ROOT.glob(pattern)}


def test_pictures_stayed():
    shown = {page: len(re.findall(r"!\[.*?\]\(", text)) for page, text in PAGES.items()}
    assert shown["README.md"] == 3
    assert (shown["docs/results.md"], shown["docs/sequences.md"], shown["docs/ablations.md"]) == (4, 2, 1)


def test_every_page_is_in_the_navigation():
    settings = yaml.safe_load((ROOT / "mkdocs.yml").read_text())
    parts = [pages for section in settings["nav"] for pages in section.values()]
    found = {page for pages in parts for page in ([pages] if isinstance(pages, str) else pages)}
    assert {page.removeprefix("docs/") for page in PAGES if page != "README.md"} <= found


@pytest.mark.parametrize("page", ["README.md", "docs/architecture.md"])
def test_everything_on_the_map_exists(page):
    (tree,) = re.findall(r"## Map\n\n```\n(.*?)```", PAGES[page], re.DOTALL)
    for name in re.findall(r"(?m)^(\S+)", tree):
        assert (ROOT / name).exists(), name
    for name in re.findall(r"(\w+\.py|\w+/)  ", tree):
        assert list(ROOT.rglob(name.rstrip("/"))), name


def rows(text: str) -> list[list[str]]:
    """The cells of all rows of the tables in a text."""
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in text.splitlines() if line[:2] == "| "]


@pytest.mark.parametrize("name, one", [("screen", "none"), ("default", "generator"), ("confirm", "ae"), ("long", "ae")])
def test_the_tables_of_the_study_are_of_the_rows_that_are_kept(name, one):
    tables = kept.tables(kept.read(WINS / f"{name}.csv"), one, is_base=name == "screen")
    assert tables.strip() in (WINS / "README.md").read_text()


@pytest.mark.parametrize("name, base", [("default", "dcgan-none"), ("networks", "dcgan")])
def test_the_tables_of_photographs_are_of_the_rows_that_are_kept(name, base):
    folder = ROOT / "benchmarks" / "photographs"
    tables = kept.tables(kept.read(folder / f"{name}.csv"), base, is_base=True)
    assert tables.strip() in (folder / "README.md").read_text()


def test_the_result_is_that_of_the_study():
    """Each row of README's table is one of the study's tables; its change is marked where the corrected p says so."""
    table = PAGES["README.md"].partition("| data | `gan` with | distance |")[2].partition("\n\n")[0]
    study = rows((WINS / "README.md").read_text())
    assert len(rows(table)) > 8
    for _, _, distance, change in rows(table):
        (row,) = (row for row in study if row[2:4] == [distance, change.strip("*_")])
        p = float(row[4].removeprefix("below ") or 1)
        mark = "" if p > 0.05 else "**" if row[3][0] == "-" else "_"
        assert change == f"{mark}{row[3]}{mark}"


def test_the_table_of_variations_is_that_of_its_study():
    study = (ROOT / "benchmarks" / "low_data" / "cpu.md").read_text()
    (overview,) = re.findall(r"(?m)^\| arm \| digits 200 \|(?:.*\n)+?(?=\n)", study)
    assert overview in PAGES["docs/results.md"]


@pytest.fixture(scope="module")
def examples() -> dict[type, type]:
    """The one public class of each example of docs/extending.md, by what it derives from."""
    found = {}
    for code in blocks("docs/extending.md", "python"):
        names = {"__name__": "example"}
        exec(compile(code, "docs/extending.md", "exec"), names)
        own = (value for value in names.values() if isinstance(value, type) and value.__module__ == "example")
        (public,) = own
        found[next(base for base in BASES if issubclass(public, base))] = public
    return found


BASES = (GAN, LightningModule, Augmentation, ImageDataModule, SampleMetric, Extractor)


def test_examples_are_of_every_kind(examples):
    assert set(examples) == set(BASES) and len(set(examples.values())) == len(BASES)


@pytest.fixture(scope="module")
def squares(examples):
    datamodule = examples[ImageDataModule]()
    datamodule.setup()
    return datamodule


def test_the_groups_of_entry_points_are_those_that_are_looked_for():
    text = (ROOT / "docs/extending.md").read_text()
    assert set(re.findall(r"^\| `(lightning_genae\.[a-z.]+)` \|", text, re.MULTILINE)) == set(registry.GROUPS.values())


def test_example_of_a_data_set(squares):
    images, labels = squares.dataset.heldout
    assert images.shape == (200, 1, 8, 8) and images.dtype == torch.uint8
    white = (images == 255).flatten(1).sum(1)
    assert torch.equal(white, torch.where(labels == 1, 16, 4))


def test_example_of_a_variant_of_a_model(examples):
    """Its term is the squared mean of all pixels where the generated images are grey and the real ones white."""
    losses = []
    for weight in (0.0, 3.0):
        torch.manual_seed(0)  # the same critic
        model = examples[GAN]((1, 8, 8), 2, mean=weight, lr=None, loss=None, width=2)
        model.generate = lambda labels: torch.zeros(len(labels), 1, 8, 8)
        losses.append(model.loss_generator(torch.ones(4, 1, 8, 8), torch.zeros(4, dtype=torch.int64)))
    assert losses[1].item() == pytest.approx(losses[0].item() + 3)


def test_example_of_a_model(examples, squares):
    """It learns the mean and the deviation of every pixel."""
    model = examples[LightningModule](squares.dataset.image_shape, squares.dataset.num_classes, lr=0.03)
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = Trainer(max_steps=200, limit_val_batches=0, enable_model_summary=False, accelerator="cpu", **quiet)
    trainer.fit(model, datamodule=squares)
    x = squares.dataset.train.images / 127.5 - 1
    learnt = {"mean": model.mean - x.mean(0), "deviation": model.log_sigma.exp() - x.std(0)}
    # a model that has learnt nothing is off by 0.69 and 0.34
    off = {name: float(error.detach().abs().mean()) for name, error in learnt.items()}
    assert off == pytest.approx(dict.fromkeys(off, 0.0), abs=0.05)
    samples = model.sample(1000)
    assert samples.shape == (1000, 1, 8, 8) and samples.abs().max() <= 1


def test_example_of_an_augmentation(examples):
    """Black stays black; white becomes a grey of its own for every image, from half to full brightness."""
    varied = examples[Augmentation]().vary(torch.tensor([-1.0, 1.0]).expand(500, 1, 1, 2), None)
    black, white = varied.unbind(3)
    assert (black == -1).all()
    assert 0 <= white.min() < 0.05 and 0.95 < white.max() <= 1


def test_example_of_a_metric(examples):
    black, white = (Samples(images=torch.full((4, 1, 2, 2), value, dtype=torch.uint8)) for value in (0, 255))
    for real, fake, expected in ((black, black, 0.0), (black, white, 2.0), (white, black, 2.0)):
        assert examples[SampleMetric](real=real).measure(fake) == {"brightness_distance": expected}


def test_example_of_an_extractor(examples, squares):
    """Linear in the pixels, and the same whatever was drawn before."""
    extractor = examples[Extractor](squares.dataset)
    torch.rand(1)
    again = examples[Extractor](squares.dataset)
    images = squares.dataset.heldout.images[:2]
    first, second = extractor(images)
    assert first.shape == (32,) and torch.equal(again(images)[0], first)
    mixed = extractor(((images[:1].int() + images[1:].int()) / 2 / 127.5 - 1).float())
    assert torch.allclose(mixed[0], (first + second) / 2, atol=1e-5)


def test_the_package_holds_what_run_needs(tmp_path):
    """`run.py` works from another folder, with nothing but the installed packages' names."""
    code = "import run, callbacks, datamodules, lightning_genae; print('found')"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "found", done.stderr
