"""A trained autoencoder's variations: encode, perturb the latents, decode (DeVries & Taylor 2017, arXiv 1702.05538)."""

import logging
from typing import Any, get_args

from jsonargparse.typing import NonNegativeInt, PositiveInt
from torch import nn

from lightning_genae.augment import _training
from lightning_genae.augment._perturbing import PerturbingAugmentation
from lightning_genae.augment._reduced import Reduced, default_factor, reduced
from lightning_genae.data import modalities
from lightning_genae.data.dataset import Dataset
from lightning_genae.data.modalities.image import Image
from lightning_genae.nn.networks import Network
from lightning_genae.options import default_of
from lightning_genae.registry import Choice

log = logging.getLogger("lightning_genae")
AUTOENCODER = Choice(
    "lightning_genae.models",
    default="ae",
    methods=("encode", "decode", "reconstruct"),
    renamed={name: f"--augment.autoencoder.network {name}" for name in get_args(Network)},
    # null: what follows, by what the autoencoder is for
    defaults={"ae": {"network": None, "latent_dim": None, "noise": None}},
)
# dense layers: as near as convolutions of few channels, for a tenth of their time in every batch
VARYING: dict[str, object] = {"network": "mlp"}
# one that knows more of what is in an image; by benchmarks/autoencoder_wins
MATCHING: dict[str, object] = {"network": "conv", "latent_dim": 64, "noise": "diffaug"}
# sizes of dense layers, and channels at full resolution, by side: few, for they cost in every batch
HIDDEN, WIDTH, WIDTH_MATCHING = [256], 8, 16
ENCODER_STEPS = 1000  # of `trained_encoder`, at most


