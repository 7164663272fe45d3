"""The generator's exponential moving average, which makes the samples."""

from pytorch_lightning import Callback


class Ema(Callback):
    """Updates `averaged` from `generator` after every batch, where a model has them.

    The average is the model's own (torch's AveragedModel: parameters averaged, buffers copied), so it is
    saved and resumed with it; Lightning's callbacks average the whole module, the critic too.
    """

    def on_train_batch_end(self, trainer, pl_module, *args) -> None:
        if hasattr(pl_module, "averaged"):
            pl_module.averaged.update_parameters(pl_module.generator)
