"""Finished runs side by side: a table for each protocol, because numbers of different protocols cannot be compared."""

from lightning_genae.config.nested import flatten
from lightning_genae.evaluation.metrics import known_values
from lightning_genae.report import aligned
from lightning_genae.run_folder import RunFolder

# keys that follow from the rest of a protocol
DERIVED = ("floor", "n_floor", "added", "accuracy_heldout", "items", "bits_per_character_of", "left_out")
CHOOSING = ("looks", "n_validation")  # the best look depends on them, the metrics at the end do not


def compare(folders: list[RunFolder], best: bool = False) -> list[str]:
    """The results of runs as lines of text.

    Args:
        folders: of the runs.
        best: show the Frechet distance at the look chosen by the validation images instead of the metrics at the end.

    Raises:
        ValueError: a run is not finished.
    """
    tables: dict[str, list[RunFolder]] = {}
    protocols: dict[str, dict] = {}
    for folder in folders:
        results = folder.results
        if not results:
            raise ValueError(f"RUN: expected run folders; got '{folder.path}', which has no results.json")
        if results.get("status") != "finished":
            raise ValueError(
                f"RUN: expected finished runs; '{folder.path}' is {results.get('status')}; the command that started it "
                "goes on with it"
            )
        if not {"metrics", "protocol"} <= set(results):
            raise ValueError(
                f"--folder: '{folder.path / 'results.json'}' is damaged; expected it as a run wrote it; --overwrite "
                "starts the run anew"
            )
        protocol = protocol_of(results, best)
        protocols[str(protocol)] = protocol
        tables.setdefault(str(protocol), []).append(folder)
    lines = []
    for number, (key, members) in enumerate(tables.items(), start=1):
        if len(tables) > 1:
            lines += ["", f"Protocol {number}: {difference(protocols[key], list(protocols.values()))}"]
        lines += _table(members, best)
    precisions = {folder.results["precision"] for folder in folders if "precision" in folder.results}
    if len(precisions) > 1:
        lines += ["", f"Not computed alike: in {' and in '.join(sorted(map(str, precisions)))} (--precision)."]
    if best:
        lines += ["", "Best FD: at the look chosen by the validation images, neither trained on nor reported on."]
    if len(tables) > 1:
        lines += ["", "Numbers of different tables cannot be compared: their protocols differ in what is named above."]
    return lines


def protocol_of(results: dict, best: bool) -> dict:
    """What the numbers of a run depend on, as {"extractor": ..., "versions.torch": ...}.

    Args:
        results: of the run.
        best: include what the best look depends on, not only the metrics at the end.
    """
    left_out = DERIVED if best else DERIVED + CHOOSING
    return flatten({key: value for key, value in results["protocol"].items() if key not in left_out})


def difference(protocol: dict, protocols: list[dict]) -> str:
    """What distinguishes a protocol from the others."""
    names = {key for each in protocols for key in each}
    keys = [key for key in sorted(names) if any(each.get(key) != protocols[0].get(key) for each in protocols)]
    return ", ".join(f"{key} {protocol.get(key, 'none')}" for key in keys)


def _table(folders: list[RunFolder], best: bool) -> list[str]:
    has = {name for folder in folders for name in folder.results["metrics"]}
    known = {name: value for name, value in known_values().items() if value.in_brief and name in has}
    header, rows = ["run", "best FD", "at images"] if best else ["run", *known], []
    for folder in folders:
        metrics, chosen = folder.results["metrics"], folder.results["best"]
        if best:
            rows.append([str(folder.path), f"{chosen['fd']:.3f}", f"{chosen['images']:,}"])
        else:
            rows.append([str(folder.path), *(_cell(metrics, name, value.form) for name, value in known.items())])
    return aligned(header, rows)


def _cell(metrics: dict, name: str, form: str) -> str:
    if name not in metrics:
        return ""
    if f"{name}_low" in metrics:
        return f"{metrics[name]:{form}} ({metrics[f'{name}_low']:{form}} to {metrics[f'{name}_high']:{form}})"
    return f"{metrics[name]:{form}}"
