"""Networks size themselves from the images."""

import pytest
import torch

from lightning_genae import networks

SHAPES = [(1, 8, 8), (1, 28, 28), (3, 32, 32), (3, 64, 64), (3, 10, 12), (1, 9, 17), (1, 5, 64)]


@pytest.mark.parametrize("network", ["mlp", "conv"])
@pytest.mark.parametrize("image_shape", SHAPES)
def test_shapes(image_shape, network):
    size = {"hidden": [16]} if network == "mlp" else {"width": 2}
    x = torch.randn(2, *image_shape)
    z = networks.encoder(image_shape, 5, network, **size)(x)
    assert z.shape == (2, 5)
    assert networks.decoder(image_shape, 5, network, **size, batch_norm=True)(z).shape == x.shape


def test_the_classic_autoencoder():
    encoder = networks.encoder((1, 28, 28), 32, "mlp", hidden=[64])
    decoder = networks.decoder((1, 28, 28), 32, "mlp", hidden=[64])
    sizes = [layer.weight.shape for layer in [*encoder, *decoder] if hasattr(layer, "weight")]
    assert sizes == [(64, 784), (32, 64), (64, 32), (784, 64)]


@pytest.mark.parametrize("network", ["mlp", "conv"])
def test_spectral_norm_bounds_every_layer(network):
    critic = networks.encoder((1, 8, 8), 1, network, spectral_norm=True)
    for _ in range(30):  # the power iteration converges while training
        critic(torch.randn(2, 1, 8, 8))
    critic.eval()
    layers = [layer for layer in critic if hasattr(layer, "weight")]
    assert layers
    for layer in layers:
        assert torch.linalg.matrix_norm(layer.weight.detach().flatten(1), 2) == pytest.approx(1, abs=0.05)
