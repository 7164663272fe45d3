"""The Inception network of FID (Heusel et al. 2017, arXiv 1706.08500), for numbers beside published ones."""

from torch import Tensor, nn

from lightning_genae.data.dataset import Dataset
from lightning_genae.evaluation.extractors._extractor import (
    Extractor,
    fetched,
    given_file,
    hash_file,
    load_state,
    to_rgb,
)

SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"  # of the file whose name has its beginning


class InceptionFeatures(Extractor):
    """The 2048 pooled features, as torch-fidelity has them.

    Args:
        dataset: not used.
        weights: path of torch-fidelity's weights-inception-2015-12-05-6726825d.pth. None: the file in
            torch's hub folder, which is fetched if it is not there.

    Raises:
        ImportError: torch-fidelity is missing.
        ValueError: the weights cannot be fetched, or are damaged or of another network.
        FileNotFoundError: there is no such file.
    """

    takes_weights = True
    is_large = True
    modalities = ("image",)

    def __init__(self, dataset: Dataset, weights: str | None = None):
        try:
            from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3, FeatureExtractorInceptionV3
        except ImportError as error:
            raise ImportError(
                '--metrics.features: inception needs torch-fidelity; pip install -e ".[inception]"'
            ) from error
        path = given_file(weights) if weights else fetched(URL_INCEPTION_V3, SHA256, "Inception")
        load_state(path, "Inception")  # torch-fidelity unpickles without restriction: only plain tensors may reach it
        try:
            network = FeatureExtractorInceptionV3(
                "inception-v3-compat", ["2048"], feature_extractor_weights_path=str(path)
            )
        except Exception as error:
            raise ValueError(f"--metrics.weights: '{path}' does not hold Inception's weights, or is damaged") from error
        description = {
            "extractor": "inception",
            "weights": hash_file(path),
            "resize": "299x299, bilinear as in TensorFlow 1, no antialiasing",
        }
        head = nn.Linear(2048, network.fc.out_features, bias=False)  # without bias, as in the Inception Score
        head.weight.data.copy_(network.fc.weight.data)
        super().__init__(_First(network), 2048, to_rgb, description, head, batch_size=64)


class _First(nn.Module):
    """The first output of a network that returns a tuple."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x)[0]
