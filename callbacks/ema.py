"""The generator's exponential moving average, which makes the samples."""

from pytorch_lightning import Callback


class Ema(Callback):
    """Updates `averaged` from `generator` after every batch, if the model has them.

    The average is part of the model (torch's AveragedModel: parameters averaged, buffers copied), so it is saved and
    resumed with it. Lightning's callbacks average the whole module, including the critic.
    """

    def on_train_batch_end(self, trainer, pl_module, *args) -> None:
        if hasattr(pl_module, "averaged"):
            pl_module.averaged.update_parameters(pl_module.generator)
