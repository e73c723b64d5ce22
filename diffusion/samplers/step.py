"""The one update that serves every sampler: S' = A·S + b·D + c·ε, row by row of a batch.

Registers are summed one at a time, elementwise, so that a row's bits depend neither on its
neighbours nor on its place in the batch.
"""

from torch import Tensor


def coefficients(packed: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return A (B, K, K), b (B, K) and c (B, K) of rows that hold them side by side.

    Args:
        packed: (B, K·K + 2·K).
        k: K, the number of registers.
    """
    weight, noise_weight = packed[:, k * k :].reshape(-1, 2, k).unbind(1)
    return packed[:, : k * k].reshape(-1, k, k), weight, noise_weight


def linear_part(state: Tensor, noise: Tensor | None, mix: Tensor, noise_weight: Tensor) -> Tensor:
    """Return A·S + c·ε, (B, K, C, h, w): the part of a step that needs no network output.

    Args:
        state: S, (B, K, C, h, w) float32, sigma space.
        noise: ε, (B, C, h, w), or None where every noise weight is zero.
        mix: A, (B, K, K).
        noise_weight: c, (B, K).
    """
    result = mix[:, :, 0, None, None, None] * state[:, 0, None]
    for j in range(1, state.shape[1]):
        result.addcmul_(mix[:, :, j, None, None, None], state[:, j, None])
    return result if noise is None else add_noise(result, noise, noise_weight)


def add_noise(state: Tensor, noise: Tensor, noise_weight: Tensor) -> Tensor:
    """Return the states (B, K, C, h, w) with c·ε added, in place."""
    return state.addcmul_(noise_weight[:, :, None, None, None], noise[:, None])


def step(linear: Tensor, denoised: Tensor, denoised_weight: Tensor) -> Tensor:
    """Return the next state (B, K, C, h, w): b·D added to the linear part, in place.

    Args:
        linear: the result of :func:`linear_part`.
        denoised: D, (B, C, h, w).
        denoised_weight: b, (B, K).
    """
    return linear.addcmul_(denoised_weight[:, :, None, None, None], denoised[:, None])
