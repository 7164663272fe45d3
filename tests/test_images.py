"""Transformations of images against torch's and torchvision's own."""

import math

import pytest
import torch
from torch.nn.functional import pad
from torchvision.transforms.v2 import functional as F

from lightning_genae.augment import _images, ada
from lightning_genae.augment.ada import AdaptiveAugment

X = torch.rand(50, 3, 8, 6, generator=torch.Generator().manual_seed(0)) * 2 - 1


def shifts(image, reach_y, reach_x, mode):
    """All that a shift by whole pixels can make of an image."""
    padded = pad(image[None], (reach_x, reach_x, reach_y, reach_y), mode=mode)[0]
    height, width = image.shape[1:]
    return [padded[:, y : y + height, x : x + width] for y in range(2 * reach_y + 1) for x in range(2 * reach_x + 1)]


@pytest.mark.parametrize("fill, mode", [(None, "replicate"), (0.0, "constant")])
def test_translate(fill, mode):
    image = X[:1].expand(2000, -1, -1, -1)
    moved = _images.translate(image, 0.25, fill)
    possible = shifts(X[0], 2, 2, mode)  # a quarter of 8 and of 6 pixels, rounded
    seen = {next(i for i, other in enumerate(possible) if torch.equal(one, other)) for one in moved}
    assert len(seen) == len(possible) == 25
    assert torch.equal(_images.translate(X, 0.0), X)


def test_cut_out():
    cut = _images.cut_out(X + 5, 0.5)
    missing = (cut == 0).all(1)
    assert missing.flatten(1).sum(1).max() == 4 * 3
    assert torch.equal(cut[~missing[:, None].expand_as(cut)], (X + 5)[~missing[:, None].expand_as(cut)])
    assert missing.any(0).all()  # everywhere at some time


def test_warp():
    eye = torch.eye(2, 3).repeat(50, 1, 1)
    assert torch.allclose(_images.warp(X, eye, "zeros"), X, atol=1e-5)
    shift = eye.clone()
    shift[:, 0, 2], shift[:, 1, 2] = 2, -1  # seen from two to the right and one above
    expected = pad(X, (0, 2, 1, 0))[:, :, :8, 2:]
    assert torch.allclose(_images.warp(X, shift, "zeros"), expected, atol=1e-5)
    square = X[:, :, :6]
    turned = torch.cat([_images.rotation(torch.full((50,), math.pi / 2)), torch.zeros(50, 2, 1)], 2)
    results = _images.warp(square, turned, "zeros"), square.rot90(1, (2, 3))
    assert torch.allclose(*results, atol=1e-5)


def test_rotation_does_not_shear_images_that_are_not_square():
    angle = math.radians(20)
    image = torch.zeros(1, 1, 41, 81)
    image[:, :, 18:23, 20:61] = 1
    matrix = torch.cat([_images.rotation(torch.tensor([angle])), torch.zeros(1, 2, 1)], 2)
    expected = F.rotate(image, 20, interpolation=F.InterpolationMode.BILINEAR)
    assert torch.allclose(_images.warp(image, matrix, "zeros"), expected, atol=0.05)


def test_colours_against_torchvision():
    image = (X[:1] + 1) / 2
    mean = image.mean()
    assert torch.allclose(_images.contrast(image, torch.tensor(0.3)), (image - mean) * 0.3 + mean)
    assert torch.allclose(_images.saturation(image, torch.tensor(0.0)), image.mean(1, keepdim=True).expand_as(image))
    assert torch.allclose(_images.brightness(image, torch.tensor(0.1)), image + 0.1)
    assert torch.equal(_images.flip(X, torch.ones(50, dtype=torch.bool)), F.horizontal_flip(X))


def test_ada_is_the_identity_at_0_and_leaves_some_images_alone():
    arm = AdaptiveAugment()
    assert torch.equal(arm(X, None, 0.0), X)
    torch.manual_seed(0)
    changed = ((arm(X.repeat(20, 1, 1, 1), None, 0.1) - X.repeat(20, 1, 1, 1)).abs() > 1e-4).flatten(1).any(1)
    # at least one of thirteen transformations, each with a tenth, half of the mirrors and a quarter of the turns not
    assert 0.5 < changed.double().mean() < 0.8


def test_adas_blits_move_whole_pixels():
    square = X[:, :, :6]
    moved = AdaptiveAugment(geometry=False, colour=False)(square, None, 1.0)
    for one, original in zip(moved, square):
        values = original[0].flatten()
        assert (one[0].flatten()[:, None] - values).abs().min(1).values.max() < 1e-4
    assert not torch.equal(moved, square)


def test_adas_hue_keeps_grey_and_lengths():
    draw = ada._Draws(X, 1.0)
    torch.manual_seed(0)
    angle = torch.full((50, 1), 2 * math.pi / 3)
    draw.uniform = lambda columns, largest, probability=None: angle
    draw.normal = lambda columns, deviation: torch.zeros(50, columns)
    draw.bits = lambda: torch.zeros(50)
    colours = ada._colours(draw, 3)
    # a third of a turn about the axis of greys exchanges the channels
    assert torch.allclose(colours[0, :, :3], torch.tensor([[0.0, 0, 1], [1, 0, 0], [0, 1, 0]]), atol=1e-5)
    assert torch.allclose(ada._recolour(X, colours), X[:, [2, 0, 1]], atol=1e-5)


def test_adas_luma_is_inverted_and_grey_images_follow_colour_ones():
    draw = ada._Draws(X, 1.0)
    draw.normal = lambda columns, deviation: torch.zeros(50, columns)
    draw.bits = lambda: torch.ones(50)
    grey = X[:, :1]
    assert torch.allclose(ada._recolour(grey, ada._colours(draw, 1)), -grey, atol=1e-5)
    draw.uniform = lambda columns, largest, probability=None: torch.zeros(50, columns)
    in_colour = ada._recolour(grey.expand(-1, 3, -1, -1), ada._colours(draw, 3))
    assert torch.allclose(in_colour, -grey.expand(-1, 3, -1, -1), atol=1e-5)
