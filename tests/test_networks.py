"""Networks size themselves from the images."""

import math

import pytest
import torch
from torch import nn

from lightning_genae.errors import UserError
from lightning_genae.nn import networks
from lightning_genae.nn.networks import fastgan, stylegan2
from lightning_genae.nn.networks.critic import MinibatchStd
from lightning_genae.nn.networks.noise import Noise
from lightning_genae.nn.networks.reconstruction import corner
from lightning_genae.nn.networks.resnet import Residual

SHAPES = [(1, 8, 8), (1, 28, 28), (3, 32, 32), (3, 64, 64), (3, 10, 12), (1, 9, 17), (1, 5, 64)]


@pytest.mark.parametrize("network", ["mlp", "conv", "fastgan", "stylegan2"])
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


@pytest.mark.parametrize("network", ["mlp", "conv", "resnet", "fastgan"])
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
    block = Residual(1, 1, {"kernel_size": 1, "padding": 0})
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


# FastGAN


@pytest.mark.parametrize(("side", "num_weights"), [(64, 23_095_812), (128, 23_845_894), (256, 24_014_982)])
def test_the_generator_has_as_many_weights_as_the_published_one(side, num_weights):
    """Of the parts of projected-gan's pg_modules/blocks.py, ngf 64, nz 100, in the order of FastGAN's authors."""
    *layers, _ = networks.decoder((3, side, side), 100, "fastgan", width=64, batch_norm=True)
    assert sum(weight.numel() for layer in layers for weight in layer.parameters()) == num_weights


def test_low_resolution_gates_that_of_sixteen_times_the_side():
    _, body, _ = networks.decoder((3, 256, 256), 4, "fastgan", width=2)
    assert [gate.gate[1].in_channels for gate in body.excitations] == [32, 16, 8]  # 4x4, 8x8, 16x16
    assert [gate.gate[3].out_channels for gate in body.excitations] == [4, 2, 1]  # 64x64, 128x128, 256x256
    shut = body.excitations[2]  # whose gate is then sigmoid(0), a half
    first = torch.ones(1, 32, 4, 4)
    before = body(first)
    shut.gate[3].weight.data.zero_()
    assert torch.allclose(shut(torch.ones(1, 8, 16, 16), before), before / 2)
    assert not torch.equal(body(first), before)  # the gate is on the way to the image
    _, small, _ = networks.decoder((1, 8, 8), 4, "fastgan")
    assert len(small.excitations) == 1  # fewer doublings: from the first map to the last


def test_an_excitation_by_hand():
    gate = fastgan.Excitation(1, 2)
    gate.gate[1].weight.data.fill_(-1 / 16)  # minus the mean, which the rectifier lets through to a tenth
    gate.gate[3].weight.data = torch.tensor([[10.0, 0.0], [0.0, 0.0]]).reshape(2, 2, 1, 1)
    low, high = torch.full((1, 1, 8, 8), 2.0), torch.full((1, 2, 3, 3), 6.0)
    out = gate(low, high)
    assert out[0, 0].flatten().tolist() == pytest.approx([6 / (1 + math.exp(2))] * 9)
    assert out[0, 1].flatten().tolist() == pytest.approx([3.0] * 9)


def test_noise_is_learned_and_fixed_in_evaluation():
    noise, x = Noise((3, 5)), torch.zeros(4, 2, 3, 5)
    assert torch.equal(noise(x), x)  # its weight begins at 0
    noise.weight.data.fill_(2.0)
    drawn = noise(x)
    assert torch.equal(drawn[:, 0], drawn[:, 1]) and not torch.equal(drawn[0], drawn[1])
    assert torch.equal(noise.eval()(x), noise(x)) and torch.equal(noise(x)[0], noise(x)[3])
    assert torch.equal(noise(x)[0, 0], 2 * noise.fixed[0, 0])


