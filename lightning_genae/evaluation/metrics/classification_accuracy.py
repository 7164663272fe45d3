"""What samples teach a classifier: train on samples, test on real images (Ravuri & Vinyals 2019, arXiv 1905.10887)."""

from types import MappingProxyType

import torch
from torch import Tensor

from lightning_genae.data.dataset import Dataset, Images
from lightning_genae.evaluation import classification
from lightning_genae.evaluation.metrics._metric import SampleMetric, Samples, Value
from lightning_genae.evaluation.models import Generative
from lightning_genae.evaluation.sampling import draw

NUM_SAMPLES, NUM_STEPS, SEED = 5000, 500, 1


class ClassificationAccuracyMetric(SampleMetric):
    """`classification_accuracy`: the fraction of held-out images that a small classifier puts into the right class,
    which learnt from 5,000 samples of a conditional model, of the classes in the proportions of its training images.

    `classification_accuracy_train` is that of the same classifier after learning from the training images instead:
    what samples have to beat to be worth more than the images that they were made from. Both are measured at the end.
    """

    values = MappingProxyType(
        {
            "classification_accuracy": Value("accuracy on real of a classifier trained on samples", ".3f", True),
            "classification_accuracy_train": Value("the same, trained on the training images", ".3f", None),
        }
    )
    order = 5

    modalities = ("image", "series", "audio")

    def measure(self, samples: Samples) -> dict[str, float]:
        return {}  # a network is trained: only at the end

    def floor(self, fresh: Samples) -> dict[str, float]:
        return {}  # samples may well teach more than as many real images

    def of_model_at_the_end(self, model: Generative) -> dict[str, float]:
        dataset = self.dataset
        if dataset is None or not getattr(model, "num_conditions", 0):
            return {}
        labels = classes_in_proportion(dataset.train.labels, NUM_SAMPLES, dataset.num_classes)
        parts = [draw(model, int(num), SEED, label) for label, num in enumerate(labels.bincount()) if num > 0]
        of_samples = self._accuracy(dataset, Images(torch.cat(parts), labels), f"{NUM_SAMPLES:,} samples")
        of_train = self._accuracy(dataset, dataset.train, f"the training {dataset.item_name}")
        return {"classification_accuracy": of_samples, "classification_accuracy_train": of_train}

    def _accuracy(self, dataset: Dataset, split: Images, name: str) -> float:
        with torch.random.fork_rng():
            torch.manual_seed(SEED)
            network = classification.new_classifier(dataset.image_shape, 64, dataset.num_classes)
            network = network.to("cuda" if torch.cuda.is_available() else "cpu")
            what = f"Training a classifier on {name}, to test it on held-out {dataset.item_name},"
            network = classification.trained(network, split, NUM_STEPS, what)
        assert self.real.images is not None
        tested = dataset.heldout.subset(slice(len(self.real.images)))
        return 1 - classification.error_of(network, tested)


def classes_in_proportion(labels: Tensor, num: int, num_classes: int) -> Tensor:
    """Sorted classes (num,), each as often, to the nearest whole number, as among the labels (N,)."""
    shares = labels.bincount(minlength=num_classes).double().cumsum(0) / len(labels)
    ends = (shares * num).round().long()
    return torch.arange(num_classes).repeat_interleave(ends.diff(prepend=ends.new_zeros(1)))
