"""The Dockerfile as text: what has to hold before anybody builds it."""

import re
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from injector.iptables import Interception
from tests.image.dockerfile import Dockerfile, Stage, parse
from tests.support.process import ROOT

IMAGES = ("meshctl", "demo")
EXTRAS = {"controller", "kubernetes", "sidecar", "demo"}  # what the images install, of the project's own
COMPILERS = re.compile(r"\b(gcc|g\+\+|cc|clang|make|cython|[\w+.-]+-dev|build-essential)\b", re.IGNORECASE)
LABELS = {
    f"org.opencontainers.image.{name}"
    for name in ("title", "description", "licenses", "base.name", "version", "revision")
}


@pytest.fixture(scope="module")
def dockerfile() -> Dockerfile:
    return parse(ROOT / "Dockerfile")


def test_the_last_stage_is_the_sidecars_image(dockerfile: Dockerfile) -> None:
    assert list(dockerfile.stages)[-1] == "meshctl"


@pytest.mark.parametrize("image", IMAGES)
def test_an_image_stands_on_the_base_alone_and_installs_no_compiler(dockerfile: Dockerfile, image: str) -> None:
    assert [stage.base for stage in dockerfile.lineage(image)] == ["${BASE}"]
    assert not [each for each in dockerfile.stages[image].of("RUN") if COMPILERS.search(each.text)]


def test_the_rule_on_compilers_finds_those_of_the_build_stage(dockerfile: Dockerfile) -> None:
    assert [each for each in dockerfile.stages["build"].of("RUN") if COMPILERS.search(each.text)]


@pytest.mark.parametrize("image", IMAGES)
def test_an_image_runs_as_a_numbered_user_that_is_not_root(dockerfile: Dockerfile, image: str) -> None:
    """By number, or the kubelet cannot tell for `runAsNonRoot`."""
    *_, last = dockerfile.stages[image].of("USER", "RUN")
    assert last.name == "USER", "a RUN after USER would not run as root"
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", last.text)


def test_the_sidecars_user_is_the_one_that_the_rules_of_interception_leave_out(dockerfile: Dockerfile) -> None:
    uid = Interception().proxy_uid
    assert [user.text for user in dockerfile.stages["meshctl"].of("USER")] == [f"{uid}:{uid}"]


@pytest.mark.parametrize("image", IMAGES)
def test_an_image_has_an_entry_point_without_a_shell_and_labels(dockerfile: Dockerfile, image: str) -> None:
    (entry,) = dockerfile.stages[image].of("ENTRYPOINT")
    assert entry.text.startswith("[") and entry.words()
    (labels,) = dockerfile.stages[image].of("LABEL")
    assert labels.pairs().keys() == LABELS
    assert all(labels.pairs().values())


def sources(stage: Stage) -> list[tuple[str | None, str]]:
    copies = (copy.copied() for copy in stage.of("COPY"))
    return [(origin, source) for origin, names, _ in copies for source in names]


def test_what_is_copied_is_there_and_not_ignored(dockerfile: Dockerfile) -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    kept = [line[1:] for line in lines if line.startswith("!")]
    copied = [(origin, source) for stage in dockerfile.stages.values() for origin, source in sources(stage)]
    assert copied
    for origin, source in copied:
        if origin is not None:
            assert origin in dockerfile.stages
            continue
        found = list(ROOT.glob(source))
        assert found, f"{source} is not there"
        for path in found:
            name = str(path.relative_to(ROOT))
            assert any(name == each or name.startswith(f"{each}/") for each in kept), f"{name} is ignored"


def test_nothing_built_or_cached_is_sent_to_the_build() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    ignored = [line.removeprefix("**/") for line in lines if line.startswith("**/")]
    for built in ("call.cpython-311-x86_64-linux-gnu.so", "__pycache__", "app.pyc"):
        assert any(fnmatch(built, pattern) for pattern in ignored)


def test_what_is_installed_with_apt_leaves_no_lists_behind(dockerfile: Dockerfile) -> None:
    runs = [run.text for stage in dockerfile.stages.values() for run in stage.of("RUN") if "apt-get" in run.text]
    assert runs
    for run in runs:
        assert " ".join(run.split()).startswith("apt-get update && apt-get install -y --no-install-recommends ")
        assert "rm -rf /var/lib/apt/lists/*" in run


def test_every_pip_install_is_held_to_the_constraints(dockerfile: Dockerfile) -> None:
    installs = [
        run.text
        for stage in dockerfile.stages.values()
        for run in stage.of("RUN")
        if re.search(r"pip .*install", run.text)
    ]
    assert len(installs) == 3
    assert all("--constraint deploy/constraints.txt" in run for run in installs)


def test_the_constraints_pin_one_allowed_version_of_each_dependency() -> None:
    pins = dict(line.split("==") for line in _constraints())
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    project = settings["project"]
    wanted = [
        *settings["build-system"]["requires"],
        *project["dependencies"],
        *(line for extra in EXTRAS for line in project["optional-dependencies"][extra]),
    ]
    for requirement in map(Requirement, wanted):
        if requirement.name == project["name"]:
            assert requirement.extras <= EXTRAS
            continue
        assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)]), requirement


def _constraints() -> list[str]:
    lines = (ROOT / "deploy" / "constraints.txt").read_text().splitlines()
    return [line for line in lines if not line.startswith("#")]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("FROM a AS b\nRUN x \\\n", "line 2: continued past the end"),
        ("RUN x", "line 1: RUN before FROM"),
        ("FROM a AS b\nADD x y", "line 2: unknown instruction ADD"),
        ("FROM a AS b\nFROM c AS b", "line 2: every stage has a name of its own"),
    ],
)
def test_a_malformed_dockerfile_is_an_error_with_its_line(text: str, problem: str, tmp_path: Path) -> None:
    path = tmp_path / "Dockerfile"
    path.write_text(text)
    with pytest.raises(ValueError, match=problem):
        parse(path)
