"""Whether samples teach to predict real sequences: train on synthetic, test on real (Yoon et al., NeurIPS 2019)."""

from types import MappingProxyType

from torch import Tensor

from lightning_genae.data.dataset import Dataset
from lightning_genae.evaluation.metrics._metric import SampleMetric, Samples, Value
from lightning_genae.evaluation.metrics._recurrent import Recurrent, stretches, train


class PredictiveMetric(SampleMetric):
    """`predictive_score`, mean absolute error of predicting the next values of real sequences, in units of their range
    [-1, 1], by a recurrent network that is trained on generated ones.

    TimeGAN predicts one channel from the others; here all channels are predicted from all. The network predicts the
    change to the next step, so that it starts by predicting no change.
    """

    values = MappingProxyType(
        {"predictive_score": Value("predictive score, error on real ones", ".4f", False, is_ratio=True, in_brief=True)}
    )
    order = 13

    modalities = ("series",)
    needs_images = True

    def __init__(self, real: Samples, dataset: Dataset | None = None):
        super().__init__(real, dataset)
        assert real.images is not None
        self.of_real = stretches(real.images, self.modality.has_mask)

    def measure(self, samples: Samples) -> dict[str, float]:
        return {}  # a network is trained: only at the end

    def at_the_end(self, samples: Samples) -> dict[str, float]:
        assert samples.images is not None
        values, valid = stretches(samples.images, self.modality.has_mask, seed=1)
        network = train(
            lambda: Recurrent(values.shape[1], values.shape[1], values.std()),
            lambda network, chosen: _error(network, values[chosen], valid[chosen]),
            len(values),
        )
        return {"predictive_score": float(_error(network, *self.of_real))}

    def floor(self, fresh: Samples) -> dict[str, float]:
        return self.at_the_end(fresh)


def _error(network: Recurrent, values: Tensor, valid: Tensor) -> Tensor:
    """Mean absolute error of the values (N, C, L) after the first ones, where they are valid (N, L)."""
    predicted = values[:, :, :-1] + network.std * network(values[:, :, :-1]).movedim(1, 2)
    errors = (predicted - values[:, :, 1:]).abs().mean(1)
    return (errors * valid[:, 1:]).sum() / valid[:, 1:].sum().clamp(min=1)
