"""Transformations of series by hand, against what they must do."""

import pytest
import torch

from lightning_genae.augment import _series
from lightning_genae.augment.classic import ClassicAugment
from lightning_genae.data.modalities.series import Series
from lightning_genae.data.sequences import lengths
from tests.data import dataset_of

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
    datamodule = waves("series", has_mask=True)
    arm = ClassicAugment(crop=0.3, warp=0.5)
    arm.check(datamodule.dataset)
    x = datamodule.dataset.train.images
    varied = arm.vary(x, None)
    beyond = varied[:, -1:] <= 0
    assert (varied[:, :-1] * beyond).abs().max() == 0
    assert not torch.equal(lengths(varied), lengths(x))
    assert (lengths(varied) - lengths(x)).abs().double().mean() < 6


def test_the_usual_values_are_the_documented_ones(waves):
    series, images = waves().dataset, torch.rand(20, 1, 16, 16)
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


def test_series_are_stretched_about_the_mean_of_the_steps_that_they_have():
    """By a factor of its own for every series and channel; a series of one step or of none stays."""
    x = torch.randn(400, 3, 1, 9)
    ends = torch.tensor([9, 4, 1, 0]).repeat(100)
    there = (torch.arange(9) < ends[:, None])[:, None, None].float()
    scaled = _series.scale(x * there, there, 0.2)
    factors = []
    for i in range(400):
        own, after = (series[i, :, 0, : ends[i]] for series in (x, scaled))
        if ends[i] == 1:
            assert torch.allclose(after, own, atol=1e-6)
        if ends[i] > 1:
            centred, stretched = (part - own.mean(1, keepdim=True) for part in (own, after))
            factors.append((stretched * centred).sum(1) / centred.square().sum(1))
            assert torch.allclose(stretched, factors[-1][:, None] * centred, atol=1e-5)
    assert scaled.shape == x.shape and scaled.isfinite().all()
    factors = torch.stack(factors)
    assert abs(float(factors.mean()) - 1) < 0.03 and abs(float(factors.std(0).mean()) - 0.2) < 0.03
    assert torch.corrcoef(factors.T).triu(1).abs().max() < 0.25  # channels are independent


def test_the_speed_of_warped_time_is_linear_between_four_places():
    """Even in 1/2 to 3/2, so that it changes by a factor of 3 at most, and reaches nearly that."""
    places = (_series.warp(RAMP, 0.5)[:, 0, 0] + 1) * 20
    speeds = places.diff(dim=1)
    assert speeds.shape == (500, 40)
    for piece in speeds[:, :14], speeds[:, 13:27], speeds[:, 26:]:
        bends = piece.diff(dim=1).diff(dim=1) / speeds.mean(1, keepdim=True)
        assert bends.abs().max() < 1e-4
    ratios = speeds.max(1).values / speeds.min(1).values
    assert 2.6 < ratios.max() <= 3.001 and ratios.min() < 1.3
    two = torch.cat([RAMP, RAMP**2], 1)
    warped = _series.warp(two, 0.5)
    assert torch.allclose(warped[:, 1], warped[:, 0] ** 2, atol=2e-3)  # all channels alike


def test_a_window_starts_anywhere():
    cut = _series.window(RAMP, 0.4)
    assert cut.shape == RAMP.shape
    first, last = (cut[:, 0, 0, i] / 2 + 0.5 for i in (0, -1))  # places from 0 to 1
    kept = last - first
    start = (first / (1 - kept))[kept < 0.95]
    assert -0.001 <= start.min() < 0.03 and 0.97 < start.max() <= 1.001 and abs(float(start.mean()) - 0.5) < 0.05
    assert abs(float(kept.mean()) - 0.8) < 0.02


def test_values_beyond_a_series_are_its_ends_and_of_all_channels():
    series = torch.tensor([[[[1.0, 5, 2, 8]], [[0.0, 1, 4, 9]]]])
    places = torch.tensor([[-0.5, 0.0, 0.25, 2.5, 3.0, 3.5]])
    expected = [[1, 1, 2, 5, 8, 8], [0, 0, 0.25, 6.5, 9, 9]]
    assert _series.at(series, places)[0, :, 0].tolist() == [pytest.approx(row) for row in expected]


def test_masked_series_are_varied_up_to_their_ends():
    """Time is not touched here, so that ends stay where they are; noise is as strong everywhere."""
    ends = torch.tensor([12, 7, 1]).repeat(200)
    mask = torch.where(torch.arange(12) < ends[:, None], 1.0, -1.0)[:, None, None]
    there = (mask > 0).float()
    x = torch.cat([(torch.rand(600, 3, 1, 12) - 0.5) * there, mask], 1)
    arm = ClassicAugment(crop=0.0, warp=0.0, scale=0.0, jitter=0.1)
    arm.check(dataset_of(x, modality=Series(has_mask=True)))
    varied = arm.vary(x, None)
    noise = (varied - x)[:, :3]
    assert torch.equal(varied[:, 3:], mask) and (noise * (1 - there)).abs().max() == 0
    for end in (12, 7, 1):
        own = noise[ends == end, :, :, :end]
        assert abs(float(own.std()) - 0.1) < 0.01 and abs(float(own.mean())) < 0.01
    arm = ClassicAugment(crop=0.0, warp=0.0, scale=0.5, jitter=0.0)
    arm.check(dataset_of(x, modality=Series(has_mask=True)))
    varied = arm.vary(x, None)
    assert torch.allclose(varied[:, :3].sum(3), x[:, :3].sum(3), atol=1e-4)  # means are those of what is there
    assert torch.equal(varied[:, 3:], mask) and not torch.allclose(varied, x)
    series = ClassicAugment(crop=0.0, warp=0.0, scale=0.0, jitter=0.1)
    series.check(dataset_of(x, modality=Series()))
    assert abs(float((series.vary(x, None) - x)[:, 3].std()) - 0.1) < 0.01  # the last channel is one as the others
    both = ClassicAugment(scale=0.0, jitter=0.0)
    both.check(dataset_of(x, modality=Series(has_mask=True)))
    steady = torch.cat([0.5 * there.expand(-1, 3, -1, -1), mask], 1)
    values, after = both.vary(steady, None).split([3, 1], 1)
    assert ((values == 0) == (after <= 0)).all() and not torch.equal(after, mask)


def test_usual_values_and_options_without_effect(caplog):
    arm = ClassicAugment(flip=True, shift=0.2, jitter=0.5)
    arm.check(dataset_of(torch.zeros(2, 1, 8, 8)))
    assert arm.settings() == {"flip": True, "shift": 0.2, "rotate": 10, "contrast": 0.2}
    assert [record.message for record in caplog.records] == ["--augment.jitter has no effect without series"]
    caplog.clear()
    arm.check(dataset_of(torch.zeros(2, 5, 1, 8), modality=Series()))
    assert arm.settings() == {"jitter": 0.5, "scale": 0.1, "warp": 0.2}
    expected = [f"--augment.{option} has no effect without images" for option in ("flip", "shift")]
    assert [record.message for record in caplog.records] == expected
    with pytest.raises(ValueError, match=r"--augment.crop: expected a fraction below 1"):
        ClassicAugment(crop=1.0)
