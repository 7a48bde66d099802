"""The model of what an operator asks for, and every default, once.

Everything here is an immutable value. Durations are seconds, memory is bytes,
ratios are fractions (70% is 0.7). Names follow Knative Serving: a Service has
Revisions, and TrafficTargets say which revision answers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from sys import intern
from types import MappingProxyType
from typing import TypeAlias

Network: TypeAlias = IPv4Network | IPv6Network


class RuntimeKind(StrEnum):
    """What runs the instances."""

    AUTO = "auto"  # docker if its socket answers, else process
    DOCKER = "docker"
    PROCESS = "process"


class FreezerKind(StrEnum):
    """How containers are frozen."""

    AUTO = "auto"  # direct where that is possible, else engine
    DIRECT = "direct"  # by writing to their cgroups
    ENGINE = "engine"  # by docker pause


class Reach(StrEnum):
    """How instances in containers are reached."""

    AUTO = "auto"  # as fits the engine
    ADDRESS = "address"  # at the addresses of their containers
    PUBLISHED = "published"  # through ports that the engine publishes


class Metric(StrEnum):
    """What the autoscaler holds against the target."""

    CONCURRENCY = "concurrency"
    RPS = "rps"


class Aggregation(StrEnum):
    """How the seconds of a window are averaged."""

    LINEAR = "linear"
    WEIGHTED_EXPONENTIAL = "weighted-exponential"


class AccessLogFormat(StrEnum):
    JSON = "json"
    COMMON = "common"
    COMBINED = "combined"
    OFF = "off"


class Pull(StrEnum):
    """When a registry is asked for the image of a revision."""

    ALWAYS = "always"
    MISSING = "missing"
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class HostPort:
    """A TCP address; an empty host means every interface of this machine."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class MemoryBudget:
    """An amount of memory, or a share of what the machine has."""

    bytes: int | None = None  # None: the share says it
    share: float = 0.25

    def of(self, machine: int) -> int:
        return int(self.share * machine) if self.bytes is None else self.bytes


@dataclass(frozen=True, slots=True)
class Queue:
    """Requests of one revision that wait for an instance."""

    limit: int = 1000
    timeout: float = 60.0


@dataclass(frozen=True, slots=True)
class Scale:
    """How a revision is scaled; the names and defaults are Knative's."""

    metric: Metric = Metric.CONCURRENCY
    target: float | None = None  # None: 100 requests in flight, or 200 requests per second
    utilization: float = 0.7
    aggregation: Aggregation = Aggregation.LINEAR
    window: float = 60.0
    panic_window: float = 0.10  # of window
    panic_threshold: float = 2.0
    down_delay: float = 0.0
    retention: float = 0.0
    initial: int = 1
    activation: int = 1
    max_up_rate: float = 1000.0
    max_down_rate: float = 2.0
    target_burst_capacity: float = 211.0  # -1: as much as there is


@dataclass(frozen=True, slots=True)
class Idle:
    """How an instance that nobody asks for steps down."""

    freeze_after: float | None = 10.0  # without a request; 0 = between any two, None = never
    stop_after: float = 900.0  # is how long one that is not wanted stays, frozen


@dataclass(frozen=True, slots=True)
class Readiness:
    """When a started instance may be given requests: a TCP connect, or GET path."""

    path: str | None = None
    timeout: float = 1.0  # of one attempt


@dataclass(frozen=True, slots=True)
class Volume:
    """A place of the host, or a named volume, inside a container."""

    source: str  # an absolute path of the engine's host, or the name of a volume
    target: str
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class Ulimit:
    soft: int  # -1 = none
    hard: int


@dataclass(frozen=True, slots=True)
class Logging:
    """Where the engine keeps what a container writes; by default 30 MB of it."""

    driver: str = "json-file"
    options: tuple[tuple[str, str], ...] = (("max-file", "3"), ("max-size", "10m"))


# Words for a container's network that are no names of networks.
BRIDGE = "bridge"
HOST = "host"
SANDBOX = "sandbox"


@dataclass(frozen=True, slots=True)
class Container:
    """What only containers have. The names are those of Compose files."""

    pull: Pull = Pull.MISSING
    entrypoint: tuple[str, ...] = ()  # () = the image's
    working_dir: str | None = None
    user: str | None = None  # None = the image's
    hostname: str | None = None
    labels: tuple[tuple[str, str], ...] = ()
    stop_signal: str | None = None  # None = the image's, or SIGTERM
    init: bool = True  # a first process that reaps orphans
    no_new_privileges: bool = True
    cap_add: tuple[str, ...] = ()
    cap_drop: tuple[str, ...] = ()
    pids_limit: int = 2048  # processes and threads; 0 = none
    ulimits: tuple[tuple[str, Ulimit], ...] = ()
    shm_size: int | None = None  # bytes
    read_only: bool = False
    tmpfs: tuple[str, ...] = ()  # PATH or PATH:OPTIONS
    volumes: tuple[Volume, ...] = ()
    secrets: tuple[tuple[str, str], ...] = ()  # name in /run/secrets -> absolute path of a file
    network: str = BRIDGE  # or HOST, SANDBOX, or the name of one that there is
    networks: tuple[str, ...] = ()  # besides the one it is reached through
    extra_hosts: tuple[str, ...] = ()  # NAME:ADDRESS
    dns: tuple[str, ...] = ()
    logging: Logging = field(default_factory=Logging)
    container_runtime: str | None = None  # an OCI runtime the engine knows; None = its default


