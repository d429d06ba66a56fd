"""docker/Dockerfile: what can be checked without a Docker engine."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest
from image_fixtures import (
    DOCKER,
    ROOT,
    dockerfile_stages,
    entry_point,
    image_user,
    last_of,
    parsed,
    tool,
)
from synthesis_fixtures import make_workplace

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_the_linter_has_nothing_to_say() -> None:
    done = subprocess.run(
        [tool("hadolint"), str(DOCKER / "Dockerfile")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_bases_are_pinned_and_of_one_python_so_that_the_environment_can_move() -> None:
    build, final = (
        re.fullmatch(r"python:(\d+\.\d+)(\.\d+)-(slim-)?(\w+)( AS \w+)?", s[0].rest)
        for s in dockerfile_stages()
    )
    assert build and final
    assert build.group(1, 2, 4) == final.group(1, 2, 4)
    assert (build[3], final[3]) == (None, "slim-")
    (check,) = (i.rest for i in dockerfile_stages()[0] if i.word == "RUN" and "_*.so" in i.rest)
    assert f"/python{build[1]}/site-packages" in check


def test_the_image_that_runs_has_no_build_tools_and_no_root() -> None:
    final = dockerfile_stages()[-1]
    commands = " ".join(i.rest for i in final if i.word == "RUN")
    assert not re.search(r"\b(apt|apt-get|pip|gcc|make|curl)\b", commands)
    assert image_user() > 0
    words = [instruction.word for instruction in final]
    assert words.index("RUN") < words.index("USER") < words.index("ENTRYPOINT")
    assert f"--uid {image_user()}" in commands


def test_the_label_tells_the_version_of_the_package() -> None:
    labels = last_of(dockerfile_stages()[-1], "LABEL")
    assert f'org.opencontainers.image.version="{PROJECT["version"]}"' in labels


def test_the_extras_of_the_image_are_the_package_s() -> None:
    (extras,) = (i.rest for i in dockerfile_stages()[0] if i.word == "ARG" and i.rest.startswith("EXTRAS="))
    assert set(extras.removeprefix("EXTRAS=").split(",")) <= set(PROJECT["optional-dependencies"])


def test_the_entry_point_is_noisegen_and_its_default_arguments_parse() -> None:
    assert entry_point()[-1] == "noisegen"
    assert last_of(dockerfile_stages()[-1], "CMD") == '["--help"]'
    assert last_of(dockerfile_stages()[-1], "HEALTHCHECK").endswith('CMD ["noisegen", "--version"]')


def test_what_the_image_is_built_from_makes_a_package_that_starts(tmp_path: Path) -> None:
    """A file that setup.py, the version or the checkpoint needs is copied, and .dockerignore lets it through."""
    copied = [
        name
        for instruction in dockerfile_stages()[0]
        if instruction.word == "COPY"
        for name in instruction.rest.split()[:-1]
    ]
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").split("\n*\n")[1].split()
    assert {line[1:] for line in ignored if line.startswith("!")} == set(copied)

    source, package = tmp_path / "src", tmp_path / "package"
    source.mkdir()
    for name in copied:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
        else:
            shutil.copy(ROOT / name, source / name)
    assert list((source / "noisegen/native/src").glob("avx*.c"))
    install = [
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        "--no-build-isolation",
        "--target",
        str(package),
        ".",
    ]
    # without a compiler, which would take a minute; the kernels are optional
    environment = {**os.environ, "CC": "false", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    environment.pop("PYTHONPATH", None)
    subprocess.run([sys.executable, "-m", "pip", *install], cwd=source, env=environment, check=True)

    code = (
        "import sys, noisegen\n"
        "from noisegen.cli import main\n"
        "assert noisegen.__file__.startswith(sys.argv[1]), noisegen.__file__\n"
        "main(['--version'])"
    )
    environment["PYTHONPATH"] = str(package)
    done = subprocess.run(
        [sys.executable, "-c", code, str(package)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert PROJECT["version"] in done.stdout
    assert (package / "noisegen/checkpoints/default.safetensors").exists()


def own_process_tree() -> list[str]:
    """A command prefix that makes what follows process 1 of a process tree, as in a container."""
    prefix = ["unshare", "--fork", "--pid", "--mount-proc", "--kill-child=KILL"]
    if shutil.which("unshare") is None or subprocess.run([*prefix, "true"], check=False).returncode:
        pytest.skip("process trees of its own are not allowed here")
    return prefix


def child_of(process: int, deadline: float) -> int:
    """The first child of a process, waited for."""
    while time.monotonic() < deadline:
        children = Path(f"/proc/{process}/task/{process}/children").read_text(encoding="utf-8").split()
        if children:
            return int(children[0])
        time.sleep(0.01)
    raise AssertionError(f"process {process} started none")


def test_as_process_1_a_build_ends_on_sigterm_even_while_it_starts(tmp_path: Path) -> None:
    """Without an init process SIGTERM is ignored until the handlers are there, and the grace period passes in vain."""
    place = make_workplace(tmp_path, photographs=1)
    arguments = place.arguments(tmp_path / "out", "--variants", "2000", "--quiet")
    assert parsed(arguments)["variants"] == 2000
    init, *options, program = entry_point()
    assert program == "noisegen"
    line = [*own_process_tree(), tool(init), *options, sys.executable, "-m", "noisegen", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(line, env=environment, stderr=subprocess.DEVNULL) as unshare:
        try:
            first = child_of(unshare.pid, time.monotonic() + 10)
            child_of(first, time.monotonic() + 10)
            os.kill(first, signal.SIGTERM)
            assert unshare.wait(timeout=10) == 143
        finally:
            unshare.kill()
