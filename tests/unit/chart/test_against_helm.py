"""What we render is what Helm renders: the chart with many values, and the parts of Go's templates one by one.

Skipped without Helm (scripts/helm builds it where Go is).
"""

import json
from pathlib import Path
from typing import Any

import pytest

from meshctl.chart import evaluator, parser
from meshctl.chart.render import render
from meshctl.chart.values import ValuesError, check, defaults, merged
from tests.support.helm import CHART, OLDEST_KUBERNETES, helm, program, rendered, template
from tests.unit.chart.samples import DELICATE, SAMPLES

pytestmark = pytest.mark.skipif(program() is None, reason="Helm is not installed: scripts/helm builds it, with Go")


@pytest.mark.parametrize("namespace", ["meshctl", "1e3"])
@pytest.mark.parametrize("name", SAMPLES)
def test_the_objects_are_those_that_helm_makes(name: str, namespace: str, tmp_path: Path) -> None:
    ours = [manifest.object for manifest in render(merged(defaults(), SAMPLES[name]), namespace)]
    theirs = rendered(CHART, SAMPLES[name], namespace, tmp_path)
    said = json.dumps(theirs).replace(
        '"app.kubernetes.io/managed-by": "Helm"', '"app.kubernetes.io/managed-by": "meshctl"'
    )
    assert _by_name(ours) == _by_name(json.loads(said))


@pytest.mark.parametrize("name", SAMPLES)
def test_helm_finds_no_fault_in_it(name: str, tmp_path: Path) -> None:
    file = tmp_path / "values.json"
    file.write_text(json.dumps(SAMPLES[name]))
    done = helm("lint", "--strict", str(CHART), "--kube-version", OLDEST_KUBERNETES, "--values", str(file))
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    "wrong",
    [
        {"podMonitor": {"enable": True}},
        {"podMonitor": {"interval": "often"}},
        {"ha": "yes"},
        {"image": {"tag": 1}},
        {"webhook": {"caBundle": "QUJD"}},
        {"webhook": {"certManager": {"enabled": True}}},
        {"namespaceOnly": True, "namespaces": ["shop"]},
        {"namespaces": ["Shop"]},
        {"logLevel": None},
        {"injection": {"skipInboundPorts": "80; reboot"}},
        {"injector": {}},
    ],
)
def test_what_helm_refuses_we_refuse(wrong: dict[str, Any], tmp_path: Path) -> None:
    assert template(CHART, wrong, "meshctl", tmp_path).returncode != 0
    with pytest.raises(ValuesError):
        check(merged(defaults(), wrong))


DATA: dict[str, Any] = {
    "yes": True,
    "no": False,
    "zero": 0,
    "seven": 7,
    "half": 0.5,
    "empty": "",
    "word": "word",
    "none": [],
    "list": ["b", "a"],
    "map": {"z": {"name": "last"}, "a": {"name": "first"}},
    "delicate": DELICATE[:-1],
}
SNIPPETS = [
    "text { with } braces {{.Values.word}}}",
    'a {{- /* a comment with "a quote and }} braces */ -}} b',
    "a  {{- .Values.word -}}  b {{ .Values.word -}}\n\n  c",
    '{{ .Values.word }}{{- "" }} x',
    "{{ if .Values.yes }}yes{{ else }}no{{ end }}",
    "{{ if .Values.no }}1{{ else if .Values.zero }}2{{ else if .Values.word }}3{{ else }}4{{ end }}!",
    "{{ if .Values.none }}1{{ else if .Values.empty }}2{{ end }}!",
    '{{ if and .Values.yes (not .Values.no) (eq .Values.word "word") }}all{{ end }}',
    "{{ or .Values.empty .Values.zero .Values.word }} {{ and .Values.word .Values.zero }}",
    "{{ or .Values.no .Values.zero }}",
    "{{ with .Values.map }}{{ .z.name }} {{ $.Values.word }}{{ else }}none{{ end }}",
    "{{ with .Values.empty }}some{{ else }}{{ .Values.word }}{{ end }}",
    "{{ range .Values.list }}[{{ . }}]{{ end }}{{ range .Values.none }}x{{ else }}none{{ end }}",
    "{{ range .Values.map }}{{ .name }} {{ $.Values.seven }};{{ end }}",
    '{{ range list .Values.word "x" }}{{ . }}{{ end }}',
    "{{ range .Values.list }}{{ with $.Values.map }}{{ .a.name }}{{ end }}{{ end }}",
    '{{ .Values.yes }} {{ .Values.seven }} {{ .Values.half }} {{ 12 }} {{ true }} {{ `raw "x"` }} {{ "a\\tb\\\\" }}',
    '{{ .Values.empty | default "given" }} {{ default 3 .Values.zero }} {{ default .Values.word .Values.no | quote }}',
    '{{ quote .Values.seven }} {{ .Values.yes | quote }} {{ "a \\"b\\" \\\\" | quote }}',
    "{{ range .Values.delicate }}{{ quote . }} {{ end }}",
    '{{ "a\\nb" | nindent 2 }} {{ nindent 0 .Values.word }}',
    '{{ .Values.word | sha256sum }} {{ sha256sum "ключ" }}',
    '{{ include "named" . }}{{ include "named" (list .Values.word) | quote }}',
    "{{ (((.Values.seven))) }} {{ not (or .Values.no .Values.empty) }}",
    '{{ eq "a" `a` }} {{ eq .Values.word "x" }}',
]
NAMED = '{{ define "named" -}}\n<{{ if eq (. | toYaml) "- word" }}a list{{ else }}all{{ end }}>\n{{- end }}'


def test_each_part_of_the_language_means_what_it_means_to_helm(tmp_path: Path) -> None:
    chart = tmp_path / "chart"
    (chart / "templates").mkdir(parents=True)
    (chart / "Chart.yaml").write_text("apiVersion: v2\nname: snippets\nversion: 0.1.0\n")
    (chart / "templates" / "_named.tpl").write_text(NAMED)
    for number, snippet in enumerate(SNIPPETS):
        text = f'{{{{ define "{number}" }}}}{snippet}{{{{ end }}}}'
        text += f'kind: S\nnumber: {number}\ntext: {{{{ include "{number}" . | quote }}}}\n'
        (chart / "templates" / f"{number}.yaml").write_text(text)
    theirs = {each["number"]: each["text"] for each in rendered(chart, DATA, "x", tmp_path)}
    named = parser.parse("_named.tpl", NAMED).defined
    for number, snippet in enumerate(SNIPPETS):
        ours = evaluator.Evaluator(named).render(parser.parse("snippet", snippet).nodes, {"Values": DATA})
        assert ours == theirs[number], snippet


def _by_name(objects: list[dict[str, Any]]) -> dict[tuple[str, ...], dict[str, Any]]:
    found = {(each["kind"], each["metadata"].get("namespace", ""), each["metadata"]["name"]): each for each in objects}
    assert len(found) == len(objects)
    return found
