"""sRGBFlow: a normalizing flow with affine couplings, conditioned on clean picture, camera and ISO."""
