"""Knative Service manifests, as the configuration that says the same.

From the trees of a file's documents to one tree such as ``parse`` reads, made of the
manifests' own nodes: what is wrong with a value is found by the same rules, and at its
place. What means nothing on one host is left out; what would not be honoured is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from wakeful.config import nodes
from wakeful.config.nodes import Document, Entry, Node, Problem, Scalar, child
from wakeful.config.quantity import shown
from wakeful.config.readers import closest, mapping, scalar
from wakeful.config.report import Refused, Report

API = "serving.knative.dev/v1"
_GROUP = "serving.knative.dev/"

# A key of a manifest: the key of a service here that means the same, the table of
# its own keys, what reads it, or None for what means nothing on one host.
Rule: TypeAlias = "str | Table | Callable[[Entry, str, Definition], None] | None"
Table: TypeAlias = Mapping[str, "Rule"]


@dataclass(frozen=True, slots=True)
class Translated:
    """``root`` is whole only when there are no problems."""

    root: nodes.Mapping
    problems: tuple[Problem, ...]
    origins: Mapping[str, str]  # a path in ``root`` -> the manifest's path of it

    @property
    def services(self) -> Mapping[str, Entry]:
        value = self.root.entries["services"].value
        assert isinstance(value, nodes.Mapping)
        return value.entries

    def named(self, problem: Problem) -> Problem:
        """A problem of ``root`` by the path that the file has."""
        return replace(problem, path=self.origins.get(problem.path, problem.path))


@dataclass(slots=True)
class Definition:
    """One service, as far as it was read."""

    report: Report
    at: Scalar  # where it is named
    origins: dict[str, str] = field(default_factory=dict)  # a key -> where it is said
    entries: dict[str, Entry] = field(default_factory=dict)

    def put(self, key: str, value: Node, origin: str, *, at: Node | None = None) -> None:
        """Say ``key`` (scale.window); two that say it differently are a mistake."""
        at = at or value
        entries = self.entries
        *places, last = key.split(".")
        for place in places:
            name = Scalar(at.line, at.column, place)
            entry = entries.setdefault(place, Entry(name, nodes.Mapping(at.line, at.column)))
            assert isinstance(entry.value, nodes.Mapping)
            entries = entry.value.entries
        before = entries.get(last)
        if before is None:
            self.origins[key] = origin
            entries[last] = Entry(Scalar(at.line, at.column, last), value)
        elif _written(before.value) != _written(value) or _written(value) is None:
            self.report.refuse(at, origin, f"{self.origins[key]} says something else")

    def walk(self, node: Node, path: str, table: Table) -> None:
        for key, entry in mapping(node, path, self.report).entries.items():
            here = child(path, key)
            if key in table:
                self.apply(table[key], entry, here)
            else:
                self.dishonour(entry, here, closest(key, table))

    def apply(self, rule: Rule, entry: Entry, path: str) -> None:
        value = entry.value
        if rule is None or (isinstance(value, Scalar) and value.plain and value.text in _NOT_GIVEN):
            return
        with suppress(Refused):
            if isinstance(rule, str):
                self.put(rule, value, path)
            elif isinstance(rule, Mapping):
                self.walk(value, path, rule)
            else:
                rule(entry, path, self)

    def dishonour(self, entry: Entry, path: str, close: str | None) -> None:
        hint = f"did you mean {close!r}?" if close else "leave it out"
        self.report.refuse(entry.key, path, f"is not honoured here; {hint}")


_NOT_GIVEN = ("", "null", "~")  # to Kubernetes, a key without a value is none


def present(documents: Sequence[Document]) -> bool:
    """Whether any of a file's documents is of Knative's API."""
    return any(_version(one.root).startswith(_GROUP) for one in documents)


def translate(documents: Sequence[Document]) -> Translated:
    """A configuration of all manifests, and of one of our own that may stand before them."""
    roots = [one.root for one in documents if not (isinstance(one.root, Scalar) and one.root.empty)]
    native = nodes.Mapping(1, 1)
    first = roots[0]
    if isinstance(first, nodes.Mapping) and not _version(first):
        native, roots = first, roots[1:]
    root = nodes.Mapping(1, 1, dict(native.entries))
    report = Report(root)
    services: dict[str, Entry] = {}
    origins: dict[str, str] = {}
    if own := native.entries.get("services"):
        with suppress(Refused):
            services |= mapping(own.value, "services", report).entries
    for node in roots:
        with suppress(Refused):
            found = _service(node, report)
            name = found.at.text
            # Knative's default where neither says anything; ours is another.
            if not (found.entries.get("concurrency") or _inner(native, "defaults", "concurrency")):
                none = Scalar(found.at.line, found.at.column, "0")
                found.put("concurrency", none, "spec.template.spec.containerConcurrency")
            if name in services:
                line = services[name].key.line
                raise report.refuse(found.at, "metadata.name", f"{name} is on line {line} already")
            value = nodes.Mapping(found.at.line, found.at.column, found.entries)
            services[name] = Entry(found.at, value)
            place = child("services", name)
            origins[place] = "spec.template.spec"
            origins |= {f"{place}.{key}": origin for key, origin in found.origins.items()}
    root.entries["services"] = Entry(Scalar(1, 1, "services"), nodes.Mapping(1, 1, services))
    return Translated(root, tuple(report.problems), origins)


def _version(node: Node) -> str:
    if isinstance(node, nodes.Mapping) and (entry := node.entries.get("apiVersion")):
        return entry.value.text if isinstance(entry.value, Scalar) else "?"
    return ""


def _service(node: Node, report: Report) -> Definition:
    entries = mapping(node, "", report).entries
    for key, wanted in (("apiVersion", API), ("kind", "Service")):
        entry = entries.get(key)
        said = _text(entry.value, key, report) if entry else ""
        if said != wanted:
            place = entry.value if entry else node
            raise report.refuse(place, key, f"expected {wanted}, not {shown(said)}")
    name = _inner(node, "metadata", "name")
    if not isinstance(name, Scalar) or name.empty:
        raise report.refuse(entries["kind"].key, "metadata.name", "is needed")
    definition = Definition(report, name)
    definition.walk(node, "", _SERVICE)
    return definition


def _inner(node: Node | None, *keys: str) -> Node | None:
    for key in keys:
        entry = node.entries.get(key) if isinstance(node, nodes.Mapping) else None
        node = entry.value if entry else None
    return node


def _written(node: Node) -> str | None:
    return node.text if isinstance(node, Scalar) else None


def _text(node: Node, path: str, report: Report) -> str:
    return str(scalar(str)(node, path, report))


# What needs more than another name


def _annotation_rules(rules: Table, elsewhere: str = "") -> Rule:
    """Annotations of Knative's domains; those of others say nothing to us."""

    def read(entry: Entry, path: str, to: Definition) -> None:
        for key, one in mapping(entry.value, path, to.report).entries.items():
            domain, _, name = key.rpartition("/")
            if domain not in ("autoscaling.knative.dev", "serving.knative.dev"):
                continue
            # Knative takes minScale for min-scale.
            kebab = re.sub(r"(?<=[a-z])[A-Z]", lambda big: f"-{big[0]}", name).lower()
            here = child(path, key)
            if kebab in rules:
                to.apply(rules[kebab], one, here)
            elif domain == "autoscaling.knative.dev" and elsewhere:
                to.report.refuse(one.key, here, elsewhere)
            elif domain == "autoscaling.knative.dev":
                to.dishonour(one, here, closest(kebab, rules))

    return read


