"""From a tree of nodes to a Config, with everything that is wrong at once.

Owns the rules between keys: what excludes what, who wins over ``defaults``,
which service owns a domain. How one value is read is in ``schema``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

from wakeful.config.container import SECRETS
from wakeful.config.fit import misfits
from wakeful.config.model import (
    HOST,
    SANDBOX,
    Config,
    Container,
    HostPort,
    RuntimeKind,
    Service,
    Template,
)
from wakeful.config.nodes import Mapping, Node, Problem, Scalar, child
from wakeful.config.report import Refused, Report
from wakeful.config.schema import SERVICE, TOP, Given, read

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T", bound="DataclassInstance")

# A DNS label (RFC 1123 §2.1) short enough for "-00001" behind it.
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,55}[a-z0-9])?")

# What addresses that are never started or stopped can have. All the rest is
# about instances of our own.
_KEYS_OF_UPSTREAMS = (
    "max-request-body",
    "upstreams",
    "domains",
    "traffic",
    "rollout-duration",
    "concurrency",
    "timeout",
    "response-start-timeout",
    "response-idle-timeout",
    "tunnel-drain-timeout",
    "tunnel-idle-timeout",
    "queue",
)
_WHAT_ANSWERS = ("image", "command", "upstreams")
# Of a container whose network is of this kind.
_NOT_WITH_NETWORK = {HOST: ("networks",), SANDBOX: ("hostname", "networks", "extra-hosts", "dns")}
_WHY_NOT = {
    HOST: "{} cannot be had with 'network: host': such a container is on no other network",
    SANDBOX: "{} cannot be had with 'network: sandbox': its network is made before it is known"
    " whose it will be; leave it out, or use 'network: bridge'",
}
# Attributes of a Service; all others are its template's.
_OF_SERVICE = frozenset(("domains", "traffic", "rollout_duration"))
# Attributes of a Template that are its container's.
_OF_CONTAINER = frozenset(field.name for field in fields(Container))
_TEMPLATE = Template()  # of which nothing is said


@dataclass(frozen=True, slots=True)
class Parsed:
    """``config`` is whole only when there are no problems."""

    config: Config
    problems: tuple[Problem, ...]


def parse(root: Node, directory: Path) -> Parsed:
    """``directory`` is where relative paths of the file start."""
    report = Report(root)
    config = Config(directory=directory)
    if message := _not_a_configuration(root):
        place, path = root, ""
        if isinstance(root, Mapping) and "apiVersion" in root.entries:
            place, path = root.entries["apiVersion"].key, "apiVersion"
        report.refuse(place, path, message)
    else:
        config = _config(root, config, report)
    return Parsed(config, tuple(sorted(set(report.problems))))


def _not_a_configuration(root: Node) -> str | None:
    if isinstance(root, Scalar) and root.empty:
        return "the file is empty; at least 'services' is needed"
    if not isinstance(root, Mapping):
        return "expected a mapping (KEY: VALUE) with at least 'services'"
    version = root.entries.get("apiVersion")
    if version and isinstance(version.value, Scalar):
        return "this is a Kubernetes manifest, not a wakeful configuration"
    return None


def _config(root: Node, config: Config, report: Report) -> Config:
    top = read(root, "", report, TOP)
    defaults: Given = top.values.pop("defaults", Given())
    nodes: Mapping = top.values.pop("services", Mapping(root.line, root.column))
    if not nodes.entries and "services" not in report.refused:
        report.refuse_at("services", "at least one service is needed")

    config = overlay(config, top)
    if config.state_dir is not None:
        config = replace(config, state_dir=config.directory / config.state_dir)
    if config.access_log.file != "-":
        file = str(config.directory / config.access_log.file)
        config = replace(config, access_log=replace(config.access_log, file=file))

    services = {
        name: service
        for name, entry in nodes.entries.items()
        if (service := _service(entry.key, entry.value, defaults, report, config.directory))
    }
    config = replace(config, services=MappingProxyType(services))

    _check_addresses(config, top, report)
    _check_domains(config, report)
    _check_fit(config, report)
    return config


def overlay(base: T, given: Given) -> T:
    """``base`` with what is given put over it, key by key at every depth."""
    if not given.values:
        return base
    changes = dict(given.values)
    for name, value in changes.items():
        if isinstance(value, Given):
            changes[name] = overlay(getattr(base, name), value)
        elif isinstance(value, dict):
            changes[name] = tuple(sorted({**dict(getattr(base, name)), **value}.items()))
    return replace(base, **changes)


# One service


def _service(
    key: Scalar, node: Node, defaults: Given, report: Report, directory: Path
) -> Service | None:
    path = child("services", key.text)
    if not _NAME.fullmatch(key.text):
        hint = ""
        if _NAME.fullmatch(near := key.text.lower().replace("_", "-")):
            hint = f", such as {near!r}"
        message = "the name of a service has at most 57 lower-case letters, digits and inner '-'"
        report.refuse(key, path, message + hint)
    try:
        given = read(node, path, report, SERVICE)
    except Refused:
        return None

    if "upstreams" in given.keys:
        _check_upstreams(given, path, report)
        defaults = _only(defaults, _KEYS_OF_UPSTREAMS)
        given = _only(given, _KEYS_OF_UPSTREAMS)
    elif not {"image", "command"} & (given.keys | defaults.keys):
        report.refuse_at(path, "one of 'image', 'command' and 'upstreams' is needed")

    template = _TEMPLATE
    own: dict[str, Any] = {}
    for each in (defaults, given):
        own |= {name: each.values[name] for name in _OF_SERVICE & each.values.keys()}
        template = overlay(template, _nested(each))
    template = _located(template, directory)
    template = _settle_timeouts(template, given, defaults, path, report)
    service = Service(key.text, template, **own)
    _check_mounts(template.container, path, report)
    _check_network(template.container, path, report)
    _check_scale(template, given, path, report)
    _check_traffic(service, path, report)
    return service


def _check_traffic(service: Service, path: str, report: Report) -> None:
    """Whether those revisions exist is known to whoever has the state directory."""
    path = child(path, "traffic")
    total = sum(target.percent for target in service.traffic)
    if total != 100:
        report.refuse_at(path, f"the percents sum to {total}, not 100")
    seen: set[str | None] = set()
    for index, target in enumerate(service.traffic):
        if target.revision in seen:
            name = target.revision or "the latest revision"
            report.refuse_at(child(path, index), f"{name} has a share already")
        seen.add(target.revision)
        if target.revision and target.revision.rpartition("-")[0] != service.name:
            place = child(child(path, index), "revision")
            report.refuse_at(place, f"{target.revision} is no revision of {service.name}")


def _only(given: Given, keys: Iterable[str]) -> Given:
    kept = [key for key in keys if key in given.keys]
    attributes = [key.replace("-", "_") for key in kept]
    values = {name: given.values[name] for name in attributes if name in given.values}
    return Given(values, frozenset(kept))


def _nested(given: Given) -> Given:
    """Of a template, as the model has it: what only containers have is one value there."""
    values = {k: v for k, v in given.values.items() if k not in _OF_SERVICE}
    inner = {k: values.pop(k) for k in _OF_CONTAINER & values.keys()}
    if inner:
        values["container"] = Given(inner)
    return Given(values, given.keys)


def _located(template: Template, directory: Path) -> Template:
    """With paths of the host that start from the file's directory."""
    container = template.container
    if not container.volumes and not container.secrets:
        return template
    volumes = tuple(
        replace(volume, source=str(directory / volume.source))
        if volume.source.startswith(".")
        else volume
        for volume in container.volumes
    )
    secrets = tuple((name, str(directory / file)) for name, file in container.secrets)
    container = replace(container, volumes=volumes, secrets=secrets)
    return replace(template, container=container)


