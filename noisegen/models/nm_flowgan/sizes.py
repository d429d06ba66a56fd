"""Sizes of an NM-FlowGAN and its named presets."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from noisegen.errors import UsageError
from noisegen.models.learning import ModelSizes

__all__ = ["PRESETS", "NMFlowGANSizes"]


@dataclass(frozen=True)
class NMFlowGANSizes(ModelSizes):
    """Architecture of an NM-FlowGAN; the defaults are the paper's (arXiv 2312.10112, section III).

    Attributes:
        channels, bit_depth: see `ModelSizes`; one unit of the flow is 2**bit_depth grey levels.
        condition_encoder: "residual" is the paper's network on one-hot codes; "table" one learned row per
            (ISO, camera).
        flow_blocks: number of (structure-aware, signal-dependent, conditional linear) triples.
        structure, signal: whether the flow has structure-aware and signal-dependent layers (the ablations of the
            paper's Table II leave them out).
        structure_width, structure_depth: channels and 3x3 layers of the structure-aware encoder (receptive field
            2 * depth + 1 of its pixels).
        structure_modulated: whether the condition scales and shifts the hidden channels of the structure-aware encoder,
            beside weighting its output.
        structure_stride: side of the squares of pixels that the structure-aware encoder takes for one.
        signal_widths: channels of the signal-dependent encoder's pointwise layers.
        signal_norm: InstanceNorm over the whole picture in the signal-dependent encoder. Without it the pixel-wise
            noise of a pixel does not depend on where the picture was cut.
        intensity_knots: knots of each condition's curve of the noise level over the clean value, see
            `noisegen.models.nm_flowgan.layers.IntensityCurve`; 0 for none.
        shift: whether the flow's layers have a bias. What a bias learns is the mean of the noise at each clean value;
            where noisy and clean pictures differ in brightness it learns that difference, which is not noise.
        tone: a tone curve for each camera between noise and the affine layers, and clipped values taken for what they
            are, see `noisegen.models.nm_flowgan.transform`. It explains the mean, the skew and the clipping of noise.
        tails: heavier or lighter tails than a Gaussian's for each condition and channel.
        period: side of the squares of pixels in which each position has a level of noise and a filter of its own, 2
            behind a Bayer mosaic.
        filter_size: side, in such squares, of the linear filter that correlates latents before the generator, see
            `noisegen.models.nm_flowgan.correlation`; 0 for none.
        generator: whether there is a spatial-correlation generator; without one the noise is pixel-wise.
        unet_width: channels of the generator's first level; each level below has twice as many.
        unet_depth: levels of the generator; picture sides are padded to multiples of `unet_stride` *
            2**(unet_depth - 1).
        unet_stride: side of the squares of pixels that the generator takes for one.
        conditional: generator and critic also get a scale and bias per channel from the condition, and the generator
            sees the clean picture.
        latent: the generator correlates the flow's latents, before they are scaled to the noise of each pixel; the
            noise of a pixel then keeps the distribution that the flow's likelihood was fitted to. Otherwise, as
            published, it correlates pixel-wise noise rounded to whole grey levels.
        critic_width: channels of the critic's first layer (at most 8 times as many in the last).
        critic_unit: grey levels (8-bit) that count as 1 for the noise at the critic's input.
    """

    condition_encoder: Literal["residual", "table"] = "residual"
    flow_blocks: int = 2
    structure: bool = True
    structure_width: int = 16
    structure_depth: int = 4
    structure_stride: int = 1
    structure_modulated: bool = False
    signal: bool = True
    signal_widths: tuple[int, ...] = (16, 32, 32, 16)
    signal_norm: bool = True
    intensity_knots: int = 0
    shift: bool = True
    tone: bool = False
    tails: bool = False
    period: int = 1
    filter_size: int = 0
    generator: bool = True
    unet_width: int = 64
    unet_depth: int = 5
    unet_stride: int = 1
    conditional: bool = False
    latent: bool = False
    critic_width: int = 64
    critic_unit: float = 256.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.period not in (1, 2):
            raise UsageError(f"period must be 1 or 2 pixels, not {self.period}")


PRESETS: dict[str, NMFlowGANSizes] = {
    "paper": NMFlowGANSizes(),
    "compact": NMFlowGANSizes(
        condition_encoder="table",
        flow_blocks=1,
        structure_width=24,
        structure_depth=3,
        structure_stride=2,
        structure_modulated=True,
        signal_widths=(16, 16),
        signal_norm=False,
        intensity_knots=17,
        shift=False,
        tone=True,
        tails=True,
        period=2,
        filter_size=7,
        generator=False,
        latent=True,
        critic_width=8,
        critic_unit=16.0,
    ),
}
PRESETS["hybrid"] = replace(
    PRESETS["compact"], generator=True, unet_width=24, unet_depth=2, unet_stride=2, conditional=True
)
