"""Direct mode's directory: what is told of a name that is followed, forgotten and followed again."""

import asyncio

import pytest

from proxy.config import DiscoveryConfig, KubernetesConfig
from proxy.discovery.directory import Answer
from proxy.discovery.kubernetes.directory import KubernetesDirectory

NO_NAME = "a.b.c.d.e:80"


@pytest.mark.asyncio
async def test_a_name_that_is_forgotten_before_anything_was_said_is_told_when_it_is_followed_again() -> None:
    told: list[tuple[str, Answer | None]] = []
    config = DiscoveryConfig(mode="direct", namespace="shop")
    directory = KubernetesDirectory(config, KubernetesConfig(), lambda *said: told.append(said))
    directory.follow(NO_NAME)
    directory.forget(NO_NAME)
    await asyncio.sleep(0)
    assert not told
    directory.follow(NO_NAME)
    await asyncio.sleep(0)
    assert told == [(NO_NAME, None)]