def _converted(key: str, convert: Callable[[str], str]) -> Rule:
    def read(entry: Entry, path: str, to: Definition) -> None:
        text = _text(entry.value, path, to.report)
        try:
            written = convert(text)
        except ValueError as wrong:
            raise to.report.refuse(entry.value, path, str(wrong)) from None
        to.put(key, Scalar(entry.value.line, entry.value.column, written), path)

    return read


def _only(expected: str) -> Rule:
    def read(entry: Entry, path: str, to: Definition) -> None:
        if (said := _text(entry.value, path, to.report)) != expected:
            message = f"only {expected} is possible here, not {shown(said)}"
            raise to.report.refuse(entry.value, path, message)

    return read


def _percentage(text: str) -> str:
    """In an annotation 1 is 1%, and not all of it."""
    return f"{text}%"


def _aggregation(text: str) -> str:
    return "weighted-exponential" if text == "weightedExponential" else text


def _pull(text: str) -> str:
    words = {"Always": "always", "IfNotPresent": "missing", "Never": "never"}
    if text not in words:
        raise ValueError(f"expected one of {', '.join(words)}, not {shown(text)}")
    return words[text]


def _items(entry: Entry, path: str, to: Definition) -> list[tuple[Node, str]]:
    if not isinstance(entry.value, nodes.Sequence):
        raise to.report.refuse(entry.value, path, "expected a list")
    return [(node, child(path, index)) for index, node in enumerate(entry.value.items)]


def _single(table: Table, what: str) -> Rule:
    def read(entry: Entry, path: str, to: Definition) -> None:
        items = _items(entry, path, to)
        if len(items) != 1:
            raise to.report.refuse(entry.key, path, f"exactly one {what} is possible here")
        to.walk(*items[0], table)

    return read


def _port_name(entry: Entry, path: str, to: Definition) -> None:
    if _text(entry.value, path, to.report) == "h2c":
        raise to.report.refuse(entry.value, path, "HTTP/2 to an instance is not spoken here")