def test_a_halving_block_is_the_mean_of_its_paths():
    block = fastgan.Halving(1, 1, (4, 4), (2, 2))
    for layer in block.modules():
        if isinstance(layer, nn.Conv2d):
            layer.weight.data.zero_()
    block.body[2].bias.data.fill_(3.0)
    block.shortcut[1].weight.data.fill_(-1.0)
    block.shortcut[1].bias.data.zero_()
    x = torch.arange(16.0).reshape(1, 1, 4, 4)
    # the shortcut: means 2.5, 4.5, 10.5, 12.5, times -1, of which a fifth leaks
    assert block(x).flatten().tolist() == pytest.approx([(3 - 0.2 * mean) / 2 for mean in (2.5, 4.5, 10.5, 12.5)])


@pytest.mark.parametrize("network", ["fastgan", "stylegan2"])
def test_some_networks_are_for_images(network):
    with pytest.raises(UserError, match=f"recurrent for data that are no images; got {network}"):
        networks.decoder((1, 1, 8), 4, network)


# a critic's reconstructions


@pytest.mark.parametrize("network", ["conv", "resnet", "fastgan", "stylegan2"])
def test_maps_of_a_critic_are_the_last_of_each_size(network):
    critic = networks.Critic((3, 28, 20), network, width=8)
    x = torch.randn(2, 3, 28, 20)
    maps, features = critic.maps(x)
    assert [tuple(one.shape[2:]) for one in maps] == [(28, 20), (14, 10), (7, 5), (4, 3)]
    assert torch.equal(features, maps[-1].flatten(1))
    assert torch.equal(critic.judge(features), critic(x))
    if network == "conv":
        assert torch.equal(maps[0], critic.features[:2](x))


@pytest.mark.parametrize("image_shape", [(1, 8, 8), (3, 64, 64), (3, 28, 20), (2, 1, 50)])
def test_an_error_of_reconstruction_by_hand(image_shape):
    """Outputs of 1 beside images of 0, where one is wrong and the other right: a half of it each."""
    maps, _ = networks.Critic(image_shape, "conv", width=2).maps(torch.zeros(1, *image_shape))
    error = networks.Reconstruction(maps, image_shape[0], bound=nn.Identity())
    for decoder, wrong in ((error.whole, 3.0), (error.part, 1.0)):
        nn.init.zeros_(decoder[-1].weight)
        nn.init.constant_(decoder[-1].bias, wrong)
    assert error(maps, torch.zeros(1, *image_shape)).item() == pytest.approx(2.0)


def test_a_part_is_decoded_from_its_own_corner():
    """The decoder copies what it gets, so that its error is 0 if both corners are the same one."""
    maps = [torch.rand(2, 1, 8, 8)]
    maps += [maps[0].clone(), torch.zeros(2, 1, 4, 4)]
    error = networks.Reconstruction(maps, 1, bound=nn.Identity())
    error.whole, error.part = nn.Upsample(8), nn.Identity()
    error.small = (8, 8)
    for _ in range(8):
        assert error(maps, maps[0]).item() == pytest.approx(maps[0].mean().item() / 2)


def test_corners_of_odd_sides_overlap():
    x = torch.arange(15.0).reshape(1, 1, 3, 5)
    assert corner(x, False, False)[0, 0].tolist() == [[0, 1, 2], [5, 6, 7]]
    assert corner(x, True, True)[0, 0].tolist() == [[7, 8, 9], [12, 13, 14]]


# a projected critic


def test_mixing_goes_from_the_smallest_size_up():
    """By hand, with convolutions that multiply: across channels by 2, 3, and across scales by 5, 7."""
    critic = networks.ProjectedCritic(networks.frozen("untrained", (1, 8, 8)), (1, 8, 8), width=1)
    maps = [torch.full((1, 16, 8, 8), 1.0), torch.full((1, 32, 4, 4), 10.0)]
    for layer, factor in zip((*critic.across_channels, *critic.across_scales), (2.0, 3.0, 5.0, 7.0)):
        layer.weight.zero_()
        middle = layer.kernel_size[0] // 2
        layer.weight[0, 0, middle, middle] = factor
    large, small = critic.mixed(maps)
    assert small.unique().tolist() == [7 * 3 * 10]
    assert large.unique().tolist() == [5 * (2 * 1 + 7 * 3 * 10)]


