"""The package's face: few names, stable and documented ones, a fast import, help at once."""

from __future__ import annotations

import doctest
import importlib
import inspect
import subprocess
import sys
import textwrap
from inspect import Parameter, Signature

import pytest

import noisegen

# All that users may call, with its parameters: a change here is a change of the interface, and of docs/python.md.
NAMES = """\
BuildSummary(output, rank, world_size, complete, shards, shards_built, tiles, megapixels, failures, left_out,
    seconds, lost=(), profile=None)
    .exit_code
    .of(cls, folder, tile_size, built, rank, complete, seconds)
    .text(self)
    .to_dict(self)
Condition(camera, iso)
InputError(reason, message)
NoisegenError
NoisyPair(noisy, clean, camera, iso, key)
NoisyPairs(place, *, split=None, patch=None, crops=1, augment=False, transform=None, raw=False, seed=0,
    bit_depth=None, cache_bytes=0)
    .set_epoch(self, epoch)
SynthesisDataset(clean, *, patch, model='default', conditions=None, noisy_pool=None, strength=1.0, crops=1,
    augment=False, raw=False, seed=0, halo=8, cache_bytes=1073741824, max_failures=100)
    .clean_patches(self)
    .draw(self, patches, *, device='auto')
    .set_epoch(self, epoch)
TileStream(place, *, split=None, seed=0, rank=None, world_size=None, group=4, threads=None, raw=False)
    .set_epoch(self, epoch, done=0)
    .tiles(self, *, epoch=0, workers=1)
UsageError
add_noise(clean, *, camera, iso, model='default', noisy_pool=None, seed=0, strength=1.0, device='auto')
build_dataset(manifest, output, *, model='default', noisy_pool=None, format='webdataset', layout=None,
    png_level=None, tile_size=256, variants=1, seed=0, batch_size=None, workers=None, device='auto',
    precision='auto', camera=None, iso=None, conditions=None, strength=1.0, downscale=1.0, overlap=0, halo=0,
    min_sharpness=None, max_flat=None, max_saturated=None, split=None, limit=None, root=None, staging=None,
    allow_outside=False, max_pixels=250000000, rows_per_shard=None, license='unknown', max_failures=None,
    rank=None, world_size=None, executor='local', ray_address=None, gpus_per_task=None, profile=False,
    quiet=False)
load_noise_model(source='default', *, device='cpu')
"""


def parameters(called: object) -> str:
    """Names, kinds and defaults, without types, which `tests/typed_use.py` is about."""
    if isinstance(called, type) and issubclass(called, Exception) and "__init__" not in vars(called):
        return ""
    signature = inspect.signature(called)  # type: ignore[arg-type]
    bare = [each.replace(annotation=Parameter.empty) for each in signature.parameters.values()]
    return str(signature.replace(parameters=bare, return_annotation=Signature.empty))


def listed(name: str) -> list[str]:
    """A public name with its parameters, and its public methods and properties."""
    thing = getattr(noisegen, name)
    lines = [f"{name}{parameters(thing)}"]
    members = vars(thing).items() if inspect.isclass(thing) else ()
    for member, value in sorted(members):
        if member.startswith("_") or member in getattr(thing, "_fields", ()):
            continue
        if isinstance(value, classmethod | staticmethod):
            value = value.__func__
        if inspect.isfunction(value):
            lines.append(f"    .{member}{parameters(value)}")
        elif isinstance(value, property):
            lines.append(f"    .{member}")
    wrapped = [textwrap.wrap(line, 110, subsequent_indent="    ", break_on_hyphens=False) for line in lines]
    return [part for parts in wrapped for part in parts]


def test_the_public_names_and_their_parameters_are_these() -> None:
    names = [name for name in noisegen.__all__ if name != "__version__"]
    assert [line for name in names for line in listed(name)] == NAMES.splitlines()
    assert set(noisegen.__all__) <= set(dir(noisegen))


def test_a_name_that_is_not_there_is_an_error() -> None:
    with pytest.raises(AttributeError, match="module 'noisegen' has no attribute 'NoisyPairz'"):
        noisegen.NoisyPairz  # noqa: B018


@pytest.mark.parametrize("name", [name for name in noisegen.__all__ if name != "__version__"])
def test_every_public_name_has_a_docstring_whose_examples_hold(name: str) -> None:
    thing = getattr(noisegen, name)
    module = importlib.import_module(thing.__module__)
    found = doctest.DocTestFinder(recurse=inspect.isclass(thing)).find(thing, name, module, vars(module))
    examples = [test for test in found if test.examples]
    assert examples or name == "BuildSummary"  # which build_dataset gives
    for test in examples:
        outcome = doctest.DocTestRunner(verbose=False).run(test)
        assert outcome.failed == 0, f"{test.name}: run python -m doctest on {module.__file__}"


def test_import_and_help_do_without_the_heavy_packages() -> None:
    code = (
        "import sys, noisegen\n"
        "from noisegen.cli import main\n"
        "main(['--help'], standalone_mode=False)\n"
        "heavy = {'torch', 'cv2', 'pyarrow', 'numpy', 'PIL'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
