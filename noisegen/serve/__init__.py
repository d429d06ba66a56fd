"""A small local web page that gives a dropped photograph the noise of a camera."""

from noisegen.serve.limits import Limits
from noisegen.serve.server import serve

__all__ = ["Limits", "serve"]
