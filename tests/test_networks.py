"""Networks size themselves from the images."""

import math

import pytest
import torch
from torch import nn

from lightning_genae.nn import networks

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


@pytest.mark.parametrize("network", ["mlp", "conv", "resnet"])
def test_initial_weights_keep_the_variance(network):
    """All but the last layer: deviation sqrt(2 / (1 + 0.2^2) / inputs), no bias; the last one is torch's own."""
    torch.manual_seed(0)
    *layers, last = [
        layer
        for layer in networks.initialise(
            networks.encoder((3, 16, 16), 50, network, hidden=[100, 80], width=24)
        ).modules()
        if isinstance(layer, nn.Linear | nn.Conv2d)
    ]
    assert len(layers) >= 2
    for layer in layers:
        inputs = layer.weight[0].numel()
        assert layer.weight.std().item() == pytest.approx(math.sqrt(2 / 1.04 / inputs), rel=0.12)
        assert not layer.bias.any()
    assert last.bias.any()
    assert last.weight.abs().max() <= 1 / math.sqrt(last.in_features)


def test_a_dense_signal_keeps_its_size():
    torch.manual_seed(0)
    encoder = networks.initialise(networks.encoder((1, 16, 16), 8, "mlp", hidden=[400, 400, 400]))
    x = torch.randn(500, 1, 16, 16)
    before_last = encoder[:-2](x)  # the last hidden layer, before its rectifier
    assert before_last.square().mean().item() == pytest.approx(2 / 1.04, rel=0.25)


def test_rectifiers_leak_a_fifth():
    encoder = networks.encoder((1, 1, 1), 1, "mlp", hidden=[1])
    for layer in (encoder[1], encoder[3]):
        layer.weight.data.fill_(1.0)
        layer.bias.data.zero_()
    assert encoder(torch.tensor([3.0, -3.0]).reshape(2, 1, 1, 1)).flatten().tolist() == pytest.approx([3, -0.6])


def test_projection_adds_the_inner_product_of_features_and_class():
    critic = networks.Critic((1, 1, 2), "mlp", hidden=[], conditional="projection", num_classes=2)
    critic.score.weight.data = torch.tensor([[1.0, -1.0]])
    critic.score.bias.data = torch.tensor([0.5])
    critic.embedding.weight.data = torch.tensor([[2.0, 0.0], [0.0, 10.0]])
    x = torch.tensor([[3.0, 4.0], [5.0, 6.0]]).reshape(2, 1, 1, 2)
    # score 3 - 4 + 0.5 and 5 - 6 + 0.5; inner products 2 * 3 and 10 * 6
    assert critic(x, torch.tensor([0, 1])).tolist() == [5.5, 59.5]


def test_concatenation_gives_the_class_a_channel():
    critic = networks.Critic((1, 1, 2), "mlp", hidden=[], conditional="concatenation", num_classes=2)
    critic.score.weight.data = torch.tensor([[1.0, 1.0, 10.0, 10.0, 100.0, 100.0]])
    critic.score.bias.data.zero_()
    x = torch.tensor([[3.0, 4.0], [5.0, 6.0]]).reshape(2, 1, 1, 2)
    assert critic(x, torch.tensor([0, 1])).tolist() == [27.0, 211.0]


@pytest.mark.parametrize("network", ["conv", "resnet"])
def test_the_image_is_halved_and_channels_doubled(network):
    encoder = networks.encoder((1, 32, 32), 3, network, width=4)
    assert encoder[:-2](torch.zeros(1, 1, 32, 32)).shape == (1, 32, 4, 4)
    assert encoder[-1].in_features == 32 * 16
    wide = networks.encoder((1, 128, 128), 3, network, width=2)
    assert wide[-1].in_features == 8 * 2 * 16  # at most eight times the width


def test_shared_layers_are_the_same_ones():
    for end, expected in (("first", [True, True, False]), ("last", [False, True, True])):
        first, second = (networks.encoder((1, 2, 2), 3, "mlp", hidden=[4, 5]) for _ in range(2))
        networks.tie_weights(first, second, 2, end)
        assert [first[i] is second[i] for i in (1, 3, 5)] == expected


def test_a_residual_block_adds_its_shortcut():
    block = networks._Residual(1, 1, {"kernel_size": 1, "padding": 0})
    for layer in block.modules():
        if isinstance(layer, nn.Conv2d):
            layer.weight.data.fill_(2.0)
            layer.bias.data.zero_()
    x = torch.tensor([1.0, -1.0]).reshape(2, 1, 1, 1)
    # body: 2 * leaky(2 * leaky(x)), shortcut: 2 x
    assert block(x).flatten().tolist() == pytest.approx([4 + 2, 2 * 0.2 * 2 * -0.2 - 2])


def test_sequences_are_steps_of_channels():
    x = torch.arange(12.0).reshape(1, 2, 1, 6)
    assert networks.as_steps(x)[0, 1].tolist() == [1, 7]
    assert torch.equal(networks.as_sequence(networks.as_steps(x)), x)
