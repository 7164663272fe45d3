"""The results of a run in words."""

import re
import shlex

from tabulate import tabulate

from lightning_genae.run_folder import PICTURES, RunFolder


def aligned(header: list[str], rows: list[list[str]], form: str = "plain") -> list[str]:
    """Lines of a table: columns with numbers are aligned to the right, all others to the left.

    Args:
        header: names of the columns.
        rows: of cells, each of one line, shown unchanged.
        form: of tabulate.
    """
    is_number = re.compile(r"[-+]?\d").match
    sides = ["right" if i and any(is_number(row[i]) for row in rows) else "left" for i in range(len(header))]
    text = tabulate(rows, header, form, disable_numparse=True, colalign=sides, preserve_whitespace=True)
    return [line.rstrip() for line in text.split("\n")]


def quality_lines(quality: dict) -> list[str]:
    """The quality reports of all augmentations in words."""
    return [line for name, values in quality.items() for line in _quality_of(name, values)]


def chosen_lines(chosen: list[str]) -> list[str]:
    """What a run took for options that were not given, words of a command line, in at most one line."""
    return [f"Not given, chosen by the images: {' '.join(chosen)}"] if chosen else []


TOLERANCE = 1.05  # the distance differs by some percent between draws of the variations
FEW = 50  # held-out or validation images; with fewer, a distance depends mostly on their choice
LABELS_KEPT = 0.9  # least fraction of labels that variations should keep for a conditional model


def _fraction(q: dict) -> str:
    words = f"{q['fraction']:.0%} of the {q.get('items', 'images')} are varied"
    return f"{words} at first, adapted to a target of {q['target']}" if q["target"] else words


def _quality_on_generator(name: str, q: dict) -> list[str]:
    line = (
        f"Quality report of {name}, on the generator: of the variance of what is measured of validation {q['items']}, "
        f"its {q['num_features']} features explain {q['explained']:.3f}, as many principal components "
        f"{q['explained_pca']:.3f}"
    )
    return [line, *_other_images(q)]


def _other_images(q: dict) -> list[str]:
    if q["autoencoder_images"] == q["images_trained_on"]:
        return []
    return [f"  WARNING: the autoencoder knows other {q['items']} than this run's; it may flatter the results"]


def _quality_of(name: str, q: dict) -> list[str]:
    if q["on"] == "generator":
        return _quality_on_generator(name, q)
    varied, originals, items = q["variations"], q["originals"], q.get("items", "images")
    value = "pixel" if items == "images" else "value"
    lines = [
        f"Quality report of {name}, on the {q['on']}; {_fraction(q)}. If all {items} are varied:",
        f"  Frechet distance to validation {items}: originals {originals['fd']:.3g}, variations {varied['fd']:.3g}, "
        f"both together {varied['fd_mixed']:.3g}; "
        + "; ".join(
            f"{key} {originals[key]:.2f}, {varied[key]:.2f}" for key in ("precision", "recall", "density", "coverage")
        ),
        f"  a variation is {varied['distance_to_original']:.3f} from its original and "
        f"{varied['distance_to_nearest_other']:.3f} from the nearest other one (root mean square, per {value})",
    ]
    if "labels_kept" in varied:
        lines.append(
            f"  {varied['labels_kept']:.1%} of the variations keep their class, by a classifier that knows "
            f"{q['labels_known']:.1%} of the originals"
        )
        if q["conditional"] and varied["labels_kept"] < LABELS_KEPT:
            less = "less --augment.strength" if q["strengths"] else "a lower --augment.fraction or another --augment"
            lines.append(
                f"  WARNING: the model is given classes, and less than {LABELS_KEPT:.0%} of the variations keep "
                f"theirs; try {less}"
            )
    if "mse_validation" in q:
        lines.insert(
            1,
            f"  reconstruction error on validation {items} {q['mse_validation']:.4f}, PCA with {q['num_components']} "
            f"components {q['mse_pca']:.4f} (squared, per {value}); Frechet distance of decoded {items} "
            f"{q['fd_decoded']:.3g}",
        )
        if name != "pca" and q["mse_validation"] > q["mse_pca"]:
            lines.append("  WARNING: the autoencoder is worse than PCA; it may want more --augment.steps or data")
        lines += _other_images({**q, "items": items})
    if q["on"] == "data" and varied["fd_mixed"] > TOLERANCE * originals["fd"]:
        less = "less --augment.strength" if q["strengths"] else "less of it"
        lines.append(
            f"  WARNING: with the variations the training {items} lie further from validation {items} than by "
            f"themselves (both together, by more than a twentieth); try {less} or, if the model has a critic, "
            "--augment.on critic"
        )
    if q["fraction"] == 0 and not q["target"]:
        lines.append("  WARNING: --augment.fraction 0 varies no image; this arm is the same as --augment none")
    if varied["distance_to_original"] < 1e-3:
        lines.append("  WARNING: the variations are the originals; this arm is the same as --augment none")
    elif varied["distance_to_original"] < 0.05 * varied["distance_to_nearest_other"]:
        lines.append("  WARNING: the variations hardly differ from the originals; this arm is nearly --augment none")
    return lines