class AutoencoderAugment(PerturbingAugmentation):
    """Variations of images by an autoencoder of this project.

    It is trained on exactly the images that the model will be trained on, or loaded from a checkpoint.

    Args:
        autoencoder: any model that encodes and decodes, such as vaegan, which is sharper, or rnn_ae for sequences; its
            options are `--augment.autoencoder.OPTION`. For ae, network, latent_dim and noise of null are mlp, 16 and
            no, and on the generator's side conv, 64 and diffaug (gaussian for what is no grey or RGB image). For mlp,
            hidden of null is [256]; for conv and resnet, width of null is 8, and 16 on the generator's side.
        steps: maximum number of training batches of 32 images (fewer above 128x128); training stops earlier when the
            error on a tenth of the training images, set aside for that, hardly falls any more. 0: it stays as it was
            initialised, which is a control for what training brings.
        reduce: the autoencoder sees images whose sides are divided by this. null: by the most that divides both and
            leaves 14 pixels, for images with the detail residual; else 1.
        checkpoint: of a trained autoencoder, a run folder or its checkpoints/last.ckpt. null: trains an autoencoder.
        foreign: the checkpoint may have been trained on other images than this run.

    Raises:
        UserError: there is no such autoencoder.
    """

    choices = {"autoencoder": AUTOENCODER}  # noqa: RUF012

    def __init__(
        self,
        autoencoder: str | dict = "ae",
        steps: NonNegativeInt = 1000,
        reduce: PositiveInt | None = None,
        checkpoint: str | None = None,
        foreign: bool = False,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.given = {"name": autoencoder} if isinstance(autoencoder, str) else dict(autoencoder)
        self.name = self.given.pop("name")
        self.model = AUTOENCODER.load("--augment.autoencoder", self.name)
        self.options = self._chosen(VARYING, WIDTH)
        self.steps = steps
        self.reduce = reduce
        self.checkpoint = checkpoint
        self.foreign = foreign

    def check(self, dataset: Dataset) -> None:
        """Loads the checkpoint, if one is set.

        Raises:
            ValueError: it is of another model, of images of another shape or of other images.
            FileNotFoundError: there is no checkpoint.
        """
        super().check(dataset)
        if self.side == "generator":
            self.options = self._chosen(_knowing(dataset), WIDTH_MATCHING)
        self._choose_factor(dataset)
        option, names = "--augment.autoencoder", AUTOENCODER.names()
        modalities.check(option, AUTOENCODER.package, self.model, dataset.modality, names)
        if self.checkpoint:
            models = {name: AUTOENCODER.load(option, name) for name in names}
            self.autoencoder, self.trained_on = _training.loaded(models, self.checkpoint, self.foreign, dataset)
            log.info(
                f"The autoencoder of '{self.checkpoint}' augments, of {self.autoencoder.hparams.latent_dim} latent "
                "dimensions; --augment.autoencoder, its options and --augment.steps have no effect"
            )

    def fit(self, dataset: Dataset, **trainer_options: Any) -> None:
        """Trains the autoencoder, unless it was loaded, and learns the distribution of the training latents."""
        if not self.checkpoint:
            small = reduced(dataset, self.factor) if self.factor > 1 else dataset
            arguments = self.model, self.options, self.steps, small, trainer_options
            self.autoencoder, self.trained_on = _training.trained(*arguments)[0], dataset.fingerprint
            if self.factor > 1:
                self.autoencoder = Reduced(self.autoencoder, self.factor, dataset.image_shape[1:])
        self.learn_latents(dataset.train, dataset.cache_dir)

    def _chosen(self, defaults: dict[str, object], width: int) -> dict:
        """The options of the autoencoder, where those that were left open are these."""
        open_ones = {name for name in AUTOENCODER.defaults.get(self.name, {}) if self.given.get(name) is None}
        options = {name: value for name, value in self.given.items() if name not in open_ones}
        options |= {name: value for name, value in defaults.items() if name in open_ones}
        network = options.get("network", default_of(self.model, "network"))
        for of, option, value in (
            (("mlp",), "hidden", HIDDEN),
            (("conv", "resnet", "fastgan", "stylegan2"), "width", width),
        ):
            if network in of and options.get(option) is None:
                options[option] = value
        return options

    def _choose_factor(self, dataset: Dataset) -> None:
        if self.reduce is None:
            self.factor = default_factor(dataset) if self.detail == "residual" and not self.checkpoint else 1
            return
        self.factor = self.reduce
        option, sides = "--augment.reduce", dataset.image_shape[1:]
        if self.factor > 1 and not isinstance(dataset.modality, Image):
            raise ValueError(f"{option}: expected 1 for data of modality {dataset.modality.name}; got {self.factor}")
        if self.factor > 1 and self.checkpoint:
            raise ValueError(f"{option}: expected 1 with --augment.checkpoint, of whole images; got {self.factor}")
        if any(side % self.factor or side // self.factor < 4 for side in sides):
            width, height = reversed(sides)
            raise ValueError(
                f"{option}: expected a divisor of both sides that leaves 4 pixels of each, of images of "
                f"{width}x{height}; got {self.factor}"
            )

    def settings(self) -> dict[str, object]:
        if self.checkpoint:
            return {}
        names = ("hidden", "width", *(MATCHING if self.side == "generator" else ()))
        chosen = {name: self.options.get(name) for name in names}
        resolved = {f"autoencoder.{name}": value for name, value in chosen.items() if value is not None}
        return resolved if self.factor == 1 else {**resolved, "reduce": self.factor}


def trained_encoder(dataset: Dataset, steps: int = ENCODER_STEPS, **trainer_options: Any) -> nn.Sequential:
    """The encoder of the autoencoder that is trained for the generator's side, from the cache if it is there.

    Args:
        dataset: only `dataset.train` is used.
        steps: at most, batches of 32 images.
        trainer_options: options of Lightning's Trainer.
    """
    model = AUTOENCODER.load("--augment.autoencoder", "ae")
    options = {**_knowing(dataset), "width": WIDTH_MATCHING}
    autoencoder: Any = _training.trained(model, options, steps, dataset, trainer_options)[0]
    return autoencoder.encoder


def _knowing(dataset: Dataset) -> dict[str, object]:
    """Options of an autoencoder that knows more of what is in the images of a data set."""
    can_diffaug = isinstance(dataset.modality, Image) and dataset.image_shape[0] in (1, 3)
    return MATCHING | ({} if can_diffaug else {"noise": "gaussian"})