def _check_mounts(container: Container, path: str, report: Report) -> None:
    """One place in a container holds one thing."""
    mounts = [(SECRETS + "/" + name, child("secrets", name)) for name, _ in container.secrets]
    mounts += [(one.target, child("volumes", i)) for i, one in enumerate(container.volumes)]
    mounts += [(one.partition(":")[0], child("tmpfs", i)) for i, one in enumerate(container.tmpfs)]
    taken: dict[str, str] = {}
    for target, key in mounts:
        if target in taken:
            report.refuse_at(f"{path}.{key}", f"{target} is mounted by {taken[target]} already")
        taken.setdefault(target, key)


def _check_network(container: Container, path: str, report: Report) -> None:
    """What does not go with a network that is not the container's own."""
    for key in _NOT_WITH_NETWORK.get(container.network, ()):
        if getattr(container, key.replace("-", "_")):
            report.refuse_at(child(path, key), _WHY_NOT[container.network].format(key))


def _check_upstreams(given: Given, path: str, report: Report) -> None:
    if given.values.get("upstreams") == ():
        report.refuse_at(child(path, "upstreams"), "at least one address is needed")
    for key in SERVICE:
        if key not in given.keys or key in _KEYS_OF_UPSTREAMS:
            continue
        if key in _WHAT_ANSWERS:
            message = "either upstreams answer, or instances of an image or a command; not both"
        else:
            message = (
                "has no meaning beside 'upstreams', which are never started, stopped or probed"
            )
        report.refuse_at(child(path, key), message)


