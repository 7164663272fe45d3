"""`python run.py evaluate RUN`: the metrics of a run again, and the quality of its latents."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from lightning_genae.commands.build import build_datamodule
from lightning_genae.commands.runs import load_model, open_run, read_model, report_config_damage
from lightning_genae.commands.threads import choose_threads_again
from lightning_genae.config.parser import new_parser, parse_verb
from lightning_genae.report import representation_table, table
from lightning_genae.run_folder import RunFolder, check_writable
from lightning_genae.threads import NumThreads

if TYPE_CHECKING:
    from lightning_genae.data.dataset import Dataset
    from lightning_genae.evaluation.models import Encoding

log = logging.getLogger("lightning_genae")


def evaluate(arguments: list[str]) -> None:
    """The metrics of a run again, with another extractor or more samples, and the quality of its latents."""
    if arguments and not arguments[0].startswith("-"):
        open_run(arguments[0])  # before slow imports
    from callbacks.evaluate import Evaluate
    from lightning_genae.evaluation.models import encodes

    parser = new_parser("python run.py evaluate RUN [--metrics.OPTION VALUE ...]")
    parser.add_argument("run", help="the run folder")
    parser.add_class_arguments(Evaluate, "metrics", skip={"looks"})
    parser.add_argument("--cache", default="runs/cache", help="folder of what runs share")
    parser.add_argument("--threads", type=NumThreads, default="auto", help="of the CPU; auto: as many as the run had")
    options = parse_verb(parser, arguments)
    if options is None:
        return
    check_writable("--cache", options["cache"])
    folder, config = open_run(options["run"])
    choose_threads_again(options["threads"], folder)
    state = read_model(folder)
    model = load_model(folder, config, state)
    with report_config_damage(folder):
        datamodule = build_datamodule({**config, "cache": options["cache"]})
    datamodule.load_state_dict(state.get("data") or state[type(datamodule).__qualname__])
    # options that were not given are those of the run
    asked = {key: value for key, value in options["metrics"].items() if value is not None}
    of_the_run = {key: value for key, value in config["metrics"].items() if key != "every"}  # older runs have it
    with report_config_damage(folder):
        callback = Evaluate(**(of_the_run | asked))
    callback.prepare(datamodule.served, model)
    result = {"metrics": callback.evaluation.measure(model), "protocol": callback.protocol}
    lines = table(**result)
    if encodes(model):
        result["representation"], picture = represent(model, datamodule.served, folder)
        lines += [
            *representation_table(result["representation"], datamodule.served.item_name),
            f"Latents of held-out {datamodule.served.item_name}: {picture}",
        ]
    folder.update(evaluations=[*folder.results.get("evaluations", []), result])
    log.info("\n".join(lines))


def represent(model: "Encoding", dataset: "Dataset", folder: RunFolder) -> tuple[dict, Path]:
    """Measures of the model's latents, and the path of a picture of them in the plane."""
    from lightning_genae.data.drawing.grids import save_scatter
    from lightning_genae.evaluation.representation import encode, plane, representation

    log.info("Comparing the latents with principal components and pixels")
    has_labels = dataset.num_classes > 0
    values = representation(model, dataset.train, dataset.heldout, has_labels)
    images, labels = (part[:2000] for part in dataset.heldout)
    panels = {name: (xy, labels if has_labels else None) for name, xy in plane(encode(model, images)).items()}
    return values, save_scatter(folder.path / "latents.png", panels)
