"""Losses as pure functions of tensors; each formula exists once, here."""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


def reconstruction(kind: str, output: Tensor, x: Tensor) -> Tensor:
    """Mean reconstruction error per pixel of a decoder.

    Args:
        kind: "mse" or "l1" in units of the range [-1, 1]; "bce" in nats for pixels read as probabilities; or "ce", in
            nats per position, for text, whose channels are the probabilities of the tokens.
        output: of the decoder, (B, C, H, W), unbounded; see `to_image`.
        x: images in [-1, 1], (B, C, H, W).

    Raises:
        ValueError: the kind is unknown.
    """
    if kind == "mse":
        return F.mse_loss(output, x)
    if kind == "l1":
        return F.l1_loss(output, x)
    if kind == "bce":
        return F.binary_cross_entropy_with_logits(output, (x + 1) / 2)
    if kind == "ce":
        return F.cross_entropy(output, (x + 1) / 2)
    raise ValueError(f"--model.loss: expected mse, l1, bce or ce; got '{kind}'")


def to_image(kind: str, output: Tensor) -> Tensor:
    """Images (B, C, H, W) in [-1, 1] from the output (B, C, H, W) of a decoder trained with a reconstruction loss.

    For mse and l1 the output is the image, clamped to its range: a tanh before those losses can saturate, above all
    on images that are mostly black, and then stops learning. For bce and ce the output is a logit.
    """
    if kind == "ce":
        return 2 * output.softmax(1) - 1
    return 2 * output.sigmoid() - 1 if kind == "bce" else output.clamp(-1, 1)


def gaussian_log_likelihood(output: Tensor, x: Tensor, log_sigma: Tensor) -> Tensor:
    """Log density (B,) in nats of images x (B, C, H, W) under N(output, sigma^2), log_sigma being a scalar."""
    squared = ((x - output) * (-log_sigma).exp()).square()
    return -(0.5 * (squared + math.log(2 * math.pi)) + log_sigma).flatten(1).sum(1)


def bernoulli_log_likelihood(output: Tensor, x: Tensor) -> Tensor:
    """Log likelihood (B,) in nats of images x (B, C, H, W) in [-1, 1], read as probabilities, from logits."""
    return -F.binary_cross_entropy_with_logits(output, (x + 1) / 2, reduction="none").flatten(1).sum(1)


def categorical_log_likelihood(output: Tensor, x: Tensor) -> Tensor:
    """Log likelihood (B,) in nats of text x (B, C, 1, L), one of C tokens per position, from logits (B, C, 1, L)."""
    return -F.cross_entropy(output, (x + 1) / 2, reduction="none").flatten(1).sum(1)


def kl_to_standard_normal(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mean, variance) || N(0, 1)) in nats of every dimension, (B, d) (Kingma & Welling, arXiv 1312.6114)."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance)


class Game(NamedTuple):
    """An adversarial loss: the losses of both players as elementwise functions of the critic's outputs.

    For an f-divergence (Nowozin, Cseke & Tomioka 2016, arXiv 1606.00709) with conjugate f* and output activation g,
    the critic's loss is -g(v) on real and f*(g(v)) on generated images, and the generator's is -g(v) (section 3.2).
    They are simplified here, because the composition overflows where the simplified formula does not.

    Attributes:
        real: the critic's loss on real images.
        fake: the critic's loss on generated images.
        generator: the generator's loss.
        decision_threshold: output of a critic that cannot discriminate. None: there is no such output.
    """

    real: Callable[[Tensor], Tensor]
    fake: Callable[[Tensor], Tensor]
    generator: Callable[[Tensor], Tensor]
    decision_threshold: float | None = 0.0


_LOG_2 = math.log(2)
GAMES = {
    # non-saturating and minimax, on logits (Goodfellow et al. 2014, arXiv 1406.2661)
    "ns": Game(lambda v: F.softplus(-v), F.softplus, lambda v: F.softplus(-v)),
    "minimax": Game(lambda v: F.softplus(-v), F.softplus, lambda v: -F.softplus(v)),
    # least squares with targets 1 and 0 (Mao et al. 2016, arXiv 1611.04076)
    "lsgan": Game(lambda v: (v - 1).square(), lambda v: v.square(), lambda v: (v - 1).square(), 0.5),
    # hinge (Lim & Ye 2017, arXiv 1705.02894)
    "hinge": Game(lambda v: F.relu(1 - v), lambda v: F.relu(1 + v), lambda v: -v),
    # difference of means (Arjovsky et al. 2017, arXiv 1701.07875)
    "wgan": Game(lambda v: -v, lambda v: v, lambda v: -v, None),
    # f-divergences: g(v) = v, -exp(-v), v, log 2 - log(1 + exp(-v))
    "kl": Game(lambda v: -v, lambda v: (v - 1).exp(), lambda v: -v, 1.0),
    "reverse-kl": Game(lambda v: (-v).exp(), lambda v: v - 1, lambda v: (-v).exp()),
    "pearson": Game(lambda v: -v, lambda v: v.square() / 4 + v, lambda v: -v),
    "js": Game(lambda v: F.softplus(-v) - _LOG_2, lambda v: F.softplus(v) - _LOG_2, lambda v: F.softplus(-v) - _LOG_2),
}


