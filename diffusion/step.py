"""The one update that serves every sampler: S' = A·S + b·D + c·ε, row by row of a batch."""

from torch import Tensor


def step(
    state: Tensor,
    denoised: Tensor,
    noise: Tensor | None,
    mix: Tensor,
    denoised_weight: Tensor,
    noise_weight: Tensor,
) -> Tensor:
    """Return the next state (B, K, C, h, w) float32.

    Args:
        state: S, (B, K, C, h, w) float32, sigma space.
        denoised: D, (B, C, h, w).
        noise: ε, (B, C, h, w), or None where every noise weight is zero.
        mix: A, (B, K, K).
        denoised_weight: b, (B, K).
        noise_weight: c, (B, K).

    Sums run over registers one by one, elementwise, so that a row's bits depend on neither its
    neighbours nor its place in the batch.
    """
    registers = state.shape[1]
    result = denoised_weight[:, :, None, None, None] * denoised[:, None]
    for j in range(registers):
        result.addcmul_(mix[:, :, j, None, None, None], state[:, j, None])
    if noise is not None:
        result.addcmul_(noise_weight[:, :, None, None, None], noise[:, None])
    return result
