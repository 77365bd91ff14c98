"""The parts of kubernetes_asyncio that are needed, without its models.

The package imports a class for every type of the API when any part of it is imported: 55 MB, of which this needs its
HTTP client, its configuration and its ways to authenticate, which take a third. So while these parts are imported,
their parent packages stand there empty; then all is taken out of `sys.modules` again, and whoever imports
kubernetes_asyncio later gets it whole. The only module that imports it.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from types import ModuleType, SimpleNamespace
from typing import Any

_PACKAGE = "kubernetes_asyncio"
_EMPTY = (_PACKAGE, f"{_PACKAGE}.client")


@cache
def parts() -> SimpleNamespace:
    """`Configuration`, `RESTClientObject`, `load_incluster_config`, `load_kube_config`, `ConfigException`.

    ImportError if kubernetes_asyncio is not installed.
    """
    if _PACKAGE in sys.modules:
        return _import()
    with _without_models():
        return _import()


def _import() -> SimpleNamespace:
    client: Any = importlib.import_module(f"{_PACKAGE}.client")
    from kubernetes_asyncio.client.configuration import Configuration
    from kubernetes_asyncio.client.rest import RESTClientObject

    if not hasattr(client, "Configuration"):
        # Its configuration package takes these two from there; ApiClient only as an annotation.
        client.Configuration, client.ApiClient = Configuration, object
    from kubernetes_asyncio.config import ConfigException, load_incluster_config, load_kube_config

    return SimpleNamespace(
        Configuration=Configuration,
        RESTClientObject=RESTClientObject,
        ConfigException=ConfigException,
        load_incluster_config=load_incluster_config,
        load_kube_config=load_kube_config,
    )


@contextmanager
def _without_models() -> Iterator[None]:
    try:
        for name in _EMPTY:
            sys.modules[name] = _empty(name)
        yield
    finally:
        for name in [name for name in sys.modules if name.partition(".")[0] == _PACKAGE]:
            del sys.modules[name]


def _empty(name: str) -> ModuleType:
    """The package of that name with its path, but none of its code run."""
    spec = importlib.util.find_spec(name)
    if spec is None:
        raise ImportError(f"{_PACKAGE} is not installed; it comes with meshctl-proxy[kubernetes]", name=_PACKAGE)
    return importlib.util.module_from_spec(spec)
