"""Transformations of images against the published constants and by hand; ADA's and DiffAugment's gradients."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from lightning_genae.augment import _images, ada
from lightning_genae.augment.ada import AdaptiveAugment
from lightning_genae.augment.classic import ClassicAugment
from lightning_genae.augment.diffaug import DiffAugment
from tests.data import dataset_of


def test_the_ranges_of_diffaug_are_the_papers(monkeypatch):
    """With the least and the greatest draw, of two pixels: (1, 0, -1) and (0, 0.5, 0.1)."""
    x = torch.tensor([[1.0, 0.0], [0.0, 0.5], [-1.0, 0.1]]).reshape(1, 3, 1, 2)
    arm = DiffAugment(translation=0.0, cutout=0.0)
    # brightness + 0.5; the pixels' means are then 0.5 and 0.7, distances to them double; those to 0.6 become 1.5-fold
    most = torch.tensor([[2.5, 0.3], [0.5, 1.3], [-1.5, 0.5]])
    # - 0.5; pixels become their means, -0.5 and -0.3; the distances to -0.4 halve
    least = torch.tensor([[-0.45, -0.35]] * 3)
    for draw, expected in ((1.0, 0.6 + 1.5 * (most - 0.6)), (0.0, least)):
        monkeypatch.setattr(torch, "rand", lambda *shape, draw=draw, **options: torch.full(shape, draw))
        assert torch.allclose(arm.vary(x, None)[0, :, 0], expected, atol=1e-6)


def test_brightness_saturation_and_contrast_are_even_between_their_ends():
    draws = _images.uniform(torch.zeros(20_000, 1, 1, 1), 0.5, 1.5).flatten()
    assert draws.mean() == pytest.approx(1.0, abs=0.01)
    assert draws.std() == pytest.approx(1 / 12**0.5, abs=0.01)
    assert draws.min() >= 0.5 and draws.max() <= 1.5


@pytest.mark.parametrize("fill", [0.0, None])
def test_shifts_are_whole_pixels_up_to_an_eighth_in_each_direction(fill):
    x = torch.zeros(3000, 1, 40, 24)
    x[:, :, 20, 12] = 1
    arm = DiffAugment(colour=False, cutout=0.0) if fill == 0.0 else ClassicAugment(crop=0, rotate=0, contrast=0)
    place = arm.vary(x, None).flatten(1).argmax(1)
    rows, columns = place.div(24, rounding_mode="floor"), place % 24
    for places, centre, reach in ((rows, 20, 5), (columns, 12, 3)):
        counts = (places - centre + reach).bincount(minlength=2 * reach + 1)
        assert len(counts) == 2 * reach + 1
        assert counts.min() > 0.7 * 3000 / len(counts)


def test_what_a_shift_leaves_is_grey_or_the_border():
    x = torch.arange(1.0, 9).reshape(1, 1, 1, 8).repeat(200, 1, 8, 1)
    same = (1, 2, 3, 4, 5, 6, 7, 8)
    for fill, first, last in ((0.0, 0, 0), (None, 1, 8)):
        rows = {tuple(row.tolist()) for row in _images.translate(x, 0.125, fill)[:, 0, 4]}
        assert rows == {same, (first, *same[:-1]), (*same[1:], last)}


@pytest.mark.parametrize("length, extent, starts", [(8, 4, range(-2, 7)), (10, 5, range(-2, 8))])
def test_cutout_is_half_of_each_side_about_any_place(length, extent, starts):
    x = torch.ones(2000, 2, length, length)
    varied = DiffAugment(colour=False, translation=0.0).vary(x, None)
    assert set(varied.unique().tolist()) == {0.0, 1.0}
    assert torch.equal(varied[:, 0], varied[:, 1])
    for dim in (1, 2):
        gone = (varied[:, 0] == 0).any(3 - dim)
        seen = {tuple(row.nonzero().flatten().tolist()) for row in gone}
        assert seen == {tuple(range(max(0, start), min(length, start + extent))) for start in starts}
        whole = (gone.sum(1) == extent).double().mean()
        assert whole == pytest.approx((length - extent + 1) / len(starts), abs=0.05)


class Fixed:
    """Draws that always happen: normal ones of one deviation, uniform ones at their greatest, integers at theirs."""

    device = torch.device("cpu")
    num, probability = 1, 0.36

    def __init__(self):
        self.rare = []

    def normal(self, columns, deviation):
        return torch.full((1, columns), deviation) * torch.tensor([1.0, 2.0])[:columns]

    def uniform(self, columns, largest, probability=None):
        self.rare.append(probability)
        return torch.full((1, columns), largest) * torch.tensor([1.0, 0.5])[:columns]

    def integers(self, below):
        return torch.full((1,), below - 1.0)

    def bits(self):
        return self.integers(2)


def turn(angle):
    return np.pad(Rotation.from_euler("z", angle).as_matrix()[:2, :2], (0, 1)) + np.diag([0, 0, 1])


def shift(x, y):
    return np.array([[1, 0, x], [0, 1, y], [0, 0, 1]])


def test_the_places_of_ada_are_those_of_the_published_pipeline():
    """xflip, rotate90, xint, then scale, rotate, aniso, rotate, xfrac, one after the other, with its constants."""
    width, height = 40, 24
    blits = np.diag([-1, 1, 1]) @ turn(3 * np.pi / 2) @ shift(5, 2)  # 0.125 * 40; half of 0.125 * 24, rounded to even
    stretch = np.diag([2**0.2, 2**-0.2, 1])
    geometry = np.diag([2**0.2, 2**0.2, 1]) @ turn(np.pi) @ stretch @ turn(np.pi) @ shift(0.125 * 40, 0.25 * 24)
    for options, expected in (
        ({"geometry": False}, blits), ({"blits": False}, geometry), ({}, blits @ geometry)
    ):  # fmt: skip
        draw = Fixed()
        places = AdaptiveAugment(**options)._positions(draw, width, height)
        assert torch.allclose(places[0].double(), torch.from_numpy(expected[:2]), atol=1e-4)
    assert draw.rare == [None, pytest.approx(0.2), pytest.approx(0.2)]  # (1 - 0.2)^2 = 1 - 0.36


def test_the_colours_of_ada_are_those_of_the_published_pipeline():
    """brightness, contrast, lumaflip, hue, saturation, as maps of (R, G, B, 1), with its constants."""
    axis = np.ones(3) / 3**0.5

    def linear(matrix):
        return np.pad(matrix, (0, 1)) + np.diag([0, 0, 0, 1])

    brighter = np.eye(4)
    brighter[:3, 3] = 0.2
    contrast = linear(2**0.5 * np.eye(3))
    flipped = linear(np.eye(3) - 2 * np.outer(axis, axis))
    grey = flipped @ contrast @ brighter
    for angle in (np.pi, np.pi / 3):
        hue = linear(Rotation.from_rotvec(angle * axis).as_matrix())
        saturated = linear(np.outer(axis, axis) + 2 * (np.eye(3) - np.outer(axis, axis)))
        draw = Fixed()
        if angle != np.pi:
            draw.uniform = lambda columns, largest, probability=None: torch.full((1, columns), largest / 3)
        colours = ada._colours(draw, 3)[0].double()
        assert torch.allclose(colours, torch.from_numpy((saturated @ hue @ grey)[:3]), atol=1e-5)
    colours = ada._colours(Fixed(), 1)
    assert torch.allclose(colours[0].double(), torch.from_numpy(grey[:3]), atol=1e-5)
    # a grey image as three equal channels
    x = torch.rand(1, 1, 3, 3)
    assert torch.allclose(ada._recolour(x, colours), -(2**0.5) * (x + 0.2), atol=1e-5)
    x = torch.rand(1, 3, 2, 2)
    by_hand = torch.stack([colours[0, :, :3] @ pixel + colours[0, :, 3] for pixel in x[0].flatten(1).T], 1)
    assert torch.allclose(ada._recolour(x, colours)[0].flatten(1), by_hand, atol=1e-5)


def test_adas_draws_happen_with_their_probability():
    draw = ada._Draws(torch.zeros(20_000, 1, 1, 1), 0.3)
    for values, deviation in ((draw.normal(2, 0.2), 0.2), (draw.uniform(2, 0.6), 0.6 / 3**0.5)):
        done = values != 0
        assert torch.equal(done[:, 0], done[:, 1])  # both or none
        assert done.double().mean() == pytest.approx(0.3, abs=0.015)
        assert values[done].std() == pytest.approx(deviation, rel=0.03)
        assert values[done].mean() == pytest.approx(0, abs=0.02)
    assert (draw.uniform(1, 0.6).abs() <= 0.6).all()
    assert (draw.uniform(1, 0.6, 0.1) != 0).double().mean() == pytest.approx(0.1, abs=0.01)
    counts = draw.integers(4).long().bincount() / 20_000
    assert torch.allclose(counts, torch.tensor([0.7 + 0.075, 0.075, 0.075, 0.075]), atol=0.015)
    assert draw.bits().mean() == pytest.approx(0.15, abs=0.01)


def test_the_fraction_of_ada_is_the_probability_of_each_transformation():
    """Blits: 3/8 of the flips and turns are not seen in an image without symmetry, nor some of the shifts."""
    x = torch.rand(1, 1, 8, 8).repeat(4000, 1, 1, 1)
    flips = AdaptiveAugment(geometry=False, colour=False)
    for fraction in (0.2, 0.6):
        same = (flips(x, None, fraction) - x).abs().flatten(1).max(1).values < 1e-4
        # not flipped, not turned, not shifted; and flipped and turned by half is not the same
        still = (1 - fraction / 2) * (1 - 0.75 * fraction) * (1 - fraction * (1 - 0.5**2))
        assert same.double().mean() == pytest.approx(still, abs=0.03)
    assert torch.equal(flips(x, None, 0.0), x)


@pytest.mark.parametrize(
    "matrix, expected",
    [
        ([[-1.0, 0, 0], [0, 1, 0]], lambda x: x.flip(3)),
        ([[0.0, -1, 0], [1, 0, 0]], lambda x: x.rot90(1, (2, 3))),
        ([[1.0, 0, 1], [0, 1, 0]], lambda x: torch.cat([x[..., 1:], x[..., -1:]], 3)),
        ([[1.0, 0, 0], [0, 1, -2]], lambda x: torch.cat([x[:, :, :1], x[:, :, :1], x[:, :, :-2]], 2)),
        ([[1.0, 0, 0.5], [0, 1, 0]], lambda x: (x + torch.cat([x[..., 1:], x[..., -1:]], 3)) / 2),
    ],
    ids=["mirror", "quarter turn", "one to the left", "two down", "half a pixel"],
)
def test_warps_by_hand(matrix, expected):
    x = torch.rand(2, 3, 6, 6)
    assert torch.allclose(_images.warp(x, torch.tensor([matrix] * 2), "border"), expected(x), atol=1e-5)


def test_warps_of_oblong_images_count_in_pixels():
    x = torch.rand(1, 1, 4, 8)
    turned = _images.warp(x, torch.tensor([[[0.0, -1, 0], [1, 0, 0]]]), "zeros")
    assert torch.allclose(turned[..., 2:6], x[..., 2:6].rot90(1, (2, 3)), atol=1e-5)


def test_classic_turns_and_crops_within_their_ranges():
    """The map of the plane, seen by where a ramp goes: its slopes are those of the turned and enlarged image."""
    ramp = torch.linspace(-15.5, 15.5, 32)
    x = torch.stack([ramp.repeat(32, 1), ramp.repeat(32, 1).T])[None].repeat(1000, 1, 1, 1)
    for rotate, cut in ((10.0, 0.0), (0.0, 0.1), (30.0, 0.4)):
        arm = ClassicAugment(crop=cut, rotate=rotate, shift=0.0, contrast=0.0)
        varied = arm.vary(x, None)
        slopes = varied[:, :, 16, 17] - varied[:, :, 16, 16]  # along a row: (kept cos, kept sin)
        kept, angle = slopes.norm(dim=1), torch.atan2(slopes[:, 1], slopes[:, 0]).rad2deg()
        assert angle.abs().max() == pytest.approx(rotate, abs=0.01 + 0.02 * rotate)
        assert kept.min() == pytest.approx(1 - cut, abs=0.01)
        assert kept.mean() == pytest.approx(1 - cut / 2, abs=0.01)
        assert angle.std() == pytest.approx(rotate / 3**0.5, abs=0.01 + 0.05 * rotate)


def test_classic_flips_half_and_stretches_contrast_within_its_range():
    x = torch.rand(2000, 1, 4, 4)
    off = {"crop": 0.0, "shift": 0.0, "rotate": 0.0}
    flipped = ClassicAugment(**off, contrast=0.0, flip=True).vary(x, None)
    mirrored = (flipped == x.flip(3)).flatten(1).all(1)
    assert ((flipped == x).flatten(1).all(1) ^ mirrored).all()
    assert mirrored.double().mean() == pytest.approx(0.5, abs=0.04)
    stretched = ClassicAugment(**off).vary(x, None)
    factors = stretched.flatten(1).std(1) / x.flatten(1).std(1)
    assert torch.allclose(stretched.mean((1, 2, 3)), x.mean((1, 2, 3)), atol=1e-5)
    assert factors.min() == pytest.approx(0.8, abs=0.005) and factors.max() == pytest.approx(1.2, abs=0.005)
    assert factors.mean() == pytest.approx(1, abs=0.01)


OFF = {"crop": 0.0, "shift": 0.0, "rotate": 0.0, "contrast": 0.0, "jitter": 0.0, "scale": 0.0, "warp": 0.0}


@pytest.mark.parametrize("option", ["crop", "shift", "rotate", "contrast"])
def test_0_switches_each_transformation_of_images_off(option):
    x = torch.rand(50, 1, 16, 16)
    assert torch.equal(ClassicAugment(**OFF).vary(x, None), x)
    usual = {"crop": 0.1, "shift": 0.125, "rotate": 10.0, "contrast": 0.2}[option]
    varied = ClassicAugment(**{**OFF, option: usual}).vary(x, None)
    assert ((varied != x).flatten(1).any(1)).double().mean() > 0.8
    for arm in (DiffAugment(colour=False, cutout=0.0, translation=0.0), AdaptiveAugment(False, False, False)):
        assert torch.equal(arm.vary(x, None), x)


@pytest.mark.parametrize("option, values", [("shift", (0.1, 0.2, 0.4)), ("rotate", (5.0, 20.0, 60.0)),
                                            ("crop", (0.05, 0.2, 0.6)), ("contrast", (0.1, 0.3, 0.9))])  # fmt: skip
def test_the_greater_the_option_the_further_from_the_original(option, values):
    x = torch.nn.functional.avg_pool2d(torch.rand(100, 1, 20, 20), 5, 1)
    varied = [ClassicAugment(**{**OFF, option: value}).vary(x, None) for value in values]
    distances = [float((image - x).square().mean()) for image in varied]
    assert all(near < far for near, far in pairwise(distances))


def test_gradients_of_transformations_against_finite_differences():
    x = torch.rand(2, 3, 4, 4, dtype=torch.double, requires_grad=True)
    matrix = torch.tensor([[[0.8, -0.3, 0.4], [0.2, 1.1, -0.7]]] * 2)
    colours = ada._colours(Fixed(), 3).repeat(2, 1, 1).double()
    functions = [
        lambda x: _images.warp(x, matrix, "reflection"),
        lambda x: ada._recolour(x, colours),
        lambda x: _images.translate(x, 0.25, 0.0),
        lambda x: _images.translate(x, 0.25),
        lambda x: _images.cut_out(x, 0.5),
        lambda x: _images.flip(x, torch.tensor([True, False])),
        lambda x: DiffAugment().vary(x, None),
        lambda x: ClassicAugment(flip=True).vary(x, None),
    ]
    for function in functions:

        def seeded(x, function=function):
            torch.manual_seed(3)
            return function(x)

        assert torch.autograd.gradcheck(seeded, (x,), fast_mode=True)


@pytest.mark.parametrize(
    "name, arm", [("ada", AdaptiveAugment()), ("diffaug", DiffAugment()), ("classic", ClassicAugment())]
)
def test_what_is_for_images_takes_grey_and_colour_ones_alone(name, arm):
    for shape in ((1, 8, 8), (3, 8, 6), (3, 2, 2)):
        arm.check(dataset_of(torch.zeros(2, *shape)))
    for shape in ((2, 8, 8), (4, 8, 8)):
        with pytest.raises(ValueError, match=f"--augment: {name} expected grey or RGB images; got data of shape"):
            arm.check(dataset_of(torch.zeros(2, *shape)))


def test_classic_crops_anywhere_and_turns_by_hand(monkeypatch):
    """Where in the image each pixel of the result comes from: R(angle) kept p + centre, in pixels from the centre.

    Draws of 0.8, 0.5, 0.9 and 0.2 are an angle of 0.6 of the largest, a window of 1 - 0.5 * 0.4 of the sides, and its
    centre at 0.8 and -0.6 of the room that is left.
    """
    height, width = 24, 40
    y, x = torch.meshgrid(torch.arange(height) - 11.5, torch.arange(width) - 19.5, indexing="ij")
    draws = torch.tensor([[0.8], [0.5], [0.9], [0.2]])
    for rotate in (30.0, 0.0):
        monkeypatch.setattr(torch, "rand", lambda *shape, **options: draws)
        arm = ClassicAugment(crop=0.4, rotate=rotate, shift=0.0, contrast=0.0)
        seen = arm.vary(torch.stack([x, y])[None], None)[0]
        monkeypatch.undo()
        turned = Rotation.from_euler("z", 0.6 * np.radians(rotate)).as_matrix()[:2, :2] * 0.8
        centre = np.array([0.8 * 0.2 * width / 2, -0.6 * 0.2 * height / 2])
        expected = turned @ np.stack([x.flatten(), y.flatten()]) + centre[:, None]
        inside = (np.abs(expected) < [[19.5], [11.5]]).all(0)
        assert inside.mean() > 0.8
        assert seen.flatten(1).numpy()[:, inside] == pytest.approx(expected[:, inside], abs=1e-3)


def test_colours_keep_the_precision_of_the_images():
    for dtype in (torch.float64, torch.bfloat16):
        x = torch.rand(3, 3, 8, 8, dtype=dtype)
        assert _images.uniform(x, 0, 1).dtype == dtype
        assert DiffAugment().vary(x, None).dtype == dtype
        torch.manual_seed(0)
        varied = AdaptiveAugment()(x, None, 0.8)
        torch.manual_seed(0)
        expected = AdaptiveAugment()(x.float(), None, 0.8).to(dtype)  # of half precision all is done in float32
        assert varied.dtype == dtype and torch.allclose(varied.float(), expected.float(), atol=1e-4)


def test_ada_mirrors_the_border_and_counts_shifts_by_width_and_height(monkeypatch):
    """Five columns and one row further, of 40 and 16."""
    monkeypatch.setattr(Fixed, "integers", lambda self, below: torch.zeros(1))
    monkeypatch.setattr(ada, "_Draws", lambda images, probability: Fixed())
    x = torch.rand(1, 3, 16, 40)
    moved = AdaptiveAugment(geometry=False, colour=False).vary(x, None)
    expected = np.pad(x[0].numpy(), ((0, 0), (0, 1), (0, 5)), mode="symmetric")[:, 1:, 5:]
    assert moved[0].numpy() == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("channels", [1, 3])
def test_ada_colours_images_by_their_channels_and_after_it_has_moved_them(monkeypatch, channels):
    monkeypatch.setattr(ada, "_Draws", lambda images, probability: Fixed())
    x = torch.rand(1, channels, 24, 40)
    coloured = AdaptiveAugment(blits=False, geometry=False)(x, None, 0.5)
    colours = ada._colours(Fixed(), channels)[0]
    pixels = x[0].expand(3, -1, -1).flatten(1)
    by_hand = (colours[:, :3] @ pixels + colours[:, 3:]).reshape(3, 24, 40)
    assert torch.allclose(coloured[0].expand(3, -1, -1), by_hand, atol=1e-4)
    moved = AdaptiveAugment(colour=False)(x, None, 0.5)
    both = AdaptiveAugment()(x, None, 0.5)
    assert torch.allclose(both, AdaptiveAugment(blits=False, geometry=False)(moved, None, 0.5), atol=1e-4)