def _env(entry: Entry, path: str, to: Definition) -> None:
    for node, here in _items(entry, path, to):
        with suppress(Refused):
            entries = mapping(node, here, to.report).entries
            for key in entries.keys() - {"name", "value"}:
                message = "is not honoured here; give a 'value'"
                raise to.report.refuse(entries[key].key, child(here, key), message)
            if "name" not in entries:
                raise to.report.refuse(node, child(here, "name"), "is needed")
            name = entries["name"].value
            word = _text(name, child(here, "name"), to.report)
            value = entries["value"].value if "value" in entries else Scalar(node.line, 1, "")
            variables = to.entries.get("env")
            if variables is None:
                to.put("env", nodes.Mapping(entry.value.line, entry.value.column), path)
                variables = to.entries["env"]
            assert isinstance(variables.value, nodes.Mapping)
            if word in variables.value.entries:
                raise to.report.refuse(name, child(here, "name"), f"{word} is given already")
            at = Scalar(name.line, name.column, word)
            variables.value.entries[word] = Entry(at, value)
            to.origins[child("env", word)] = here


def _traffic(entry: Entry, path: str, to: Definition) -> None:
    shares: list[Node] = []
    for node, here in _items(entry, path, to):
        share = Definition(to.report, to.at)
        share.walk(node, here, _SHARE)
        place = child("traffic", len(shares))
        to.origins |= {f"{place}.{key}": origin for key, origin in share.origins.items()}
        to.origins[place] = here
        shares.append(nodes.Mapping(node.line, node.column, share.entries))
    value = nodes.Sequence(entry.value.line, entry.value.column, tuple(shares))
    to.put("traffic", value, path, at=entry.key)


# Tables, in the order of a manifest

_SHARE: Table = {
    "latestRevision": None,  # so is a share that names no revision
    "revisionName": "revision",
    "percent": "percent",
}
_AUTOSCALING: Table = {
    "class": _only("kpa.autoscaling.knative.dev"),
    "metric": "scale.metric",
    "target": "scale.target",
    "target-utilization-percentage": _converted("scale.utilization", _percentage),
    "metric-aggregation-algorithm": _converted("scale.aggregation", _aggregation),
    "window": "scale.window",
    "panic-window-percentage": _converted("scale.panic-window", _percentage),
    "panic-threshold-percentage": _converted("scale.panic-threshold", _percentage),
    "scale-down-delay": "scale.down-delay",
    "scale-to-zero-pod-retention-period": "scale.retention",
    "initial-scale": "scale.initial",
    "activation-scale": "scale.activation",
    "target-burst-capacity": "scale.target-burst-capacity",
    "min-scale": "min-instances",
    "max-scale": "max-instances",
    "rollout-duration": "rollout-duration",
}
_PROBE: Table = {
    "httpGet": {"path": "readiness.path", "port": None, "scheme": _only("HTTP")},
    "tcpSocket": None,  # what is done without a path
    "timeoutSeconds": "readiness.timeout",
    # A probe here goes on until it passes, or the start has failed.
    "initialDelaySeconds": None,
    "periodSeconds": None,
    "successThreshold": None,
    "failureThreshold": None,
}
_CONTAINER: Table = {
    "name": None,
    "image": "image",
    "imagePullPolicy": _converted("pull", _pull),
    "command": "entrypoint",  # Kubernetes' words for the image's ENTRYPOINT and CMD
    "args": "command",
    "workingDir": "working-dir",
    "env": _env,
    "ports": _single(
        {
            "name": _port_name,
            "containerPort": "port",
            "protocol": _only("TCP"),
        },
        "port",
    ),
    # Requests are for whoever looks for a machine with so much to spare.
    "resources": {"limits": {"cpu": "cpu", "memory": "memory"}, "requests": None},
    "readinessProbe": _PROBE,
    "startupProbe": _PROBE,
    "securityContext": {
        "runAsUser": "user",
        "readOnlyRootFilesystem": "read-only",
        "allowPrivilegeEscalation": _only("false"),
        "capabilities": {"add": "cap-add", "drop": "cap-drop"},
    },
}
_POD: Table = {
    "containerConcurrency": "concurrency",
    "timeoutSeconds": "timeout",
    "responseStartTimeoutSeconds": "response-start-timeout",
    "idleTimeoutSeconds": "response-idle-timeout",
    "containers": _single(_CONTAINER, "container"),
    "enableServiceLinks": None,
    "serviceAccountName": None,
    "imagePullSecrets": None,  # the credentials are the engine's
}
_METADATA: Table = {
    "name": None,
    "namespace": None,
    "labels": None,
    "annotations": _annotation_rules(
        {"rollout-duration": "rollout-duration"},
        elsewhere="belongs into spec.template.metadata.annotations",
    ),
    "creationTimestamp": None,
    "generation": None,
    "resourceVersion": None,
    "selfLink": None,
    "uid": None,
}
_SERVICE: Table = {
    "apiVersion": None,
    "kind": None,
    "metadata": _METADATA,
    "spec": {
        "template": {
            "metadata": {
                "name": None,  # revisions are numbered here
                "annotations": _annotation_rules(_AUTOSCALING),
                "labels": None,
            },
            "spec": _POD,
        },
        "traffic": _traffic,
    },
    "status": None,
}
