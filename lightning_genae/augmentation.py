"""Where augmentations stand, how often they act, and how that adapts; they compose (`--augment ae+classic`)."""

from jsonargparse.typing import ClosedUnitInterval, OpenUnitInterval, PositiveInt
from torch import Tensor, nn

from lightning_genae import gate
from lightning_genae.augment._arm import Arm, Place
from lightning_genae.augment._stream import Stream
from lightning_genae.data import modalities
from lightning_genae.data.dataset import Dataset
from lightning_genae.data.modalities import Modality
from lightning_genae.data.modalities.image import Image


class Augmentation(nn.Module):
    """The arms of a run, one after the other.

    On the data, training images are varied before the model sees them, and a generator learns to make the
    variations too. On the critic, real and generated images pass the same differentiable variations before they
    are judged, and the generator learns the originals (Karras et al. 2020, arXiv 2006.06676; Zhao et al. 2020,
    arXiv 2006.10738).

    Args:
        arms: augmentations by name.
        on: data or critic, for all arms, or a place for each, such as data+critic. null: each arm's own; that of ae,
            vae and pca is the critic, and the data for models without one.
        fraction: share of the images that is varied, in [0, 1]; on the data 0.5 equals, in distribution, training on
            the originals and as many variations. Each of several arms draws its own share, by itself; for ada it is
            the probability of each transformation. null: 0.5 on the data, 0.7 on the critic.
        target: adapts the fraction, from 0 on if none is given: it rises while the critic's overfitting signal
            r_t = E[sign of its outputs on real images] lies above this value, and falls below it
            (arXiv 2006.06676). null: 0.6 for ada if no fraction is given, otherwise no adaptation.
        adapt_images: images shown in which an adapting fraction can go from 0 to 1 (500,000 in the paper).
        model_labels: vary an image within its own class, so that a conditional model's labels stay right. null: on
            the data, and on the critic if the model is conditional.
    """

    def __init__(
        self,
        arms: dict[str, Arm],
        on: str | None = None,
        fraction: ClosedUnitInterval | None = None,
        target: OpenUnitInterval | None = None,
        adapt_images: PositiveInt = 50_000,
        model_labels: bool | None = None,
    ):
        super().__init__()
        self.stream = Stream()
        self.arms = nn.ModuleDict(arms)
        self.on = self._given_places(on) if on else {}
        if len(arms) > 1 and "none" in arms:
            raise ValueError(f"--augment: expected none by itself; got {'+'.join(arms)}")
        own = next((arm.target for arm in arms.values() if arm.target), None)
        self.target = own if target is None and fraction is None else target
        self.adapt_images = adapt_images
        self.fraction = 0.0 if self.target and fraction is None else fraction
        self._stand({name: self.on.get(name, arm.place) for name, arm in arms.items()})
        self.model_labels = model_labels
        self.conditional = False
        self.modality: Modality = Image()

    def check(self, dataset: Dataset, model) -> None:
        """Raises ValueError for what cannot work with this data or this model, before anything is trained."""
        self.modality = dataset.modality
        for arm in self.arms.values():
            modalities.check("--augment", "lightning_genae.augment", type(arm), dataset.modality)
            arm.check(dataset)
        self.conditional = getattr(model, "num_conditions", 0) > 0
        has_critic = getattr(model, "view", None) is not None
        if not has_critic:
            own = {name: arm.place_without_critic or arm.place for name, arm in self.arms.items()}
            self._stand(own | self.on)
        on_critic = self.stand_on("critic")
        if on_critic and not has_critic:
            raise ValueError(
                "--augment.on: expected data for a model without a critic of images; "
                f"got critic ({', '.join(on_critic)})"
            )
        if self.target and not hasattr(model, "overfitting"):
            raise ValueError(
                "--augment.target: expected a model whose critic shows how far it overfits: gan, but not with "
                f"--model.loss wgan or wgan-gp, aegan, bigan or cogan; got {self._describe(model)}; --augment.fraction "
                "without a target does not adapt"
            )
        if on_critic and self.model_labels and not self.conditional:
            raise ValueError(
                "--augment.model_labels: expected a conditional model on the critic's side, because generated images "
                "of others have no class; got true"
            )

    def restart(self, seed: int) -> None:
        """Starts the random numbers of `forward` and `view` anew: for every batch, from a seed of its own.

        They are a stream beside torch's global one, so that runs with different augmentations share all others. Where
        this is never called they come from the global one.
        """
        self.stream.restart(seed)

    def fit(self, dataset: Dataset, **trainer_options) -> None:
        """Lets every arm learn what it needs from `dataset.train` alone."""
        for arm in self.arms.values():
            arm.fit(dataset, **trainer_options)

    def quality(self, dataset: Dataset, extractor) -> dict[str, dict]:
        """The quality gate of every arm that changes images, by its name; see `lightning_genae.gate`."""
        measured = {
            name: gate.measure(arm, dataset, extractor, self.heeds_labels(self.places[name]), self.conditional)
            for name, arm in self.arms.items()
        }
        return {
            name: {
                "on": self.places[name],
                "fraction": self.fractions[name],
                "target": self.target,
                "conditional": self.conditional,
                **values,
            }
            for name, values in measured.items()
            if values
        }

    def settings(self) -> dict[str, dict]:
        """How every arm stands, by its name, with what options without a value came to; plain values, for a report."""
        return {
            name: {
                **{"on": self.places[name], "fraction": self.fractions[name], "target": self.target},
                "model_labels": self.heeds_labels(self.places[name]),
                **arm.settings(),
            }
            for name, arm in self.arms.items()
            if name != "none"
        }

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        """A training batch (B, C, H, W) in [-1, 1] as the model shall see it."""
        return self.modality.project(self._pass("data", images, labels)) if self.stand_on("data") else images

    def view(self, images: Tensor, labels: Tensor) -> Tensor:
        """Images (B, C, H, W), real or generated, as the critic shall see them; gradients pass."""
        return self._pass("critic", images, labels)

    def vary(self, images: Tensor, labels: Tensor) -> Tensor:
        """A variation (B, C, H, W) in [-1, 1] of every image, by all arms."""
        for name, arm in self.arms.items():
            images = arm.vary(images, labels if self.heeds_labels(self.places[name]) else None)
        return self.modality.project(images)

    def stand_on(self, place: Place) -> list[str]:
        """Names of the arms that stand on the data or on the critic."""
        return [name for name, own in self.places.items() if own == place and name != "none"]

    def heeds_labels(self, place: Place) -> bool:
        """Whether images are varied within their class there."""
        if self.model_labels is not None:
            return self.model_labels
        return place == "data" or self.conditional

    @property
    def reconstruct(self):
        """The reconstruction (B, C, H, W) of images by the first arm with an autoencoder.

        Raises:
            AttributeError: there is none.
        """
        for arm in self.arms.values():
            if hasattr(arm, "reconstruct"):
                return arm.reconstruct
        raise AttributeError("reconstruct")

    def adapt(self, overfitting: float, num_images: int) -> None:
        """Moves the fraction towards the target.

        Args:
            overfitting: r_t, in [-1, 1].
            num_images: shown since the last time.
        """
        step = num_images / self.adapt_images * (1 if overfitting > self.target else -1)
        self.fractions = {name: min(1.0, max(0.0, fraction + step)) for name, fraction in self.fractions.items()}

    def _pass(self, place: Place, images: Tensor, labels: Tensor) -> Tensor:
        labels = labels if self.heeds_labels(place) else None
        with self.stream.drawn(images.device):
            for name in self.stand_on(place):
                images = self.arms[name](images, labels, self.fractions[name])
        return images

    def _given_places(self, on: str) -> dict[str, Place]:
        """The arms' places as the user gave them."""
        places = on.split("+") * (len(self.arms) if "+" not in on else 1)
        if len(places) != len(self.arms):
            raise ValueError(f"--augment.on: expected one place, or {len(self.arms)}, one for each arm; got {on}")
        for (name, arm), place in zip(self.arms.items(), places):
            if place not in arm.fractions:
                raise ValueError(f"--augment.on: expected {' or '.join(arm.fractions)} for {name}; got {place}")
        return dict(zip(self.arms, places))

    def _stand(self, places: dict[str, Place]) -> None:
        """Puts the arms where they shall stand, with the fractions that they have there."""
        self.places = places
        self.fractions = {
            name: arm.fractions[places[name]] if self.fraction is None else self.fraction
            for name, arm in self.arms.items()
        }

    @staticmethod
    def _describe(model) -> str:
        loss = model.hparams.get("loss")
        return f"{type(model).__name__}{f' with --model.loss {loss}' if loss else ''}"