def test_only_the_heads_of_a_projected_critic_learn():
    critic = networks.ProjectedCritic(networks.frozen("autoencoder", (3, 32, 32)), (3, 32, 32), width=4)
    learning = {name.split(".")[0] for name, weight in critic.named_parameters() if weight.requires_grad}
    assert learning == {"heads"}
    assert len(critic.heads) == 4 and len({head[0].in_channels for head in critic.heads}) == 1
    x = torch.rand(2, 3, 32, 32, requires_grad=True)
    scores = critic(x)
    assert scores.shape == (2, 4 * 16)  # four sizes, 4x4 places each
    scores.sum().backward()
    assert x.grad.abs().sum() > 0  # so that the generator learns through what is frozen
    critic.train()
    assert critic.training and not critic.features.training


def test_a_network_of_timm_gets_three_channels_of_its_own_scale():
    """Grey 0 of [-1, 1] is 0.5 of [0, 1]; resnet18 takes (0.5 - mean) / std, of 64 pixels a side at least."""
    frozen = networks.frozen("resnet18", (1, 20, 30))
    given = []
    frozen.network = nn.Module()
    frozen.network.forward = lambda x: given.append(x) or [x]
    frozen.maps(torch.zeros(2, 1, 20, 30))
    assert given[0].shape == (2, 3, 64, 64)
    assert given[0][0, :, 0, 0].tolist() == pytest.approx(
        [(0.5 - 0.485) / 0.229, (0.5 - 0.456) / 0.224, (0.5 - 0.406) / 0.225], rel=1e-4
    )
    frozen.maps(torch.zeros(2, 3, 300, 300))
    assert given[1].shape == (2, 3, 224, 224)


def test_frozen_maps_take_weights_of_their_shapes_alone():
    trained = networks.encoder((1, 8, 8), 64, "conv", width=16)
    frozen = networks.frozen("autoencoder", (1, 8, 8))
    frozen.take(trained.state_dict())
    x = torch.rand(2, 1, 8, 8)
    assert torch.equal(frozen.maps(x)[-1].flatten(1), trained[:-1](x))
    assert [tuple(one.shape[1:]) for one in frozen.maps(x)] == [(16, 8, 8), (32, 4, 4)]
    with pytest.raises(ValueError, match=r"expected weights such as '0.weight' of \(16, 1, 3, 3\)"):
        frozen.take(networks.encoder((3, 8, 8), 64, "conv").state_dict())


def test_a_network_of_one_size_alone_is_refused():
    transformer = networks.frozen("vit_tiny_patch16_224", (3, 64, 64))
    with pytest.raises(UserError, match=r"--model.features: expected a network that takes such images; Input height"):
        networks.ProjectedCritic(transformer, (3, 64, 64), 4)


@pytest.mark.parametrize(
    ("features", "shape", "message"),
    [
        ("resnet", (3, 64, 64), "expected autoencoder, untrained, efficientnet or a network of timm; got resnet"),
        (
            "efficientnet",
            (2, 64, 64),
            "autoencoder or untrained for what is neither a grey nor an RGB image; got",
        ),
        (
            "efficientnet",
            (1, 1, 64),
            "autoencoder or untrained for what is neither a grey nor an RGB image; got",
        ),
    ],
)
def test_what_is_no_frozen_network_is_refused(features, shape, message):
    with pytest.raises(UserError, match=message):
        networks.frozen(features, shape)


# StyleGAN2


def test_modulation_scales_the_weights_of_every_image():
    """By hand: w' = s w, and w' / sqrt(sum w'^2) (equations 1 and 3 of arXiv 1912.04958), image by image."""
    torch.manual_seed(0)
    for demodulates in (True, False):
        layer = stylegan2.Modulated(5, 3, 4, {"kernel_size": 3, "padding": 1}, demodulates).double()
        layer.bias.data = torch.arange(4.0).double()
        x, style = torch.randn(2, 3, 6, 7).double(), torch.randn(2, 5).double()
        scales = layer.scale(style)
        for one, scale, out in zip(x, scales, layer(x, style)):
            weight = layer.conv.weight / math.sqrt(3 * 9) * scale[None, :, None, None]
            if demodulates:
                weight = weight / weight.square().sum((1, 2, 3), keepdim=True).sqrt()
            expected = nn.functional.conv2d(one[None], weight, layer.bias, padding=1)[0]
            assert torch.allclose(out, expected, rtol=1e-6)


