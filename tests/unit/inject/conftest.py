"""What the tests of injection share."""

from pathlib import Path
from typing import Any

from injector.settings import Settings

IMAGE = "registry.example/meshctl:1"
SETTINGS = Settings(image=IMAGE)
GOLDEN = Path(__file__).parent / "golden"


def pod(**spec: Any) -> dict[str, Any]:
    """A small pod; `spec` adds to its spec."""
    return {"metadata": {"labels": {"app": "a"}}, "spec": {"containers": [{"name": "a", "image": "a:1"}], **spec}}


def annotated(**annotations: str) -> dict[str, Any]:
    """A small pod with annotations of ours: `skip_inbound_ports="1"`, or `inject="disabled"`."""
    made = pod()
    names = {
        name: f"meshctl.io/{name}" if name == "inject" else f"config.meshctl.io/{name.replace('_', '-')}"
        for name in annotations
    }
    made["metadata"]["annotations"] = {names[name]: value for name, value in annotations.items()}
    return made
