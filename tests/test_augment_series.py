"""Transformations of series by hand, against what they must do."""

import torch

from lightning_genae.augment import _series
from lightning_genae.augment.classic import ClassicAugment
from lightning_genae.images import lengths

RAMP = torch.linspace(-1, 1, 41).reshape(1, 1, 1, -1).repeat(500, 1, 1, 1)


def test_values_between_steps_are_linear():
    places = torch.rand(500, 7) * 40
    assert torch.allclose(_series.at(RAMP, places), (places / 20 - 1)[:, None, None], atol=1e-5)
    assert torch.equal(_series.at(RAMP, torch.arange(41.0).repeat(500, 1)), RAMP)


def test_warped_time_runs_forward_from_the_beginning_to_the_end():
    warped = _series.warp(RAMP, 0.5)
    assert torch.allclose(warped[..., [0, -1]], RAMP[..., [0, -1]], atol=1e-5)
    steps = warped.diff(dim=3)
    assert steps.min() > 0
    assert not torch.allclose(steps, steps.mean(), atol=1e-3)
    # the speed is between 1/2 and 3/2 of its mean, which itself is between these
    assert steps.max() / steps.mean() < 3 and steps.min() / steps.mean() > 1 / 3
    assert warped.mean(0).sub(RAMP[0]).abs().max() < 0.03  # on average time runs evenly


def test_windows_are_straight_and_inside():
    cut = _series.window(RAMP, 0.4)
    assert cut.abs().max() <= 1 + 1e-5
    slopes = cut.diff(dim=3)
    assert torch.allclose(slopes, slopes[..., :1].expand_as(slopes), atol=1e-5)
    shares = slopes[:, 0, 0, 0] / (2 / 40)
    assert 0.6 <= shares.min() < 0.62 and 0.98 < shares.max() <= 1.0001


def test_jitter_and_scale_have_their_deviations():
    there = torch.ones(500, 1, 1, 41)
    assert abs(float((_series.jitter(RAMP, 0.1) - RAMP).std()) - 0.1) < 0.005
    scaled = _series.scale(RAMP + 3, there, 0.2)
    assert torch.allclose(scaled.mean(3), torch.tensor(3.0), atol=1e-4)  # about the mean
    factors = (scaled - 3)[..., -1].flatten()
    assert abs(float(factors.mean()) - 1) < 0.04 and abs(float(factors.std()) - 0.2) < 0.02


def test_masked_series_keep_their_padding(waves):
    datamodule = waves("masked")
    arm = ClassicAugment(crop=0.3, warp=0.5)
    arm.check(datamodule)
    x = datamodule.train.images
    varied = arm.vary(x, None)
    beyond = varied[:, -1:] <= 0
    assert (varied[:, :-1] * beyond).abs().max() == 0
    assert not torch.equal(lengths(varied), lengths(x))
    assert (lengths(varied) - lengths(x)).abs().double().mean() < 6


def test_the_usual_values_are_the_documented_ones(waves):
    series, images = waves(), torch.rand(20, 1, 16, 16)
    usual = ClassicAugment(), ClassicAugment(crop=0.1, jitter=0.03, scale=0.1, warp=0.2)
    of_images = ClassicAugment(), ClassicAugment(crop=0.1, flip=False, shift=0.125, rotate=10.0, contrast=0.2)
    for arms, x in ((usual, series.train.images), (of_images, images)):
        varied = []
        for arm in arms:
            if arm in usual:
                arm.check(series)
            torch.manual_seed(0)
            varied.append(arm.vary(x, None))
        assert torch.equal(*varied)