def test_equal_layers_keep_the_variance_whatever_their_learning_rate():
    torch.manual_seed(0)
    x = torch.randn(500, 300)
    for lr in (1.0, 0.01):
        layer = stylegan2.EqualLinear(300, 200, bias=2.0, lr=lr)
        out = layer(x)
        assert out.std().item() == pytest.approx(1, abs=0.05)
        assert out.mean().item() == pytest.approx(2, abs=0.05)
        out.mean().backward()
        assert layer.bias.grad.sum().item() == pytest.approx(lr, rel=1e-4)
    conv = stylegan2.EqualConv2d(30, 40, 3)
    assert conv(torch.randn(8, 30, 12, 12)).std().item() == pytest.approx(1, abs=0.05)


def test_a_style_depends_on_the_direction_of_a_code_alone():
    mapping, z = stylegan2.Mapping(6, 8), torch.randn(3, 6)
    assert torch.allclose(mapping(z), mapping(7 * z), atol=1e-5)
    assert not torch.allclose(mapping(z), mapping(z.flip(1)), atol=1e-2)


def test_images_of_all_sizes_are_added_up():
    """Of three sizes, each of which adds its own constant, and an enlarged picture stays the mean it was."""
    _, synthesis = networks.decoder((2, 16, 16), 4, "stylegan2", width=2)
    for number, block in enumerate(synthesis.blocks):
        block.to_image.conv.weight.data.zero_()
        block.to_image.bias.data.fill_(10.0**number)
    assert synthesis(torch.randn(3, 16 // 2)).unique().tolist() == [111.0]
    assert [block.size for block in synthesis.blocks] == [(4, 4), (8, 8), (16, 16)]
    assert [len(block.convs) for block in synthesis.blocks] == [1, 2, 2]


def test_equal_layers_stay_as_they_are_in_an_autoencoder():
    decoder = networks.decoder((1, 8, 8), 4, "stylegan2", width=2)
    before = {name: value.clone() for name, value in decoder.state_dict().items()}
    after = networks.initialise(decoder).state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_minibatchs_deviation_by_hand():
    """Of two groups: values 1, 1, 3, 3 deviate by 1, and 5, 5, 5, 5 by 0."""
    x = torch.tensor([1.0, 1, 3, 3, 5, 5, 5, 5]).reshape(8, 1, 1, 1).expand(-1, 2, 3, 3)
    out = MinibatchStd()(x)
    assert torch.equal(out[:, :2], x)
    assert out[:, 2].flatten(1).unique(dim=1).flatten().tolist() == pytest.approx([1] * 4 + [1e-4] * 4)
    assert MinibatchStd()(x[:6])[:, 2, 0, 0].tolist() == pytest.approx([1e-4] * 6)  # groups of one: 3 and 3
    assert MinibatchStd()(x[:4])[:, 2, 0, 0].tolist() == pytest.approx([1e-4] * 4)  # groups of two, 1 1 and 3 3


@pytest.mark.parametrize("network", ["fastgan", "stylegan2"])
def test_images_that_are_not_halved_are_refused(network):
    for build in (networks.encoder, networks.decoder):
        with pytest.raises(UserError, match=rf"--model.network: expected images of more than 4 .*{network}; got 4x3"):
            build((1, 4, 3), 5, network)
        build((1, 5, 3), 5, network)
    with pytest.raises(UserError, match=r"--model.critic: expected images of which .* several sizes.*; got 4x4"):
        networks.ProjectedCritic(networks.frozen("untrained", (1, 4, 4)), (1, 4, 4), 2)
    networks.ProjectedCritic(networks.frozen("untrained", (1, 5, 4)), (1, 5, 4), 2)
