"""Knative Service manifests mean the same here as the configuration that is written for us."""

from __future__ import annotations

from pathlib import Path
from textwrap import indent

import pytest

from tests.config.refused import faults
from wakeful.config.load import loads
from wakeful.config.model import Config

DIRECTORY = Path("/etc/wakeful")

HEAD = """\
apiVersion: serving.knative.dev/v1
kind: Service
metadata:
  name: hello
"""
TEMPLATE = """\
spec:
  template:
    spec:
      containers:
        - image: hello:1
"""


def config(text: str) -> Config:
    return loads(text, DIRECTORY).config


def manifest(pod: str = "", container: str = "", annotations: str = "", spec: str = "") -> str:
    return (
        HEAD
        + "spec:\n  template:\n    metadata:\n      annotations: {"
        + annotations
        + "}\n    spec:\n"
        + indent(pod, " " * 6)
        + "      containers:\n        - image: hello:1\n"
        + indent(container, " " * 10)
        + indent(spec, "  ")
    )


# As in Knative's documentation and as Cloud Run writes a service that it is asked for.
SAMPLE = """\
apiVersion: serving.knative.dev/v1
kind: Service
metadata:
  name: hello
  namespace: default
  labels: {app: hello}
  annotations:
    serving.knative.dev/creator: me
    serving.knative.dev/rollout-duration: "120s"
    run.googleapis.com/ingress: all
spec:
  template:
    metadata:
      name: hello-first
      labels: {run.googleapis.com/startupProbeType: Default}
      annotations:
        autoscaling.knative.dev/class: kpa.autoscaling.knative.dev
        autoscaling.knative.dev/metric: concurrency
        autoscaling.knative.dev/target: "50"
        autoscaling.knative.dev/target-utilization-percentage: "80"
        autoscaling.knative.dev/metric-aggregation-algorithm: weightedExponential
        autoscaling.knative.dev/window: 2m0s
        autoscaling.knative.dev/panic-window-percentage: "1"
        autoscaling.knative.dev/panicThresholdPercentage: "150.0"
        autoscaling.knative.dev/scale-down-delay: 15m
        autoscaling.knative.dev/scale-to-zero-pod-retention-period: 1m5s
        autoscaling.knative.dev/initialScale: "2"
        autoscaling.knative.dev/activation-scale: "3"
        autoscaling.knative.dev/targetBurstCapacity: "-1"
        autoscaling.knative.dev/minScale: "1"
        autoscaling.knative.dev/max-scale: "7"
        client.knative.dev/user-image: hello
    spec:
      containerConcurrency: 60
      timeoutSeconds: 100
      responseStartTimeoutSeconds: 20
      idleTimeoutSeconds: 30
      serviceAccountName: default
      enableServiceLinks: false
      containers:
        - name: user-container
          image: hello:1
          imagePullPolicy: Always
          command: [/bin/hello]
          args: [--loud, "$(PORT)"]
          workingDir: /srv
          ports:
            - {name: http1, containerPort: 9090, protocol: TCP}
          env:
            - {name: TARGET, value: World}
            - {name: EMPTY}
            - name: "YES"
              value: "no"
          resources:
            limits: {cpu: 1000m, memory: 512Mi}
            requests: {cpu: 100m, memory: 64Mi}
          readinessProbe:
            httpGet: {path: /healthz, port: 9090}
            timeoutSeconds: 2
            periodSeconds: 0
          startupProbe:
            httpGet: {path: /healthz}
            timeoutSeconds: 2
            failureThreshold: 3
          securityContext:
            runAsUser: 1000
            readOnlyRootFilesystem: true
            allowPrivilegeEscalation: false
            capabilities: {drop: [KILL], add: [NET_RAW]}
  traffic:
    - {latestRevision: true, percent: 90}
    - {latestRevision: false, revisionName: hello-00001, percent: 10}
status:
  url: http://hello.example.com
"""
SAME = """\
services:
  hello:
    image: hello:1
    pull: always
    entrypoint: [/bin/hello]
    command: [--loud, "$(PORT)"]
    working-dir: /srv
    port: 9090
    env: {TARGET: World, EMPTY: "", "YES": "no"}
    cpu: 1
    memory: 512Mi
    readiness: {path: /healthz, timeout: 2s}
    user: "1000"
    read-only: true
    cap-drop: [KILL]
    cap-add: [NET_RAW]
    concurrency: 60
    timeout: 100s
    response-start-timeout: 20s
    response-idle-timeout: 30s
    min-instances: 1
    max-instances: 7
    rollout-duration: 2m
    scale:
      metric: concurrency
      target: 50
      utilization: 80%
      aggregation: weighted-exponential
      window: 2m
      panic-window: 1%
      panic-threshold: 150%
      down-delay: 15m
      retention: 65s
      initial: 2
      activation: 3
      target-burst-capacity: -1
    traffic: [{percent: 90}, {revision: hello-00001, percent: 10}]
"""