@dataclass(frozen=True, slots=True)
class WakeFilter:
    """Requests that are no activity: each condition that is given holds, by any of its values.

    Paths and user agents are patterns in which ``*`` stands for any text.
    """

    path: tuple[str, ...] = ()
    method: tuple[str, ...] = ()
    user_agent: tuple[str, ...] = ()
    address: tuple[Network, ...] = ()
    answer: int = 503  # the status, while no instance answers


@dataclass(frozen=True, slots=True)
class Wake:
    """What wakes a service: every request but those that one of these filters matches."""

    ignore: tuple[WakeFilter, ...] = ()


@dataclass(frozen=True, slots=True)
class WarmWindow:
    """A time in which instances are kept: from each start to the next end after it.

    Both are cron expressions of five fields.
    """

    start: str
    end: str
    timezone: str = "UTC"
    min_instances: int = 1


@dataclass(frozen=True, slots=True)
class WaitingPage:
    """What a browser is shown instead of waiting for a first instance."""

    enabled: bool = False
    title: str = ""  # "": that the service is starting
    refresh: float = 2.0  # until it asks again; whole seconds, less than any window


@dataclass(frozen=True, slots=True)
class Template:
    """What every instance of a revision is made from, and how the revision behaves.

    Exactly one of image, command alone, and upstreams says what answers.
    """

    image: str | None = None
    command: tuple[str, ...] = ()
    upstreams: tuple[HostPort, ...] = ()
    port: int = 8080
    env: tuple[tuple[str, str], ...] = ()
    concurrency: int = 80  # hard limit per instance; 0 = none
    min_instances: int = 0
    max_instances: int = 10  # 0 = no limit
    timeout: float = 300.0
    response_start_timeout: float = 300.0
    response_idle_timeout: float = 0.0  # of an answer of which nothing comes; 0 = none
    tunnel_idle_timeout: float = 3600.0  # of an upgraded connection; 0 = none
    tunnel_drain_timeout: float = 60.0  # of one whose instance is to go
    max_request_body: int | None = None  # bytes; None = no limit
    queue: Queue = field(default_factory=Queue)
    scale: Scale = field(default_factory=Scale)
    readiness: Readiness = field(default_factory=Readiness)
    idle: Idle = field(default_factory=Idle)
    cpu: float | None = None  # cores
    memory: int | None = None  # bytes
    stop_grace: float = 10.0
    cold_start_headers: bool = True  # on an answer that waited for its instance
    schedule: tuple[WarmWindow, ...] = ()
    wake: Wake = field(default_factory=Wake)
    waiting_page: WaitingPage = field(default_factory=WaitingPage)
    container: Container = field(default_factory=Container)


@dataclass(frozen=True, slots=True)
class TrafficTarget:
    """A share of a service's requests, for one revision; None is the latest."""

    percent: int
    revision: str | None = None


@dataclass(frozen=True, slots=True)
class Service:
    """A name that answers, and the template its latest revision is made from."""

    name: str
    template: Template
    domains: tuple[str, ...] = ()
    traffic: tuple[TrafficTarget, ...] = (TrafficTarget(percent=100),)
    rollout_duration: float = 0.0  # of the traffic's way to a new revision; 0 = all at once


@dataclass(frozen=True, slots=True)
class Revision:
    """An immutable snapshot of a service's template, numbered from 1."""

    service: str
    generation: int
    template: Template

    @property
    def name(self) -> str:
        # One text for all who keep it: of ten thousand services that is megabytes.
        return intern(f"{self.service}-{self.generation:05d}")


@dataclass(frozen=True, slots=True)
class AccessLog:
    format: AccessLogFormat = AccessLogFormat.JSON
    file: str = "-"  # a path, or - for standard output


@dataclass(frozen=True, slots=True)
class Config:
    """A whole configuration file.

    ``directory`` is where the file lies; commands run there, and relative
    paths in the file start from it.
    """

    listen: HostPort = HostPort("", 8080)
    admin: HostPort = HostPort("127.0.0.1", 9900)
    domain: str = "localhost"
    runtime: RuntimeKind = RuntimeKind.AUTO
    freezer: FreezerKind = FreezerKind.AUTO
    frozen_memory: MemoryBudget = field(default_factory=MemoryBudget)  # of frozen spares
    reach: Reach = Reach.AUTO
    state_dir: Path | None = None  # None: the XDG state directory, or /var/lib/wakeful for root
    access_log: AccessLog = field(default_factory=AccessLog)
    trusted_proxies: tuple[Network, ...] = ()  # whose word on who asked is taken
    simultaneous_starts: int = 32  # of instances, on the whole host
    services: Mapping[str, Service] = field(default_factory=lambda: MappingProxyType({}))
    directory: Path = field(default_factory=Path)