def critic(kind: str, real: Tensor, fake: Tensor) -> Tensor:
    """The critic's loss from its outputs on real and on generated images, (B,) each.

    For ns it is log 4 for a critic that cannot discriminate and log 4 - 2 JSD(p, q) for the optimal one; for
    an f-divergence the minimum is minus the divergence.

    Raises:
        KeyError: the kind is not one of GAMES.
    """
    return GAMES[kind].real(_full(real)).mean() + GAMES[kind].fake(_full(fake)).mean()


def generator(kind: str, fake: Tensor) -> Tensor:
    """The generator's loss from the critic's outputs on its images, (B,).

    Raises:
        KeyError: the kind is not one of GAMES.
    """
    return GAMES[kind].generator(_full(fake)).mean()


def r1(critic: Callable[[Tensor], Tensor], real: Tensor, seen: Tensor | None = None) -> Tensor:
    """Half the mean squared norm of the critic's gradient at real images (Mescheder et al. 2018, arXiv 1801.04406).

    Args:
        critic: images (B, C, H, W) to outputs (B,).
        real: images (B, C, H, W).
        seen: the images as the critic sees them, computed from `real`, which then requires a gradient: it is taken with
            respect to `real`, through the augmentation (Karras et al. 2020, arXiv 2006.06676). None: `real`.
    """
    if seen is None:
        real = seen = real.detach().requires_grad_()
    return _squared_gradient(critic, real, seen).mean() / 2


def gradient_penalty(critic: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor) -> Tensor:
    """Mean squared distance to 1 of the norm of the critic's gradient (WGAN-GP, arXiv 1704.00028).

    The gradient is taken at a random point between each real and generated image, (B, C, H, W) each.
    """
    fraction = torch.rand(len(real), 1, 1, 1, device=real.device, dtype=real.dtype)
    between = real.lerp(fake.to(real.dtype), fraction).detach().requires_grad_()
    squared = _squared_gradient(critic, between, between)
    return ((squared + 1e-12).sqrt() - 1).square().mean()  # the root is not differentiable at 0


def path_lengths(images: Tensor, styles: Tensor) -> Tensor:
    """Norms (B,) of the product of the generator's Jacobian and a random image (Karras et al. 2020, arXiv 1912.04958).

    They say how far images move with their style, and are the same for all sizes of images.

    Args:
        images: (B, C, H, W), computed from `styles`.
        styles: (B, S), which require a gradient.
    """
    direction = torch.randn_like(images) / math.sqrt(images.shape[2] * images.shape[3])
    (gradient,) = torch.autograd.grad((images * direction).sum(), styles, create_graph=True)
    return (gradient.square().sum(1) + 1e-12).sqrt()  # the root is not differentiable at 0


def lecam(real: Tensor, fake: Tensor, mean_real: Tensor, mean_fake: Tensor) -> Tensor:
    """LeCam regularisation: how far the critic's outputs are beyond what it gave the other kind on average.

    Tseng et al. 2021, arXiv 2104.03310, with the authors' code, in which outputs on the other kind's side cost nothing.

    Args:
        real, fake: the critic's outputs on real and on generated images, (B,) each.
        mean_real, mean_fake: their moving averages, scalars.
    """
    return F.relu(_full(real) - mean_fake).square().mean() + F.relu(mean_real - _full(fake)).square().mean()


def reconstruction_error(x: Tensor, x_hat: Tensor, power: int) -> Tensor:
    """Mean over the pixels of |x - x_hat|^power, (B,), the energy of EBGAN (power 2) and BEGAN (power 1)."""
    return (x - x_hat).abs().pow(power).flatten(1).mean(1)


def energy_critic(real: Tensor, fake: Tensor, margin: float) -> Tensor:
    """EBGAN's critic's loss from energies, (B,) each (Zhao et al. 2016, arXiv 1609.03126).

    Energies of generated images count up to the margin; if both energies are equal and below it, the loss is
    the margin.
    """
    return real.mean() + F.relu(margin - fake).mean()


def pulling_away(z: Tensor) -> Tensor:
    """Mean squared cosine between the latents (B, d) of different images (EBGAN, Zhao et al., arXiv 1609.03126)."""
    z, num = F.normalize(_full(z), dim=1), len(z)
    cosines = z @ z.T
    return (cosines.square().sum() - num) / max(1, num * (num - 1))


def equilibrium(k: Tensor, real: Tensor, fake: Tensor, gamma: float, lambda_k: float) -> tuple[Tensor, Tensor]:
    """BEGAN's next k, in [0, 1], and its convergence measure M (Berthelot et al. 2017, arXiv 1703.10717), all scalars.

    Args:
        k: weight of the generated images' error in the critic's loss.
        real, fake: mean reconstruction errors of real and of generated images.
        gamma: the target ratio fake / real.
        lambda_k: step size of the updates of k.
    """
    imbalance = gamma * real - fake
    return (k + lambda_k * imbalance).clamp(0, 1), real + imbalance.abs()


def _squared_gradient(critic: Callable[[Tensor], Tensor], x: Tensor, seen: Tensor) -> Tensor:
    # without autocast: the second derivative overflows half precision
    with torch.autocast(x.device.type, enabled=False):
        (gradient,) = torch.autograd.grad(critic(seen).sum(), x, create_graph=True)
        return gradient.flatten(1).square().sum(1)


def _full(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))
