"""Losses as pure functions of tensors; each formula exists once, here."""

import torch.nn.functional as F
from torch import Tensor


def reconstruction(kind: str, output: Tensor, x: Tensor) -> Tensor:
    """Mean reconstruction error per pixel of a decoder.

    Args:
        kind: "mse" or "l1" in units of the range [-1, 1], or "bce" in nats for pixels read as probabilities.
        output: the decoder's output before its tanh, (B, C, H, W). As tanh(a) = 2 sigmoid(2a) - 1, the
            logit of a pixel in [0, 1] is twice the output.
        x: images in [-1, 1], (B, C, H, W).
    """
    if kind == "mse":
        return F.mse_loss(output.tanh(), x)
    if kind == "l1":
        return F.l1_loss(output.tanh(), x)
    if kind == "bce":
        return F.binary_cross_entropy_with_logits(2 * output, (x + 1) / 2)
    raise ValueError(f"--model.loss: expected mse, l1 or bce; got '{kind}'")


def logistic_critic(real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
    """The two terms of the critic's logistic loss (Goodfellow et al. 2014, arXiv 1406.2661), from logits.

    Their sum is log 4 for a critic that can tell nothing and log 4 - 2 JSD(p, q) for the optimal one.
    """
    return F.softplus(-real).mean(), F.softplus(fake).mean()


def logistic_generator(fake: Tensor) -> Tensor:
    """The generator's non-saturating logistic loss (arXiv 1406.2661), from logits: -log sigmoid(fake)."""
    return F.softplus(-fake).mean()
