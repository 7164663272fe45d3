"""Modalities: the kinds of data, one class per file. To add one, add a file, and a data set that builds it.

A modality owns everything that differs between images, points, series, text, ...: how values are stored and their units
for people, which values are valid (`project`), the losses and likelihoods that suit it, the extractor that measures it,
how items are drawn and written. The base class in `_modality.py` documents every part.

A model, augmentation, metric or extractor that does not support all of them lists those it supports: `modalities =
("image", ...)`. Only `check` tests that. Nothing outside this folder
compares a modality's name; tests/test_modalities.py reads the syntax trees.
"""

from collections.abc import Iterable

from lightning_genae import registry
from lightning_genae.data.modalities._modality import Likelihood, Loss, Modality
from lightning_genae.errors import UserError

PACKAGE = "lightning_genae.data.modalities"
__all__ = ["PACKAGE", "Likelihood", "Loss", "Modality", "check", "check_declared", "modality_of", "new", "supports"]


def new(name: str, has_mask: bool = False) -> Modality:
    """The modality of a name, without the units of any data.

    Args:
        name: a file of this package.
        has_mask: whether the last channel says where items end; see `Modality`.

    Raises:
        UserError: there is no such modality.
    """
    return registry.load(PACKAGE, name)(has_mask=has_mask)


def modality_of(model: object) -> Modality:
    """The modality of a model's samples, by its options `modality` and `has_mask`; images if it has none."""
    hparams = getattr(model, "hparams", {})
    return new(hparams.get("modality", "image"), hparams.get("has_mask", False))


def supports(part: type, modality: Modality) -> bool:
    """Whether a model, augmentation, metric or extractor (a class) is for data of this modality."""
    own = getattr(part, "modalities", None)
    return own is None or modality.name in own


def check_declared(part: type) -> None:
    """Checks that a class declares modalities that there are.

    Raises:
        UserError: it declares something else.
    """
    declared, known = getattr(part, "modalities", None), registry.names(PACKAGE)
    if declared is not None and (not isinstance(declared, tuple) or not set(declared) <= set(known)):
        raise UserError(
            f"{registry.described(part)}: expected modalities = a tuple of some of {', '.join(known)}, or None for "
            f"all; got {declared!r}"
        )


def check(option: str, package: str, part: type, modality: Modality, among: Iterable[str] | None = None) -> None:
    """Checks that the choice of an option supports a modality.

    Args:
        option: as it is typed.
        package: of the choices.
        part: the chosen class.
        modality: of the data.
        among: names of choices. None: all of the package.

    Raises:
        ValueError: the choice does not support the modality, or declares one that does not exist.
    """
    check_declared(part)
    if supports(part, modality):
        return
    fitting = [name for name in among or registry.names(package) if supports(registry.load(package, name), modality)]
    raise ValueError(
        f"{option}: expected {' or '.join(fitting)} for data of modality {modality.name} (--data); got "
        f"{registry.name_of(part)}, which is for {', '.join(getattr(part, 'modalities', ()))}"
    )
