"""Losses as pure functions of tensors; each formula exists once, here."""

import torch.nn.functional as F
from torch import Tensor


def reconstruction(kind: str, output: Tensor, x: Tensor) -> Tensor:
    """Mean reconstruction error per pixel of a decoder.

    Args:
        kind: "mse" or "l1" in units of the range [-1, 1], or "bce" in nats for pixels read as probabilities.
        output: of the decoder, (B, C, H, W), without a bound; see `to_image`.
        x: images in [-1, 1], (B, C, H, W).
    """
    if kind == "mse":
        return F.mse_loss(output, x)
    if kind == "l1":
        return F.l1_loss(output, x)
    if kind == "bce":
        return F.binary_cross_entropy_with_logits(output, (x + 1) / 2)
    raise ValueError(f"--model.loss: expected mse, l1 or bce; got '{kind}'")


def to_image(kind: str, output: Tensor) -> Tensor:
    """The image in [-1, 1] of a decoder that was trained with a reconstruction loss.

    For mse and l1 the output is the image, cut off at its range: a tanh before those losses can saturate, on
    images that are mostly black above all, and then learns nothing any more. For bce it is a logit.
    """
    return 2 * output.sigmoid() - 1 if kind == "bce" else output.clamp(-1, 1)


def logistic_critic(real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
    """The two terms of the critic's logistic loss (Goodfellow et al. 2014, arXiv 1406.2661), from logits.

    Their sum is log 4 for a critic that can tell nothing and log 4 - 2 JSD(p, q) for the optimal one.
    """
    return F.softplus(-real).mean(), F.softplus(fake).mean()


def logistic_generator(fake: Tensor) -> Tensor:
    """The generator's non-saturating logistic loss (arXiv 1406.2661), from logits: -log sigmoid(fake)."""
    return F.softplus(-fake).mean()