def table(metrics: dict, protocol: dict) -> list[str]:
    """Metrics as text."""
    from lightning_genae.evaluation.metrics import known_values  # a slow import

    protocol = {"items": "images", **protocol}
    items = protocol["items"]
    num = protocol.get("n_floor", protocol["n_fake"])
    known = {name: value for name, value in known_values().items() if name in metrics}
    shown = {name: value for name, value in known.items() if value.is_row}
    real = f"real {items}" if num == protocol["n_fake"] else f"{num:,} real {items}"
    rows = []
    for name, value in shown.items():
        floor = format(protocol["floor"][name], value.form) if name in protocol["floor"] else ""
        low, high = (metrics.get(f"{name}_{side}") for side in ("low", "high"))
        interval = "" if low is None else f"{low:{value.form}} to {high:{value.form}}"
        rows.append([value.label, format(metrics[name], value.form), interval, floor])
    lines = [f"  {line}" for line in aligned(["", "samples", "95 % interval", real], rows)]
    if "n_independent" in protocol:
        lines.append(f"  held-out {items} overlap: only {protocol['n_independent']:,} of them share nothing")
    if not shown.keys() <= protocol["floor"].keys():
        lines.append(f"  Where the last column is empty, real {items} have no such value.")
    for what, num_of_it in (("held out to be measured against", "n_real"), ("kept aside to choose by", "n_validation")):
        if protocol.get(num_of_it, FEW) < FEW:
            lines.append(f"  WARNING: only {protocol[num_of_it]} {items} are {what}; numbers of so few say little")
    labels = {name: value.label for name, value in known_values().items()}
    lines += [
        f"  left out: {name}, {labels.get(name, name)} ({why})" for name, why in protocol.get("left_out", {}).items()
    ]
    lines += [f"  {value.note.format(**protocol, **metrics)}" for value in known.values() if value.note]
    features = (
        f"the {protocol['extractor'].rstrip('s')}'s features" if protocol["extractor"] != "pixels" else "pixel features"
    )
    return [
        f"{protocol['n_fake']:,} samples ({protocol['generator']} weights) against {protocol['n_real']:,} held-out "
        f"{items}, in {features}:",
        *lines,
    ]


def representation_table(values: dict, items: str = "images") -> list[str]:
    """The results of `lightning_genae.evaluation.representation` as text."""
    names = {
        "mse": ("squared error per value", ".4f"),
        "psnr": ("PSNR, dB", ".2f"),
        "ssim": ("SSIM", ".3f"),
        "bits_per_dimension": ("bits per dimension kept", ".3f"),
        "linear_probe": ("accuracy of a linear probe", ".3f"),
        "knn": ("accuracy of 5 nearest neighbours", ".3f"),
    }
    pca = f"PCA, {values['num_components']} dims"
    rows = []
    for name, (words, form) in names.items():
        columns = (values.get(f"{name}{suffix}") for suffix in ("", "_pca", "_pixels"))
        cells = ["" if value is None else format(value, form) for value in columns]
        if any(cells):
            rows.append([words, *cells])
    lines = [f"Representation of held-out {items}:"]
    lines += [f"  {line}" for line in aligned(["", "latents", pca, "pixels"], rows)]
    if values["bits_per_dimension"] < 0.1:
        lines.append(
            f"  WARNING: the latents say next to nothing of the {items}; a lower --model.beta or --model.kl may help"
        )
    return lines


def report(folder: RunFolder) -> str:
    """The summary at the end of a run: results, pictures, next steps."""
    results, config = folder.results, folder.config
    timing = results["timing"]
    model, augment, data = (config[key]["name"] for key in ("model", "augment", "data"))
    items = results["protocol"].get("items", "images")
    lines = [
        "",
        f"{model} on {data}, augmentation {augment}, seed {config['seed']}: {timing['images']:,} {items} in "
        f"{timing['seconds']:.0f} s, {timing['images_per_second']:,.0f} {items}/s",
        *chosen_lines(results.get("chosen", [])),  # runs of earlier versions did not choose
        *table(results["metrics"], results["protocol"]),
        *quality_lines(results["augment"]),
        "",
        "Pictures:",
    ]
    for name in PICTURES:
        # the last picture of a series, and single pictures
        lines += [f"  {path}" for path in sorted((folder.path / name).glob("[0-9]*.png"))[-1:]]
        lines += [f"  {path}" for path in sorted((folder.path / name).glob("[a-z]*.png"))]
    other = "none" if augment != "none" else "ae"
    path = shlex.quote(str(folder.path))
    elsewhere = f" --folder {shlex.quote(f'{folder.path}-{other}')}" if config["folder"] else ""
    lines += ["", "Next, the arm to compare with, and more samples:"]
    lines.append(f"  python run.py --config {path}/config.yaml --augment {other}{elsewhere}")
    lines.append(f"  python run.py sample {path} --num 256")
    return "\n".join(lines)
