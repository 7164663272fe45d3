"""Modalities: what data can be, one class a file. To add one, add a file, and a data set that builds it.

A modality owns all that differs between images, points, series, text, ...: how values are stored and what they are to
people, which values can be (`project`), the losses and likelihoods that suit it, the extractor that measures it, how
items are drawn and written. A class is in `_modality.py`, with the meaning of every part.

What does not go with all of them says by `modalities = ("image", ...)` with which it does: a class of a model, an
augmentation, a metric or an extractor. `check` is the one place where that is asked. Nothing outside this folder
compares a modality's name; tests/test_modalities.py reads the syntax trees.
"""

from collections.abc import Iterable

from lightning_genae import registry
from lightning_genae.data.modalities._modality import Modality

PACKAGE = "lightning_genae.data.modalities"


def new(name: str, has_mask: bool = False) -> Modality:
    """The modality of a name, without the units of any data.

    Args:
        name: a file of this package.
        has_mask: whether the last channel says where items end; see `Modality`.
    """
    return registry.load(PACKAGE, name)(has_mask=has_mask)


def modality_of(model) -> Modality:
    """That of a model's samples, by the `modality` and `has_mask` that it was built with; images if it has none."""
    hparams = getattr(model, "hparams", {})
    return new(hparams.get("modality", "image"), hparams.get("has_mask", False))


def supports(part: type, modality: Modality) -> bool:
    """Whether a model, augmentation, metric or extractor (a class) is for data of this modality."""
    return getattr(part, "modalities", None) is None or modality.name in part.modalities


def check(option: str, package: str, part: type, modality: Modality, among: Iterable[str] | None = None) -> None:
    """Raises ValueError if what an option chose is not for data of this modality.

    Args:
        option: as it is typed.
        package: that the choices are in.
        part: what was chosen, a class.
        modality: of the data.
        among: names of choices. None: all of the package.
    """
    if supports(part, modality):
        return
    fitting = [name for name in among or registry.names(package) if supports(registry.load(package, name), modality)]
    raise ValueError(
        f"{option}: expected {' or '.join(fitting)} for data of modality {modality.name} (--data); got "
        f"{registry.name_of(part)}, which is for {', '.join(part.modalities)}"
    )
