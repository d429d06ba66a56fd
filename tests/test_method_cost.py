"""What a method costs: the numbers it draws with, and its speed."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from nm_flowgan_fixtures import tiny_model
from noise_eval_fixtures import awgn

from noisegen.conditions import Condition
from noisegen.evaluation.method_cost import draw_rate, drawing_place, parameter_count
from noisegen.models import Randomness
from noisegen.models.classical import Awgn
from noisegen.models.protocol import ReferencedModel
from noisegen.models.references import ReferencePool, WithPool

S6 = Condition("S6", 800)


@dataclass(frozen=True)
class Busy:
    """A model that works for a known time, longer in its first draw, and sees what it is handed."""

    model: Awgn
    seconds: float
    calls: list[tuple[torch.Size, int]]

    def __getattr__(self, name: str) -> object:
        return getattr(self.model, name)

    def sample(
        self, clean: torch.Tensor, condition: Sequence[Condition], *, noise: Randomness, strength: float = 1.0
    ) -> torch.Tensor:
        end = time.thread_time() + self.seconds * (1 if self.calls else 10)
        while time.thread_time() < end:
            pass
        self.calls.append((clean.shape, torch.get_num_threads()))
        return clean


def test_parameters_are_weights_and_fitted_tables_without_the_critic() -> None:
    model, trained = tiny_model("compact"), tiny_model("compact", critic=True)
    assert trained.critic is not None and model.correlation is not None
    weights = sum(parameter.numel() for parameter in model.parameters())
    assert parameter_count(model) == weights + model.correlation.table.numel()
    assert parameter_count(trained) == parameter_count(model)


def test_a_pool_of_references_adds_no_parameters() -> None:
    model = tiny_model("compact")
    assert parameter_count(WithPool(cast(ReferencedModel, model), ReferencePool({}))) == parameter_count(
        model
    )


def test_speed_is_that_of_one_tile_on_one_thread_once_it_was_drawn_before() -> None:
    busy = Busy(awgn(S6), 0.02, [])
    clean = np.zeros((70, 100, 3), np.uint8)
    rate = draw_rate(busy, clean, S6, tile_size=64, device="cpu")
    assert busy.calls == [(torch.Size((1, 3, 64, 64)), 1)] * 2
    # other programs take none of the thread's own time
    assert 0.5 * 64 * 64 / 1e6 / 0.02 < rate <= 64 * 64 / 1e6 / 0.02
    assert draw_rate(busy, clean, S6, tile_size=256, device="cpu") > rate
    assert busy.calls[-1][0] == (1, 3, 70, 100)


def test_the_place_of_the_measurement_is_named() -> None:
    assert drawing_place("cpu", 256).startswith("one CPU thread (")
