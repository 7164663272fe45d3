"""Where augmentations act, how often, and how that adapts; they compose (`--augment ae+classic`)."""

from jsonargparse.typing import ClosedUnitInterval, OpenUnitInterval, PositiveInt
from torch import Tensor, nn

from lightning_genae.augment import _quality
from lightning_genae.augment._augmentation import Augmentation, Side
from lightning_genae.augment._stream import Stream
from lightning_genae.data import modalities
from lightning_genae.data.dataset import Dataset
from lightning_genae.data.modalities import Modality
from lightning_genae.data.modalities.image import Image


class Composition(nn.Module):
    """The augmentations of a run, one after the other.

    On the data, training images are varied before the model sees them, and a generator learns to make the
    variations too. On the critic, real and generated images pass the same differentiable variations before they
    are judged, and the generator learns the originals (Karras et al. 2020, arXiv 2006.06676; Zhao et al. 2020,
    arXiv 2006.10738).

    Args:
        parts: augmentations by name.
        on: data or critic, for all of them, or one for each, such as data+critic. null: each one's own; that of ae, vae
            and pca is the critic, and the data for models without one.
        fraction: share of the images that is varied, in [0, 1]; on the data 0.5 equals, in distribution, training on
            the originals and as many variations. Each of several draws its own fraction, by itself; for ada it is the
            probability of each transformation. null: 0.5 on the data, 0.7 on the critic.
        target: adapts the fraction, from 0 on if none is given: it rises while the critic's overfitting signal
            r_t = E[sign of its outputs on real images] lies above this value, and falls below it
            (arXiv 2006.06676). null: 0.6 for ada if no fraction is given, otherwise no adaptation.
        adapt_images: images shown in which an adapting fraction can go from 0 to 1 (500,000 in the paper).
        within_class: vary an image within its own class, so that a conditional model's labels stay right. null: on
            the data, and on the critic if the model is conditional.
    """

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
        self.parts = nn.ModuleDict(parts)
        self.on = self._given_sides(on) if on else {}
        if len(parts) > 1 and "none" in parts:
            raise ValueError(f"--augment: expected none by itself; got {'+'.join(parts)}")
        own = next((part.target for part in parts.values() if part.target), None)
        self.target = own if target is None and fraction is None else target
        self.adapt_images = adapt_images
        self.fraction = 0.0 if self.target and fraction is None else fraction
        self._act_on({name: self.on.get(name, part.apply_to) for name, part in parts.items()})
        self.within_class = within_class
        self.conditional = False
        self.modality: Modality = Image()

    def check(self, dataset: Dataset, model) -> None:
        """Raises ValueError for what cannot work with this data or this model, before anything is trained."""
        self.modality = dataset.modality
        for augmentation in self.parts.values():
            modalities.check("--augment", "lightning_genae.augment", type(augmentation), dataset.modality)
            augmentation.check(dataset)
        self.conditional = getattr(model, "num_conditions", 0) > 0
        has_critic = getattr(model, "critic_transform", None) is not None
        if not has_critic:
            own = {
                name: augmentation.apply_to_without_critic or augmentation.apply_to
                for name, augmentation in self.parts.items()
            }
            self._act_on(own | self.on)
        on_critic = self.applied_to("critic")
        if on_critic and not has_critic:
            raise ValueError(
                "--augment.on: expected data for a model without a critic of images; "
                f"got critic ({', '.join(on_critic)})"
            )
        if self.target and not hasattr(model, "overfitting"):
            raise ValueError(
                "--augment.target: expected a model whose critic shows how far it overfits: gan, but not with "
                f"--model.loss wgan or wgan-gp, vaegan, bigan or cogan; got {self._describe(model)}; "
                "--augment.fraction without a target does not adapt"
            )
        if on_critic and self.within_class and not self.conditional:
            raise ValueError(
                "--augment.within_class: expected a conditional model on the critic's side, because generated images "
                "of others have no class; got true"
            )

    def restart(self, seed: int) -> None:
        """Starts the random numbers of `forward` and `view` anew: for every batch, from a seed of its own.

        They are a stream beside torch's global one, so that runs with different augmentations share all others. Where
        this is never called they come from the global one.
        """
        self.stream.restart(seed)

    def fit(self, dataset: Dataset, **trainer_options) -> None:
        """Lets every augmentation learn what it needs from `dataset.train` alone."""
        for augmentation in self.parts.values():
            augmentation.fit(dataset, **trainer_options)

    def quality(self, dataset: Dataset, extractor) -> dict[str, dict]:
        """The quality report of every augmentation that changes images, by its name; see `_quality.py`."""
        measured = {
            name: _quality.measure(
                augmentation, dataset, extractor, self.is_within_class(self.sides[name]), self.conditional
            )
            for name, augmentation in self.parts.items()
        }
        return {
            name: {
                "on": self.sides[name],
                "fraction": self.fractions[name],
                "target": self.target,
                "conditional": self.conditional,
                **values,
            }
            for name, values in measured.items()
            if values
        }

    def settings(self) -> dict[str, dict]:
        """The settings of every augmentation, by its name, with what options without a value came to; plain values."""
        return {
            name: {
                **{"on": self.sides[name], "fraction": self.fractions[name], "target": self.target},
                "within_class": self.is_within_class(self.sides[name]),
                **augmentation.settings(),
            }
            for name, augmentation in self.parts.items()
            if name != "none"
        }

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        """A training batch (B, C, H, W) in [-1, 1] as the model shall see it."""
        return self.modality.project(self._pass("data", images, labels)) if self.applied_to("data") else images

    def critic_transform(self, images: Tensor, labels: Tensor) -> Tensor:
        """Images (B, C, H, W), real or generated, as the critic shall see them; gradients pass."""
        return self._pass("critic", images, labels)

    def vary(self, images: Tensor, labels: Tensor) -> Tensor:
        """A variation (B, C, H, W) in [-1, 1] of every image, by all augmentations."""
        for name, augmentation in self.parts.items():
            images = augmentation.vary(images, labels if self.is_within_class(self.sides[name]) else None)
        return self.modality.project(images)

    def applied_to(self, side: Side) -> list[str]:
        """Names of the augmentations that stand on the data or on the critic."""
        return [name for name, own in self.sides.items() if own == side and name != "none"]

    def is_within_class(self, side: Side) -> bool:
        """Whether images are varied within their class there."""
        if self.within_class is not None:
            return self.within_class
        return side == "data" or self.conditional

    @property
    def reconstruct(self):
        """The reconstruction (B, C, H, W) of images by the first augmentation with an autoencoder.

        Raises:
            AttributeError: there is none.
        """
        for augmentation in self.parts.values():
            if hasattr(augmentation, "reconstruct"):
                return augmentation.reconstruct
        raise AttributeError("reconstruct")

    def adapt(self, overfitting: float, num_images: int) -> None:
        """Moves the fraction towards the target.

        Args:
            overfitting: r_t, in [-1, 1].
            num_images: shown since the last time.
        """
        step = num_images / self.adapt_images * (1 if overfitting > self.target else -1)
        self.fractions = {name: min(1.0, max(0.0, fraction + step)) for name, fraction in self.fractions.items()}

    def _pass(self, side: Side, images: Tensor, labels: Tensor) -> Tensor:
        labels = labels if self.is_within_class(side) else None
        with self.stream.drawn(images.device):
            for name in self.applied_to(side):
                images = self.parts[name](images, labels, self.fractions[name])
        return images

    def _given_sides(self, on: str) -> dict[str, Side]:
        """The augmentations' sides as the user gave them."""
        sides = on.split("+") * (len(self.parts) if "+" not in on else 1)
        if len(sides) != len(self.parts):
            raise ValueError(
                f"--augment.on: expected one side, or {len(self.parts)}, one for each augmentation; got {on}"
            )
        for (name, augmentation), side in zip(self.parts.items(), sides):
            if side not in augmentation.fractions:
                raise ValueError(f"--augment.on: expected {' or '.join(augmentation.fractions)} for {name}; got {side}")
        return dict(zip(self.parts, sides))

    def _act_on(self, sides: dict[str, Side]) -> None:
        """Puts the augmentations where they shall stand, with the fractions that they have there."""
        self.sides = sides
        self.fractions = {
            name: augmentation.fractions[sides[name]] if self.fraction is None else self.fraction
            for name, augmentation in self.parts.items()
        }

    @staticmethod
    def _describe(model) -> str:
        loss = model.hparams.get("loss")
        return f"{type(model).__name__}{f' with --model.loss {loss}' if loss else ''}"
