"""Whatever happens in whatever order: each call ends once, nothing is lost, no answer reaches another request."""

from __future__ import annotations

import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.wire.plain_world import PlainWorld

EVENTS = [
    *["ask"] * 6,
    *["say"] * 4,
    *["end"] * 3,
    "depart",
    *["answer"] * 4,
    *["complete"] * 5,
    "die",
    "blurt",
    "add",
    "remove",
    "unreachable",
    "stall",
    "fail",
    *["some_bytes"] * 10,
    *["all_bytes"] * 4,
    "wait",
]
BALANCERS = ["peak_ewma", "least_request", "round_robin", "random"]
STEPS = st.lists(st.tuples(st.sampled_from(EVENTS), st.integers(0, 1000)), min_size=20, max_size=120)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(st.sampled_from(BALANCERS), STEPS)
def test_every_call_ends_once_and_is_answered_by_its_own_answer(balancer: str, steps: list[tuple[str, int]]) -> None:
    world = PlainWorld(balancer)
    for event, choice in steps:
        world.act(event, choice)
    world.settle()


@pytest.mark.parametrize("seed", range(60))
def test_long_histories_too(seed: int) -> None:
    dice = random.Random(seed)
    world = PlainWorld(dice.choice(BALANCERS))
    for _ in range(dice.randint(50, 600)):
        world.act(dice.choice(EVENTS), dice.randint(0, 1000))
    world.settle()
