"""What the types of noise models are, for people who have read none of the papers."""

from __future__ import annotations

from noisegen.models.registry import model_type

__all__ = ["model_words"]

_WORDS = {
    "nm-flowgan": "Two parts share the work. A normalizing flow (invertible layers that turn random numbers into "
    "noise) says how the noise of a single pixel is spread at its brightness. A filter or a generator network makes "
    "neighbours go together, because a camera's processing smears noise over several pixels.",
    "awgn": "White Gaussian noise: every value gets a normally distributed random number of the same strength, "
    "bright or dark, without regard to its neighbours. It is the simplest noise there is, and no camera's.",
    "poisson-gaussian": "Every value gets a normally distributed random number whose variance grows in proportion to "
    "the brightness, as a sensor's does. Neighbours are independent, as in raw data but not in developed pictures.",
    "heteroscedastic": "Every value gets a normally distributed random number whose variance is a straight line of the "
    "brightness. Neighbours are independent, as in raw data but not in developed pictures.",
    "correlated-gaussian": "Normally distributed noise whose variance is a straight line of the brightness, filtered "
    "so that neighbours and colours go together as they do in the pairs that it was measured on.",
    "c2n": "One network makes noise from random numbers and the clean picture; it was trained against a second "
    "network that tries to tell its pictures from real noisy ones. It is told no camera and no ISO: every picture "
    "gets noise like that of any picture it was trained on.",
    "naflow": "A normalizing flow (invertible layers between noise and random numbers) that makes noise like that of "
    "a real noisy picture which it is shown, the reference. Camera and ISO only say which references there are to "
    "choose from; without any it draws nothing.",
    "srgbflow": "A normalizing flow: invertible layers turn random numbers into noise as strong as the camera's for "
    "the clean value. Every pixel is drawn by itself.",
    "neca-w": "For each camera three networks: one says how strong the noise is, one how it depends on the pixel, "
    "and one makes neighbours go together.",
}


def model_words(kind: str) -> tuple[str, str]:
    """Title and explanation of a type; the explanation is empty for types of other packages."""
    return model_type(kind).title, _WORDS.get(kind, "")
