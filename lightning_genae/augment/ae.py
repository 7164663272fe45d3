"""A trained autoencoder's variations: encode, perturb the latents, decode (DeVries & Taylor 2017, arXiv 1702.05538)."""

import logging
from typing import Literal

from jsonargparse.typing import PositiveFloat, PositiveInt

from lightning_genae.augment import _training
from lightning_genae.augment._perturbing import PerturbingAugmentation
from lightning_genae.data import modalities
from lightning_genae.data.dataset import Dataset
from lightning_genae.models import ae, rnn_ae, vaegan

log = logging.getLogger("lightning_genae")
MODELS = {"ae": ae.Autoencoder, "vaegan": vaegan.VAEGAN, "rnn_ae": rnn_ae.RecurrentAutoencoder}  # by --model


class AutoencoderAugment(PerturbingAugmentation):
    """Variations of images by an autoencoder of this project.

    It is trained on exactly the images that the model will be trained on, or loaded from a checkpoint.

    Args:
        autoencoder: convolutional, dense, residual or, for sequences, recurrent (`--model ae`), a sharper one trained
            against a critic (vaegan), or the recurrent autoencoder (rnn_ae).
        latent_dim: dimensions of its latent code, at least 1.
        width: channels at full resolution, or units of a recurrent network; all except mlp. A narrow one costs less in
            every batch. null: 8, or 64 if recurrent.
        steps: maximum number of training batches of 64 images (fewer above 128x128); training stops earlier when the
            error on a tenth of the training images, set aside for that, no longer falls.
        lr: learning rate of Adam, above 0. null: the model's default.
        checkpoint: of a trained autoencoder, a run folder or its checkpoints/last.ckpt. null: trains an autoencoder.
        foreign: the checkpoint may have been trained on other images than this run.
    """

    def __init__(
        self,
        autoencoder: Literal["conv", "mlp", "resnet", "recurrent", "vaegan", "rnn_ae"] = "conv",
        latent_dim: PositiveInt = 16,
        width: PositiveInt | None = None,
        steps: PositiveInt = 1000,
        lr: PositiveFloat | None = None,
        checkpoint: str | None = None,
        foreign: bool = False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.model = autoencoder if autoencoder in MODELS else "ae"
        self.options = {"latent_dim": latent_dim}
        if autoencoder != "rnn_ae":
            self.options["network"] = "conv" if autoencoder == "vaegan" else autoencoder
        self.options |= {} if lr is None else {"lr": lr}
        default_width = 64 if autoencoder in ("recurrent", "rnn_ae") else 8
        self.options |= {} if autoencoder == "mlp" else {"width": width or default_width}
        self.steps = steps
        self.checkpoint = checkpoint
        self.foreign = foreign

    def check(self, dataset: Dataset) -> None:
        """Loads the checkpoint, if one is set.

        Raises:
            ValueError: it is of another model, of images of another shape or of other images.
            FileNotFoundError: there is no checkpoint.
        """
        super().check(dataset)
        model_class = MODELS[self.model]
        modalities.check("--augment.autoencoder", "lightning_genae.models", model_class, dataset.modality, MODELS)
        if self.checkpoint:
            self.autoencoder, self.trained_on = _training.loaded(MODELS, self.checkpoint, self.foreign, dataset)
            log.info(
                f"The autoencoder of '{self.checkpoint}' augments, of {self.autoencoder.hparams.latent_dim} latent "
                "dimensions; --augment.autoencoder, latent_dim, width, steps and lr have no effect"
            )

    def fit(self, dataset: Dataset, **trainer_options) -> None:
        """Trains the autoencoder, unless it was loaded, and learns the distribution of the training latents."""
        if not self.checkpoint:
            arguments = MODELS[self.model], self.options, self.steps, dataset, trainer_options
            self.autoencoder, self.trained_on = _training.trained(*arguments)
        self.learn_latents(dataset.train, dataset.cache_dir)

    def settings(self) -> dict[str, object]:
        return {} if self.checkpoint else {key: self.options[key] for key in ("width",) if key in self.options}