def _settle_timeouts(
    template: Template, given: Given, defaults: Given, path: str, report: Report
) -> Template:
    """The first byte is due when the response is, unless a shorter time is given.

    As Knative's responseStartTimeoutSeconds and idleTimeoutSeconds: lowering the
    timeout alone lowers the first, and the second counts before the first byte too.
    """
    for key in ("response-start-timeout", "response-idle-timeout"):
        own = key in given.keys
        default = key in defaults.keys and "timeout" not in given.keys
        above = getattr(template, key.replace("-", "_")) > template.timeout
        if above and (own or default) and _sound(report, path, "timeout", key):
            report.refuse_at(
                child(path, key), f"must be at most the timeout of {template.timeout:g}s"
            )
    idle = template.response_idle_timeout or template.timeout
    first = min(template.response_start_timeout, template.timeout, idle)
    if first == template.response_start_timeout:
        return template
    return replace(template, response_start_timeout=first)


def _check_scale(template: Template, given: Given, path: str, report: Report) -> None:
    least, most = template.min_instances, template.max_instances
    activation = template.scale.activation
    if 0 < most < least and _sound(report, path, "min-instances", "max-instances"):
        # Where the service itself says something, that is what to change.
        own = "max-instances" in given.keys and "min-instances" not in given.keys
        report.refuse_at(
            f"{path}.max-instances" if own else f"{path}.min-instances",
            f"min-instances ({least}) is more than max-instances ({most})",
        )
    for index, window in enumerate(template.schedule):
        if 0 < most < window.min_instances and _sound(report, path, "max-instances"):
            own = "max-instances" in given.keys and "schedule" not in given.keys
            place = child(child(f"{path}.schedule", index), "min-instances")
            report.refuse_at(
                f"{path}.max-instances" if own else place,
                f"min-instances of the schedule ({window.min_instances}) "
                f"is more than max-instances ({most})",
            )
    if 0 < most < activation and _sound(report, path, "max-instances", "scale.activation"):
        own = "max-instances" in given.keys and "scale" not in given.keys
        report.refuse_at(
            f"{path}.max-instances" if own else f"{path}.scale.activation",
            f"scale.activation ({activation}) is more than max-instances ({most})",
        )


def _sound(report: Report, path: str, *keys: str) -> bool:
    """None of these was refused, here or in the defaults: a rule can be held against them."""
    return not any(
        f"{place}.{key}" in report.refused for key in keys for place in (path, "defaults")
    )


# The whole file


def _check_addresses(config: Config, top: Given, report: Report) -> None:
    if {"listen", "admin"} & report.refused or config.listen.port != config.admin.port:
        return
    if _overlap(config.listen, config.admin):
        key = "admin" if "admin" in top.keys else "listen"
        report.refuse_at(key, f"listen ({config.listen}) and admin ({config.admin}) overlap")


def _overlap(one: HostPort, other: HostPort) -> bool:
    hosts = {one.host, other.host}
    everywhere = {"", "0.0.0.0", "::"}
    loopback = {"localhost", "127.0.0.1", "::1"}
    return (
        len(hosts) == 1 or bool(hosts & everywhere) or ("localhost" in hosts and hosts <= loopback)
    )


def _check_domains(config: Config, report: Report) -> None:
    """One host name leads to one service (a route belongs to a service definition)."""
    own = {f"{name}.{config.domain}": name for name in config.services}
    claimed: dict[str, str] = {}
    for name, service in config.services.items():
        for index, domain in enumerate(service.domains):
            path = child(child(child("services", name), "domains"), index)
            if own.get(domain, name) != name:
                report.refuse_at(
                    path, f"{domain} is how service {own[domain]!r} is reached already"
                )
            elif domain in claimed:
                owner = (
                    "this service" if claimed[domain] == name else f"service {claimed[domain]!r}"
                )
                report.refuse_at(path, f"{domain} is claimed by {owner} already")
            claimed.setdefault(domain, name)


def _check_fit(config: Config, report: Report) -> None:
    if config.runtime is RuntimeKind.AUTO:
        return  # known when the engine was asked; the caller holds the file against it then
    for path, message in misfits(config, config.runtime):
        service = path.rpartition(".")[0]
        if _sound(report, service, *_WHAT_ANSWERS):
            report.refuse_at(path, message)
