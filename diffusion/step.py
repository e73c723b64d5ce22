"""The one update that serves every sampler: S' = A·S + b·D + c·ε, row by row of a batch.

Sums run over registers one by one, elementwise, so that a row's bits depend on neither its
neighbours nor its place in the batch.
"""

from torch import Tensor


def carry(state: Tensor, noise: Tensor | None, mix: Tensor, noise_weight: Tensor) -> Tensor:
    """Return A·S + c·ε, (B, K, C, h, w): what a step takes that no network has to answer first.

    Args:
        state: S, (B, K, C, h, w) float32, sigma space.
        noise: ε, (B, C, h, w), or None where every noise weight is zero.
        mix: A, (B, K, K).
        noise_weight: c, (B, K).
    """
    result = mix[:, :, 0, None, None, None] * state[:, 0, None]
    for j in range(1, state.shape[1]):
        result.addcmul_(mix[:, :, j, None, None, None], state[:, j, None])
    if noise is not None:
        result.addcmul_(noise_weight[:, :, None, None, None], noise[:, None])
    return result


def step(carried: Tensor, denoised: Tensor, denoised_weight: Tensor) -> Tensor:
    """Return the next state (B, K, C, h, w): what was carried, which is changed, and b·D.

    Args:
        carried: what :func:`carry` returned.
        denoised: D, (B, C, h, w).
        denoised_weight: b, (B, K).
    """
    return carried.addcmul_(denoised_weight[:, :, None, None, None], denoised[:, None])