def test_a_manifest_is_the_configuration_that_says_the_same() -> None:
    assert config(SAMPLE) == config(SAME)


def test_what_a_manifest_does_not_say_is_as_knative_has_it() -> None:
    said = config("services: {hello: {image: 'hello:1', concurrency: 0}}")
    assert config(HEAD + TEMPLATE) == said
    nothing = "ports:\nenv: null\nreadinessProbe: ~\nresources: {limits: }\n"
    assert config(manifest("containerConcurrency:\n", nothing)) == said


def test_several_manifests_are_several_services() -> None:
    other = (HEAD + TEMPLATE).replace("name: hello", "name: other")
    services = config(f"---\n{HEAD}{TEMPLATE}---\n{other}---\n").services
    assert list(services) == ["hello", "other"]


def test_a_configuration_may_stand_before_them() -> None:
    own = "listen: ':80'\ndefaults: {concurrency: 7, env: {A: '1'}}\n"
    both = config(f"{own}services: {{mine: {{image: x}}}}\n---\n{HEAD}{TEMPLATE}")
    assert both == config(own + "services: {mine: {image: x}, hello: {image: 'hello:1'}}")
    alone = config(f"listen: ':80'\n---\n{HEAD}{TEMPLATE}")
    assert alone == config("listen: ':80'\nservices: {hello: {image: 'hello:1', concurrency: 0}}")


