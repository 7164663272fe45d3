"""What augmentations are applied to, how often, and how that adapts; they compose (`--augment ae+classic`)."""

from collections.abc import Callable, Mapping
from typing import Any, cast

import torch
from jsonargparse.typing import ClosedUnitInterval, OpenUnitInterval, PositiveInt
from pytorch_lightning import LightningModule
from torch import Tensor, nn

from lightning_genae.augment import _contract, _quality
from lightning_genae.augment._augmentation import Augmentation, Side
from lightning_genae.augment._stream import Stream
from lightning_genae.data import modalities
from lightning_genae.data.dataset import Dataset
from lightning_genae.data.modalities import Modality
from lightning_genae.data.modalities.image import Image
from lightning_genae.evaluation.extractors import Extractor
from lightning_genae.options import warn_unused


class Composition(nn.Module):
    """The augmentations of a run, one after the other.

    Applied to the data, they vary training images before the model sees them, and a generator learns to make the
    variations too. Applied to the critic, they vary real and generated images alike, differentiably, before the critic
    scores them, and the generator learns the originals (Karras et al. 2020, arXiv 2006.06676; Zhao et al. 2020,
    arXiv 2006.10738).

    Args:
        parts: augmentations by name.
        on: apply them to the data, the critic or the generator: one word for all augmentations, or one for each, such
            as data+critic. On the generator's side an autoencoder varies no image: its features of generated images
            are to have the mean and covariance that they have of training images. null: the default of each; for ae,
            vae and pca the generator, for data that are no images or a model without one the critic, and for a model
            without a critic the data.
        fraction: of the images that is varied, in [0, 1]; on the data 0.5 equals, in distribution, training on the
            originals and as many variations. Composed augmentations draw their images independently; for ada it is
            the probability of each transformation. null: 0.5 on the data, 0.7 on the critic.
        target: adapts the fraction, starting at 0 if none is set: it rises while the critic's overfitting signal
            r_t = E[sign of its outputs on real images] is above this value, and falls while it is below
            (arXiv 2006.06676). null: 0.6 for ada if no fraction is set, otherwise no adaptation.
        adapt_images: images shown while an adapting fraction can go from 0 to 1 (500,000 in the paper).
        within_class: vary an image within its own class, so that a conditional model's labels stay right. null: true on
            the data, and on the critic if the model is conditional.

    Raises:
        ValueError: none is composed with others, or `on` does not fit the augmentations.
    """

    parts: Mapping[str, Augmentation]
    fractions: dict[str, float]

    def __init__(
        self,
        parts: dict[str, Augmentation],
        on: str | None = None,
        fraction: ClosedUnitInterval | None = None,
        target: OpenUnitInterval | None = None,
        adapt_images: PositiveInt = 50_000,
        within_class: bool | None = None,
    ):
        super().__init__()
        self.stream = Stream()
        for part in parts.values():
            _contract.check_class(part)
        self.parts = nn.ModuleDict(parts)  # type: ignore[assignment]  # ModuleDict is not generic
        self.on = self._parse_sides(on) if on else {}
        if len(parts) > 1 and "none" in parts:
            raise ValueError(f"--augment: expected none by itself; got {'+'.join(parts)}")
        default_target = next((part.target for part in parts.values() if part.target), None)
        self.target = default_target if target is None and fraction is None else target
        self.adapt_images = adapt_images
        self.fraction = 0.0 if self.target and fraction is None else fraction
        self.sides: dict[str, Side] = {name: self.on.get(name, part.apply_to) for name, part in parts.items()}
        self._set_fractions()
        self.within_class = within_class
        self.conditional = False
        self.modality: Modality = Image()

    def check(self, dataset: Dataset, model: LightningModule) -> None:
        """Checks the data and the model before anything is trained.

        Raises:
            ValueError: the augmentations cannot work with this data or this model.
        """
        self.modality = dataset.modality
        for augmentation in self.parts.values():
            modalities.check("--augment", "lightning_genae.augment", type(augmentation), dataset.modality)
        self._choose_sides(model)
        for name, augmentation in self.parts.items():
            augmentation.side = self.sides[name]
            augmentation.check(dataset)
        self.conditional = getattr(model, "num_conditions", 0) > 0
        if self.target and not hasattr(model, "overfitting"):
            raise ValueError(
                "--augment.target: expected a model whose critic shows how far it overfits: gan, but not with "
                f"--model.loss wgan or wgan-gp, vaegan, bigan or cogan; got {self._describe(model)}; "
                "--augment.fraction without a target does not adapt"
            )
        if self.applied_to("critic") and self.within_class and not self.conditional:
            raise ValueError(
                "--augment.within_class: expected a conditional model on the critic's side, because generated images "
                "of others have no class; got true"
            )
        for option in getattr(model, "of_augmented", ()):
            value, used = model.hparams[option] or None, bool(self.applied_to("critic"))
            warn_unused(option, value, used, "--augment diffaug, or another on the critic")
        if set(self.sides.values()) == {"generator"}:  # where nothing is varied
            fraction = None if self.target and not self.fraction else self.fraction  # one that adapts begins at 0
            for option, value in (("fraction", fraction), ("target", self.target), ("within_class", self.within_class)):
                warn_unused(option, value, False, "--augment.on critic or data", "augment")
            self.target = None

    def restart(self, seed: int) -> None:
        """Restarts the random stream of the augmentations; called for every batch with a different seed.

        The stream is separate from torch's global one, so that runs with different augmentations share all other random
        numbers. If this is never called, the numbers come from the global stream.
        """
        self.stream.restart(seed)

    def fit(self, dataset: Dataset, **trainer_options: Any) -> None:
        """Lets every augmentation learn what it needs from `dataset.train` alone.

        Raises:
            ValueError: it cannot be learnt, or its variations are no such images.
        """
        for name, augmentation in self.parts.items():
            augmentation.fit(dataset, **trainer_options)
            side = self.sides[name]
            if side == "generator":
                augmentation.fit_matching(dataset)
                continue
            _contract.check_variation(augmentation, dataset, side, self.is_within_class(side))

    def quality(self, dataset: Dataset, extractor: Extractor) -> dict[str, dict]:
        """The quality report of every augmentation that changes images, by name; see `_quality.py`.

        Of one on the generator, which varies nothing, it is how much of what is measured its features know.
        """
        measured = {name: self._quality(name, dataset, extractor) for name in self.parts}
        return {
            name: {**self._place(name), "conditional": self.conditional, **values}
            for name, values in measured.items()
            if values
        }

    def _quality(self, name: str, dataset: Dataset, extractor: Extractor) -> dict:
        part, side = self.parts[name], self.sides[name]
        if side != "generator":
            return _quality.measure(part, dataset, extractor, self.is_within_class(side), self.conditional)
        about = {"items": dataset.item_name, "images_trained_on": dataset.fingerprint}
        values = part.matching_quality(dataset, extractor)
        return about | values if values else {}

    def settings(self) -> dict[str, dict]:
        """The settings of every augmentation, by name, with the resolved values of open options; plain values."""
        return {
            name: {**self._place(name), **augmentation.settings()}
            for name, augmentation in self.parts.items()
            if name != "none"
        }

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        """A training batch (B, C, H, W) in [-1, 1], of classes (B,), as the model sees it, in the same range."""
        return self.modality.project(self._pass("data", images, labels)) if self.applied_to("data") else images

    def matching(self, images: Tensor) -> Tensor:
        """What generated images (B, C, H, W) in [-1, 1] add to the generator's loss, a scalar."""
        return torch.stack([self.parts[name].matching(images) for name in self.applied_to("generator")]).sum()

    def critic_transform(self, images: Tensor, labels: Tensor) -> Tensor:
        """Images (B, C, H, W), real or generated, of classes (B,), as the critic sees them; differentiable."""
        return self._pass("critic", images, labels)

    def vary(self, images: Tensor, labels: Tensor) -> Tensor:
        """A variation (B, C, H, W) in [-1, 1] of every image, by all augmentations but those on the generator."""
        for name, augmentation in self.parts.items():
            if self.sides[name] == "generator":
                continue
            images = augmentation.vary(images, labels if self.is_within_class(self.sides[name]) else None)
        return self.modality.project(images)

    def applied_to(self, side: Side) -> list[str]:
        """Names of the augmentations that are applied to the data or to the critic."""
        return [name for name, applied in self.sides.items() if applied == side and name != "none"]

    def is_within_class(self, side: Side) -> bool:
        """Whether images are varied within their class on this side."""
        if self.within_class is not None:
            return self.within_class
        return side == "data" or self.conditional

    @property
    def reconstruct(self) -> Callable[[Tensor], Tensor]:
        """The reconstruction (B, C, H, W) of images by the first augmentation with an autoencoder.

        Raises:
            AttributeError: there is none.
        """
        for augmentation in self.parts.values():
            if reconstruct := getattr(augmentation, "reconstruct", None):
                return reconstruct
        raise AttributeError("reconstruct")

    def state(self) -> dict[str, dict[str, Any]]:
        """What changes in training, which a resumed training goes on with."""
        moments = {name: self.parts[name].matching_state() for name in self.applied_to("generator")}
        return {"fractions": self.fractions, "matching": moments}

    def go_on_from(self, state: dict[str, dict[str, Any]]) -> None:
        """Sets what changes in training."""
        self.fractions = state["fractions"]
        for name, moments in state.get("matching", {}).items():  # older checkpoints have none
            self.parts[name].set_matching_state(moments)

    def adapt(self, overfitting: float, num_images: int) -> None:
        """Moves the fraction towards the target.

        Args:
            overfitting: r_t, in [-1, 1].
            num_images: shown since the last call.
        """
        assert self.target is not None  # the fraction adapts
        step = num_images / self.adapt_images * (1 if overfitting > self.target else -1)
        self.fractions = {name: min(1.0, max(0.0, fraction + step)) for name, fraction in self.fractions.items()}

    def _pass(self, side: Side, images: Tensor, labels: Tensor) -> Tensor:
        used = labels if self.is_within_class(side) else None
        with self.stream.drawn(images.device):
            for name in self.applied_to(side):
                images = self.parts[name](images, used, self.fractions[name])
        return images

    def _place(self, name: str) -> dict[str, object]:
        """Where an augmentation is applied, and to what part of the images."""
        side = self.sides[name]
        if side == "generator":
            return {"on": side}
        within_class = self.is_within_class(side)
        return {"on": side, "fraction": self.fractions[name], "target": self.target, "within_class": within_class}

    def _parse_sides(self, on: str) -> dict[str, Side]:
        """The side of each augmentation, from the option `on`."""
        sides = cast("list[Side]", on.split("+") * (len(self.parts) if "+" not in on else 1))  # which is checked below
        if len(sides) != len(self.parts):
            raise ValueError(
                f"--augment.on: expected one side, or {len(self.parts)}, one for each augmentation; got {on}"
            )
        for (name, augmentation), side in zip(self.parts.items(), sides):
            if side not in augmentation.fractions:
                raise ValueError(f"--augment.on: expected {' or '.join(augmentation.fractions)} for {name}; got {side}")
        return dict(zip(self.parts, sides))

    def _choose_sides(self, model: LightningModule) -> None:
        """Applies augmentations of which nothing is said to what the model has.

        Raises:
            ValueError: one is to be applied to what the model lacks.
        """
        has_critic = getattr(model, "critic_transform", None) is not None
        has_matching = getattr(model, "has_matching", False)
        lacking = {side for side, has in (("critic", has_critic), ("generator", has_matching)) if not has}
        for name, part in self.parts.items():
            if name not in self.on:
                preferred = part.preferred_sides(self.modality)
                self.sides[name] = next((side for side in preferred if side not in lacking), preferred[-1])
        self._set_fractions()
        if (on_critic := self.applied_to("critic")) and not has_critic:
            raise ValueError(
                "--augment.on: expected data for a model without a critic of images; "
                f"got critic ({', '.join(on_critic)})"
            )
        if (matched := self.applied_to("generator")) and not has_matching:
            sides = "data or critic" if has_critic else "data"
            raise ValueError(
                f"--augment.on: expected {sides} for {self._describe(model)}, whose generator's loss takes no other "
                f"term; got generator ({', '.join(matched)})"
            )

    def _set_fractions(self) -> None:
        """Sets the fraction of each augmentation on its side."""
        self.fractions = {
            name: augmentation.fractions[self.sides[name]] if self.fraction is None else self.fraction
            for name, augmentation in self.parts.items()
        }

    @staticmethod
    def _describe(model: LightningModule) -> str:
        loss = model.hparams.get("loss")
        return f"{type(model).__name__}{f' with --model.loss {loss}' if loss else ''}"
