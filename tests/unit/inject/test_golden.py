"""What `meshctl inject` makes of whole manifests, compared with files that people have read, and undone again.

`MESHCTL_UPDATE_GOLDEN=1` writes the files anew; read the difference before you commit it.
"""

import json
import os
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from click.testing import CliRunner, Result

from meshctl.__main__ import cli
from tests.unit.inject.conftest import GOLDEN, IMAGE

GIVEN = sorted((GOLDEN / "given").iterdir())
FORMS = {"native": "--native-sidecar", "container": "--no-native-sidecar"}
VERSIONS = ("1.29.0", "1.33.0")
BYTE_FOR_BYTE = {"annotated.yaml", "comments.yaml", "kinds.yaml", "list.yaml", "pod.json", "probes.yaml"}


def meshctl(*arguments: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(cli, arguments, input=stdin)


def injected(path: Path, form: str) -> str:
    done = meshctl("inject", "--image", IMAGE, FORMS[form], str(path))
    assert done.exit_code == 0, done.stderr
    return done.stdout


def loaded(text: str) -> list[Any]:
    return list(yaml.safe_load_all(text))


def objects(text: str) -> list[dict[str, Any]]:
    found = []
    for document in filter(None, loaded(text)):
        found += document["items"] if document["kind"] == "List" else [document]
    return found


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("path", GIVEN, ids=lambda path: path.name)
class TestGolden:
    def test_the_result_is_the_golden_file(self, path: Path, form: str) -> None:
        golden, result = GOLDEN / form / path.name, injected(path, form)
        if os.environ.get("MESHCTL_UPDATE_GOLDEN"):
            golden.write_text(result)
        assert result == golden.read_text()

    def test_injecting_again_changes_nothing(self, path: Path, form: str) -> None:
        once = injected(path, form)
        again = meshctl("inject", "--image", "other:2", stdin=once)
        assert (again.exit_code, again.stdout) == (0, once)
        assert " 0 injected" in f" {again.stderr.splitlines()[-1]}"

    def test_uninject_gives_back_what_was_there(self, path: Path, form: str) -> None:
        done = meshctl("uninject", stdin=injected(path, form))
        assert done.exit_code == 0
        if path.name in BYTE_FOR_BYTE:
            assert done.stdout == path.read_text()
        else:
            assert loaded(done.stdout) == loaded(path.read_text())
        for comment in (line.partition("#")[2] for line in path.read_text().splitlines() if "#" in line):
            assert comment in done.stdout

    @pytest.mark.parametrize("version", VERSIONS)
    def test_the_result_is_valid_by_kubernetes_schemas(self, path: Path, form: str, version: str) -> None:
        for each in objects(injected(path, form)):
            kubernetes_validate.validate(each, version, strict=True)


def test_every_golden_file_has_its_input() -> None:
    for form in FORMS:
        assert {path.name for path in (GOLDEN / form).iterdir()} == {path.name for path in GIVEN}


def test_the_schemas_find_a_mistake() -> None:
    wrong = objects((GOLDEN / "native" / "kinds.yaml").read_text())[0]
    wrong["spec"]["template"]["spec"]["initContainers"][1]["restartPolice"] = "Always"
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, VERSIONS[0], strict=True)


def test_json_stays_json() -> None:
    assert json.loads((GOLDEN / "native" / "pod.json").read_text())["metadata"]["name"] == "ä"


def test_comments_stay_beside_what_they_are_about() -> None:
    result = (GOLDEN / "container" / "comments.yaml").read_text()
    assert "        # the app\n        - name: web\n" in result
    assert "      # the containers\n      containers:\n" in result