MISTAKES: dict[str, tuple[str, list[str]]] = {
    "another version": (
        HEAD.replace("v1", "v1beta1") + TEMPLATE,
        ["f:1:13: apiVersion: expected serving.knative.dev/v1, not 'serving.knative.dev/v1beta1'"],
    ),
    "a version that is no text": (
        HEAD + TEMPLATE + "---\napiVersion: [1]\nkind: Service\n",
        ["f:11:13: apiVersion: expected a single value, not a list"],
    ),
    "another kind": (
        HEAD.replace("Service", "Route"),
        ["f:2:7: kind: expected Service, not 'Route'"],
    ),
    "no kind": (
        HEAD.replace("kind: Service\n", ""),
        ["f:1:1: kind: expected Service, not ''"],
    ),
    "another API beside it": (
        HEAD + TEMPLATE + "---\napiVersion: apps/v1\nkind: Deployment\n",
        ["f:11:13: apiVersion: expected serving.knative.dev/v1, not 'apps/v1'"],
    ),
    "a second configuration": (
        HEAD + TEMPLATE + "---\nlisten: ':80'\n",
        ["f:11:1: apiVersion: expected serving.knative.dev/v1, not ''"],
    ),
    "no mapping": (
        HEAD + TEMPLATE + "---\n- a\n",
        ["f:11:1: file: expected a mapping (KEY: VALUE), not a list"],
    ),
    "no name": (
        HEAD.replace("  name: hello\n", "") + TEMPLATE,
        ["f:2:1: metadata.name: is needed"],
    ),
    "a name twice": (
        HEAD + TEMPLATE + "---\n" + HEAD + TEMPLATE,
        ["f:14:9: metadata.name: hello is on line 4 already"],
    ),
    "a name that the configuration has": (
        "services: {hello: {image: x}}\n---\n" + HEAD + TEMPLATE,
        ["f:6:9: metadata.name: hello is on line 1 already"],
    ),
    "services that are none": (
        "services: 5\n---\n" + HEAD + TEMPLATE,
        ["f:1:11: services: expected a mapping (KEY: VALUE), not '5'"],
    ),
    "no container": (
        HEAD,
        ["f:4:9: spec.template.spec: one of 'image', 'command' and 'upstreams' is needed"],
    ),
    "two containers": (
        manifest() + "        - image: b\n",
        [
            "f:4:9: spec.template.spec: one of 'image', 'command' and 'upstreams' is needed",
            "f:10:7: spec.template.spec.containers: exactly one container is possible here",
        ],
    ),
    "containers that are no list": (
        HEAD + "spec: {template: {spec: {containers: {image: x}}}}\n",
        [
            "f:4:9: spec.template.spec: one of 'image', 'command' and 'upstreams' is needed",
            "f:5:38: spec.template.spec.containers: expected a list",
        ],
    ),
    "what is not honoured": (
        manifest("initContainers: []\n", "livenessProbe: {}\nvolumeMounts: []\n"),
        [
            "f:10:7: spec.template.spec.initContainers: is not honoured here; did you mean "
            "'containers'?",
            "f:13:11: spec.template.spec.containers[0].livenessProbe: is not honoured here; "
            "did you mean 'readinessProbe'?",
            "f:14:11: spec.template.spec.containers[0].volumeMounts: is not honoured here; "
            "leave it out",
        ],
    ),
    "a value out of range": (
        manifest("timeoutSeconds: 0\ncontainerConcurrency: 2000\n"),
        [
            "f:10:23: spec.template.spec.timeoutSeconds: must be more than 0s, not 0",
            "f:11:29: spec.template.spec.containerConcurrency: must be 0 to 1000 (0 means no "
            "limit), not 2000",
        ],
    ),
    "an annotation's value": (
        manifest(annotations="autoscaling.knative.dev/minScale: '5', "
                             "autoscaling.knative.dev/maxScale: '2'"),
        [
            "f:8:55: spec.template.metadata.annotations.'autoscaling.knative.dev/minScale': "
            "min-instances (5) is more than max-instances (2)",
        ],
    ),
    "annotations that are unknown": (
        manifest(annotations="autoscaling.knative.dev/windows: 10s, "
                             "serving.knative.dev/foo: x, other.dev/window: x"),
        [
            "f:8:21: spec.template.metadata.annotations.'autoscaling.knative.dev/windows': is not "
            "honoured here; did you mean 'window'?",
        ],
    ),
    "another autoscaler": (
        manifest(annotations="autoscaling.knative.dev/class: hpa.autoscaling.knative.dev"),
        [
            "f:8:52: spec.template.metadata.annotations.'autoscaling.knative.dev/class': only "
            "kpa.autoscaling.knative.dev is possible here, not 'hpa.autoscaling.knative.dev'",
        ],
    ),
    "an annotation of the wrong metadata": (
        HEAD + "  annotations: {autoscaling.knative.dev/min-scale: '1'}\n" + TEMPLATE,
        [
            "f:5:17: metadata.annotations.'autoscaling.knative.dev/min-scale': belongs into "
            "spec.template.metadata.annotations",
        ],
    ),
    "h2c": (
        manifest(container="ports: [{name: h2c, containerPort: 80}]\n"),
        [
            "f:12:26: spec.template.spec.containers[0].ports[0].name: HTTP/2 to an instance is "
            "not spoken here",
        ],
    ),
    "when to pull": (
        manifest(container="imagePullPolicy: always\n"),
        [
            "f:12:28: spec.template.spec.containers[0].imagePullPolicy: expected one of Always, "
            "IfNotPresent, Never, not 'always'",
        ],
    ),
    "variables": (
        manifest(
            container="env:\n- {name: A, value: x}\n- {name: A, value: y}\n- {value: z}\n"
            "- {name: B, valueFrom: {}}\n- {name: PORT, value: '1'}\n- x\n"
        ),
        [
            "f:14:20: spec.template.spec.containers[0].env[1].name: A is given already",
            "f:15:13: spec.template.spec.containers[0].env[2].name: is needed",
            "f:16:23: spec.template.spec.containers[0].env[3].valueFrom: is not honoured here; "
            "give a 'value'",
            "f:17:20: spec.template.spec.containers[0].env[4]: wakeful sets this variable itself",
            "f:18:13: spec.template.spec.containers[0].env[5]: expected a mapping (KEY: VALUE), "
            "not 'x'",
        ],
    ),
    "probes that disagree": (
        manifest(container="readinessProbe: {timeoutSeconds: 1, httpGet: {path: /a}}\n"
                           "startupProbe: {timeoutSeconds: 1, httpGet: {path: /b}}\n"),
        [
            "f:13:61: spec.template.spec.containers[0].startupProbe.httpGet.path: "
            "spec.template.spec.containers[0].readinessProbe.httpGet.path says something else",
        ],
    ),
    "lists that are said twice": (
        manifest(annotations="autoscaling.knative.dev/target: [1], "
                             "autoscaling.knative.dev/Target: [1]"),
        [
            "f:8:53: spec.template.metadata.annotations.'autoscaling.knative.dev/target': "
            "expected a single value, not a list",
            "f:8:90: spec.template.metadata.annotations.'autoscaling.knative.dev/Target': "
            "spec.template.metadata.annotations.'autoscaling.knative.dev/target' says something "
            "else",
        ],
    ),
    "shares": (
        manifest(spec="traffic:\n- {latestRevision: true, percent: 90}\n"
                      "- {revisionName: b-00001, percent: 20, tag: x}\n"),
        [
            "f:12:3: spec.traffic: the percents sum to 110, not 100",
            "f:14:20: spec.traffic[1].revisionName: b-00001 is no revision of hello",
            "f:14:42: spec.traffic[1].tag: is not honoured here; leave it out",
        ],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_told_by_the_manifests_own_words(case: str) -> None:
    text, expected = MISTAKES[case]
    assert faults(text) == expected


def test_what_a_runtime_cannot_give_is_shown_where_the_manifest_asks_for_it() -> None:
    loaded = loads(manifest(container="resources: {limits: {cpu: 1}}\n"), DIRECTORY, "f")
    problem = loaded.problem("services.hello.cpu", "cannot be limited")
    assert (problem.line, problem.column) == (12, 37)


def test_the_example_of_the_documentation_is_one() -> None:
    text = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text()
    example = (
        text.partition("## Knative manifests")[2].partition("```yaml\n")[2].partition("```")[0]
    )
    assert config(example) == config(
        "listen: ':8080'\nservices: {hello: {image: 'hello:1', concurrency: 10, max-instances: 3, "
        "env: {TARGET: World}}}"
    )
