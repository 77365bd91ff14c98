"""Any pod that the Kubernetes API takes, for property tests: what injection looks at, and much that it must leave."""

from typing import Any

from hypothesis import strategies as st

Strategy = st.SearchStrategy[Any]

words = st.from_regex(r"[a-z]([a-z0-9-]{0,10}[a-z0-9])?", fullmatch=True)
labels = st.dictionaries(words, words, max_size=3)
values = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=30)
uids = st.integers(1, 65_000).filter(lambda uid: uid != 2102)
quantities = st.sampled_from(["100m", "1", "64Mi", "1Gi"])

_PROXYS_PORTS = (4140, 4143, 4191)


def _some(required: dict[str, Strategy] | None = None, **optional: Strategy) -> Strategy:
    return st.fixed_dictionaries(required or {}, optional=optional)


_ports = st.lists(
    _some(
        {"containerPort": st.integers(1, 65_535).filter(lambda port: port not in _PROXYS_PORTS)},
        protocol=st.sampled_from(["TCP", "UDP"]),
        hostPort=st.integers(1, 65_535),
    ),
    max_size=3,
)
_env = st.lists(
    st.one_of(
        _some({"name": words}, value=values),
        _some({"name": words, "valueFrom": st.just({"fieldRef": {"fieldPath": "status.podIP"}})}),
        _some({"name": words, "valueFrom": st.just({"secretKeyRef": {"name": "s", "key": "k", "optional": True}})}),
    ),
    max_size=3,
)
_probe = st.one_of(
    _some({"httpGet": _some({"port": st.integers(1, 65_535)}, path=values)}, periodSeconds=st.integers(1, 60)),
    _some({"tcpSocket": _some({"port": st.integers(1, 65_535) | words}, host=words)}, periodSeconds=st.integers(1, 60)),
    _some({"exec": _some({"command": st.lists(values, max_size=2)})}),
)
_security = _some(
    runAsUser=uids,
    privileged=st.booleans(),
    capabilities=_some(add=st.lists(st.sampled_from(["NET_ADMIN", "SYS_TIME"]), max_size=2)),
    readOnlyRootFilesystem=st.booleans(),
)
_resources = _some(
    limits=st.dictionaries(st.sampled_from(["cpu", "memory"]), quantities),
    requests=st.dictionaries(st.sampled_from(["cpu", "memory"]), quantities),
)


def _containers(names: str, **more: Strategy) -> Strategy:
    each = _some(
        {"image": words},
        command=st.lists(values, max_size=3),
        args=st.lists(values, max_size=3),
        env=_env,
        ports=_ports,
        livenessProbe=_probe,
        resources=_resources,
        securityContext=_security,
        volumeMounts=st.lists(_some({"name": words, "mountPath": words.map("/{}".format)}), max_size=2),
        terminationMessagePolicy=st.sampled_from(["File", "FallbackToLogsOnError"]),
        **more,
    )
    return st.lists(each, min_size=1, max_size=3).map(
        lambda found: [{"name": f"{names}-{index}", **each} for index, each in enumerate(found)]
    )


_volumes = st.lists(
    st.one_of(
        _some({"name": words, "emptyDir": _some(medium=st.just("Memory"))}),
        _some({"name": words, "configMap": _some({"name": words}, optional=st.booleans())}),
    ),
    max_size=3,
    unique_by=lambda volume: volume["name"],
)
_spec = _some(
    {"containers": _containers("app")},
    initContainers=st.just([]) | _containers("init", restartPolicy=st.just("Always")),
    volumes=_volumes,
    terminationGracePeriodSeconds=st.integers(0, 600),
    securityContext=_some(runAsUser=uids, runAsNonRoot=st.booleans(), fsGroup=uids),
    restartPolicy=st.sampled_from(["Always", "Never", "OnFailure"]),
    hostNetwork=st.sampled_from([False, False, False, True]),
    serviceAccountName=words,
    nodeSelector=labels,
    tolerations=st.lists(_some(key=words, operator=st.just("Exists")), max_size=2),
    dnsPolicy=st.sampled_from(["ClusterFirst", "Default"]),
    shareProcessNamespace=st.booleans(),
)
_annotations = st.dictionaries(
    st.one_of(
        words,
        words.map("example.com/{}".format),
        words.map("config.meshctl.io/{}".format),
        st.sampled_from(
            [
                f"config.meshctl.io/{name}"
                for name in ("skip-inbound-ports", "proxy-cpu-limit", "log-level", "native-sidecar", "proxy-image")
            ]
        ),
    ),
    st.one_of(values, st.sampled_from(["enabled", "disabled", "25,3306", "250m", "debug", "registry.example/m:2"])),
    max_size=4,
)

pods: Strategy = st.builds(
    lambda metadata, spec: {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec},
    _some(
        {},
        name=words,
        generateName=words.map("{}-".format),
        labels=labels,
        annotations=_annotations,
        ownerReferences=st.lists(
            _some(
                {"name": words, "uid": words, "controller": st.booleans()},
            ).map(lambda each: {"apiVersion": "apps/v1", "kind": "ReplicaSet", **each}),
            max_size=1,
        ),
    ),
    _spec,
)
"""Valid by the API's schemas; some with annotations that are wrong."""
