"""NAFlow: latent distributions of camera settings, and sampling like a noisy picture.

Kim, Jung, Baik, Kim: "sRGB Real Noise Modeling via Noise-Aware Sampling with Normalizing Flows", ICLR 2024.

The flow f maps noise n to a latent, given the clean picture x; it knows neither camera nor ISO. Each setting c, a known
(camera, ISO), has a Gaussian of its own in the space of latents, with learned mean and diagonal deviation:

    log p(n | x, c) = sum over positions of log N(z; mean_c, std_c^2) + log |det df/dn|,   z = f(n; x)

The latents of a square of pixels are independent in the published model. A short training leaves much correlation
among them, which sampling would lose; and of independent latents the flow's inverse makes too strong a noise. With
``covariance="full"`` each Gaussian gets a covariance matrix, fitted to the trained flow:
latent = mean_c + std_c * factor_c normal.

Noise-aware sampling needs no metadata. A noisy picture (the reference) is encoded, and the settings' Gaussians at
its latents give the weights of a mixture, from which latents are drawn:

    w_c proportional to N(z; c),   n = f^-1(mean_c + std_c * factor_c normal; x),   c drawn by the weights

The likelihood of all positions of a picture together would make one weight 1 and the others 0, whatever the picture.
Here w_c is the evidence of one position: the geometric mean over positions. It does not depend on the picture's size,
and settings that can be told apart by one square of pixels are. The setting is drawn once for a whole noisy picture,
since a photograph was taken at one setting; all its tiles get the same.

Noise is noisy - clean in 8-bit grey levels, dequantized symmetrically by one pixel value: + u - 1/2 with u ~ U[0, 1).

Sizes are those of the authors' published configuration (recipe "paper"): 3 scales without splits, in each two
transitions and one conditional step, 128 features, 64 hidden channels, independent latents. noisegen's own are the form
of the feature network (1x1 convolutions and squeezes), the bounded scales of the affine layers, the weights' evidence
as said above, that the setting is drawn for a picture and not for a position, and the start of the training (see
`NaflowLearner`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from noisegen.conditions import Condition, Vocabulary
from noisegen.errors import InputError, UsageError
from noisegen.models.learning import LearnedModel, ModelSizes
from noisegen.models.naflow.flow import MultiScaleFlow
from noisegen.models.picture_randomness import picture_uniforms
from noisegen.models.protocol import Randomness

__all__ = ["Naflow", "NaflowSizes"]

# Added to each variance of standardised latents, so that a covariance fitted to few of them can be factored
RIDGE = 1e-3


@dataclass(frozen=True)
class NaflowSizes(ModelSizes):
    """Architecture of NAFlow.

    Attributes:
        scales: squeezes, 1 to 6; latents are vectors of squares of 2**scales pixels.
        transitions: ActNorm and 1x1 convolution without coupling, at the beginning of each scale.
        flow_steps: conditional steps of each scale.
        features: channels of the clean picture's features, a multiple of 4.
        hidden: channels within the affine layers' networks.
        covariance: of the latents of a square in a setting, "diagonal" as published or "full".
    """

    scales: int = 3
    transitions: int = 1
    flow_steps: int = 1
    features: int = 32
    hidden: int = 32
    covariance: Literal["diagonal", "full"] = "full"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.covariance not in ("diagonal", "full"):
            raise UsageError(f'covariance must be "diagonal" or "full", not {self.covariance!r}')
        if not 1 <= self.scales <= 6:
            raise UsageError(f"scales must be 1 to 6, not {self.scales}")
        for name, least in (("transitions", 0), ("flow_steps", 1), ("hidden", 1)):
            if getattr(self, name) < least:
                raise UsageError(f"{name} must be {least} or more, not {getattr(self, name)}")
        if self.features < 4 or self.features % 4:
            raise UsageError(f"features must be a positive multiple of 4, not {self.features}")

    @property
    def side(self) -> int:
        """Side in pixels of the squares that latents are of."""
        return int(2**self.scales)


class Naflow(LearnedModel):
    """The flow and the settings' latent distributions; a `ReferencedModel` that needs a reference.

    A description is the mixture's weights, one for each of `vocabulary.known`, in that order.
    """

    sizes: NaflowSizes
    factor: Tensor | None

    def __init__(self, sizes: NaflowSizes, vocabulary: Vocabulary) -> None:
        super().__init__()
        self.sizes, self.vocabulary = sizes, vocabulary
        self.flow = MultiScaleFlow(
            sizes.channels, sizes.scales, sizes.transitions, sizes.flow_steps, sizes.features, sizes.hidden
        )
        values = sizes.channels * sizes.side**2
        factor = None
        if sizes.covariance == "full":
            factor = torch.zeros(len(vocabulary.known), values, values)
            # where a checkpoint is about to be read, this would only load PyTorch's compiler, which takes seconds
            if not factor.is_meta:
                factor.diagonal(dim1=1, dim2=2).fill_(1.0)
        self.register_buffer("factor", factor)
        self.mean = nn.Parameter(torch.zeros(len(vocabulary.known), values))
        self.log_std = nn.Parameter(torch.zeros(len(vocabulary.known), values))

    @property
    def alignment(self) -> int:
        return self.sizes.side

    @property
    def needs_reference(self) -> bool:
        return True

    def settings(self, conditions: Sequence[Condition]) -> Tensor:
        """Rows of known conditions in the tables of means and deviations, int64 [B].

        Raises:
            ValueError: a condition is none of `vocabulary.known`.
        """
        known = self.vocabulary.known
        return torch.tensor([known.index(c) for c in conditions], dtype=torch.int64, device=self.mean.device)

    def encode(self, noisy: Tensor, clean: Tensor, blur: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(latents [B, C * side**2, h, w], log-determinant [B] in nats per picture) of noise in pixel values.

        Args:
            noisy: float [B, C, H, W] pixel values, dequantized or not. Where H or W is no multiple of the squares' side
                the latents, and the log-determinant, are those of the continued picture (see `_wrapped`).
            clean: the same in whole values.
            blur: what is added to the clean picture where it conditions the flow, pixel values.
        """
        grey = self.sizes.grey
        noise = _wrapped((noisy - clean) / grey, self.alignment)
        latent, log_det = self.flow(noise, self._conditioning(clean if blur is None else clean + blur))
        return latent, log_det - math.log(grey) * noise[0].numel()

    @torch.no_grad()
    def initialise(self, noisy: Tensor, clean: Tensor, setting: Tensor) -> None:
        """Sets the weights that a training starts from.

        Args:
            noisy: float [B, C, H, W] pixel values, dequantized, sides multiples of `alignment`.
            clean: the same in whole values.
            setting: int64 [B], see `settings`; those that are missing get the statistics of all.
        """
        self.flow.initialise((noisy - clean) / self.sizes.grey, self._conditioning(clean))
        latent, _ = self.encode(noisy, clean)
        for row in range(len(self.mean)):
            chosen = latent[setting == row] if (setting == row).any() else latent
            std, mean = torch.std_mean(chosen, dim=(0, 2, 3))
            self.mean[row] = mean
            self.log_std[row] = std.clamp(min=1e-6).log()

    def log_prob(self, latent: Tensor, setting: Tensor) -> Tensor:
        """Log-densities [B] in nats of all of a picture's latents [B, D, h, w], taken as independent, in a setting [B].

        What training maximises; covariances are fitted afterwards.
        """
        mean, log_std = (table[setting][:, :, None, None] for table in (self.mean, self.log_std))
        density = -0.5 * ((latent - mean) * torch.exp(-log_std)).square() - log_std - _HALF_LOG_2_PI
        return density.sum(dim=(1, 2, 3))

    def decode(self, latent: Tensor, clean: Tensor) -> Tensor:
        """Noise in pixel values [B, C, H, W] of latents, the inverse of `encode`."""
        height, width = clean.shape[2:]
        noise = self.flow.inverse(latent, self._conditioning(clean))[:, :, :height, :width]
        return noise * self.sizes.grey

    @torch.no_grad()
    def fit_covariance(self, setting: int, latent: Tensor) -> None:
        """Sets a setting's factor of the covariance to that of latents [N, D, h, w]."""
        assert self.factor is not None
        centred = (latent - self.mean[setting][:, None, None]) * torch.exp(-self.log_std[setting])[
            :, None, None
        ]
        rows = centred.transpose(0, 1).flatten(1).double()
        covariance = rows @ rows.T / rows.shape[1]
        covariance.diagonal().add_(RIDGE)
        self.factor[setting] = torch.linalg.cholesky(covariance)

    @torch.inference_mode()
    def describe(self, noisy: Tensor, clean: Tensor, condition: Sequence[Condition]) -> Tensor:
        """Weights of the known settings, float32 [B, settings]; see `ReferencedModel.describe`.

        They follow from the pictures alone; the conditions are only checked.
        """
        self._check(condition)
        latent, _ = self.encode(noisy, clean)
        evidence = torch.stack([self._evidence(latent, row) for row in range(len(self.mean))], dim=1)
        return torch.softmax(evidence, dim=1)

    @torch.inference_mode()
    def sample(
        self,
        clean: Tensor,
        condition: Sequence[Condition],
        *,
        noise: Randomness,
        strength: float = 1.0,
        reference: Tensor | None = None,
    ) -> Tensor:
        """See `ReferencedModel.sample`. The noise follows the reference; camera and ISO are only checked.

        Raises:
            InputError: ``no_reference``, and a camera or ISO that the model does not cover.
        """
        self._check(condition)
        if reference is None:
            raise InputError(
                "no_reference",
                "this model (naflow) makes noise like that of a noisy picture and was given none; give noisy pictures "
                "by --noisy-pool",
            )
        setting = _draw_setting(reference, noise)
        normal = nn.functional.pixel_unshuffle(_wrapped(noise.normal, self.alignment), self.alignment)
        if self.factor is not None:
            normal = torch.bmm(self.factor[setting], normal.flatten(2)).view_as(normal)
        latent = self.mean[setting][:, :, None, None] + self.log_std[setting].exp()[:, :, None, None] * normal
        noisy = clean + strength * self.decode(latent, clean)
        return noisy.round_().clamp_(0, self.sizes.levels - 1)

    def _evidence(self, latent: Tensor, setting: int) -> Tensor:
        """Log-density [B] of latents [B, D, h, w] in a setting, mean over positions, up to a constant."""
        white = (latent - self.mean[setting][:, None, None]) * torch.exp(-self.log_std[setting])[
            :, None, None
        ]
        volume = self.log_std[setting].sum()
        if self.factor is not None:
            factor = self.factor[setting]
            white = torch.linalg.solve_triangular(factor, white.flatten(2), upper=False)
            volume = volume + factor.diagonal().log().sum()
        return -0.5 * white.flatten(2).square().mean(dim=2).sum(dim=1) - volume

    def _conditioning(self, clean: Tensor) -> Tensor:
        """The clean picture as the flow takes it; sides that are no multiple of the squares' are replicated to one."""
        bottom, right = (-side % self.alignment for side in clean.shape[2:])
        return nn.functional.pad(clean / self.sizes.levels - 0.5, (0, right, 0, bottom), mode="replicate")

    def _check(self, conditions: Sequence[Condition]) -> None:
        for condition in conditions:
            self.vocabulary.resolve(condition)


_HALF_LOG_2_PI = 0.5 * math.log(2 * math.pi)


def _draw_setting(weights: Tensor, noise: Randomness) -> Tensor:
    """A setting for each noisy picture, int64 [B], by weights [B, settings]."""
    shares = weights.double().cumsum(dim=1)
    position = picture_uniforms(noise, 1).to(shares) * shares[:, -1:]
    return torch.searchsorted(shares, position).squeeze(1)


def _wrapped(noise: Tensor, side: int) -> Tensor:
    """Noise or white normals [B, C, H, W], continued from the opposite edge to multiples of `side`.

    What a flow couples with the pixels at the edge is then as noisy as they are.
    """
    for dim in (2, 3):
        length = noise.shape[dim]
        if length % side:
            places = torch.arange(length + -length % side, device=noise.device) % length
            noise = noise.index_select(dim, places)
    return noise
