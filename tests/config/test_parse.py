"""Every key of a configuration file is honoured, and what combines, combines."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from textwrap import indent
from typing import Any

import pytest

from wakeful.config.load import loads
from wakeful.config.model import (
    AccessLog,
    AccessLogFormat,
    Aggregation,
    Config,
    Container,
    FreezerKind,
    HostPort,
    Idle,
    Logging,
    MemoryBudget,
    Metric,
    Pull,
    Queue,
    Reach,
    Readiness,
    RuntimeKind,
    Scale,
    Service,
    Template,
    TrafficTarget,
    Ulimit,
    Volume,
    WaitingPage,
    Wake,
    WakeFilter,
    WarmWindow,
)

HELLO = "services: {hello: {image: 'hello:1'}}\n"
DIRECTORY = Path("/etc/wakeful")


def config(text: str) -> Config:
    return loads(text, DIRECTORY).config


def template(body: str, top: str = "") -> Template:
    """The template of the only service, whose keys are the lines of ``body``."""
    return config(f"{top}services:\n  hello:\n{indent(body, '    ')}\n").services["hello"].template


def test_a_file_that_says_the_least_gets_every_default_of_the_model() -> None:
    hello = Service("hello", Template(image="hello:1"))
    assert config(HELLO) == Config(services={"hello": hello}, directory=DIRECTORY)


@pytest.mark.parametrize(
    ("line", "attribute", "value"),
    [
        ("listen: '127.0.0.1:80'", "listen", HostPort("127.0.0.1", 80)),
        ("listen: :81", "listen", HostPort("", 81)),
        ("admin: '[::1]:9000'", "admin", HostPort("::1", 9000)),
        ("domain: Example.COM", "domain", "example.com"),
        ("runtime: docker", "runtime", RuntimeKind.DOCKER),
        ("runtime: auto", "runtime", RuntimeKind.AUTO),
        ("freezer: engine", "freezer", FreezerKind.ENGINE),
        ("freezer: direct", "freezer", FreezerKind.DIRECT),
        ("frozen-memory: 10%", "frozen_memory", MemoryBudget(share=0.1)),
        ("frozen-memory: 0", "frozen_memory", MemoryBudget(bytes=0)),
        ("frozen-memory: 2Gi", "frozen_memory", MemoryBudget(bytes=2**31)),
        ("reach: published", "reach", Reach.PUBLISHED),
        ("state-dir: ./state", "state_dir", Path("/etc/wakeful/state")),
        ("state-dir: ../state", "state_dir", Path("/etc/wakeful/../state")),
        ("state-dir: /var/lib/w", "state_dir", Path("/var/lib/w")),
        ("access-log: off", "access_log", AccessLog(AccessLogFormat.OFF)),
        ("access-log: combined", "access_log", AccessLog(AccessLogFormat.COMBINED)),
        ("access-log: {format: common}", "access_log", AccessLog(AccessLogFormat.COMMON)),
        ("access-log: {format: off}", "access_log", AccessLog(AccessLogFormat.OFF)),
        ("access-log: {file: '-'}", "access_log", AccessLog(file="-")),
        ("access-log: {file: a.log}", "access_log", AccessLog(file="/etc/wakeful/a.log")),
        ("access-log: {file: /var/a.log}", "access_log", AccessLog(file="/var/a.log")),
        ("access-log:", "access_log", AccessLog()),
        (
            "trusted-proxies: [10.0.0.0/8, '::1', 192.168.1.7]",
            "trusted_proxies",
            (
                IPv4Network("10.0.0.0/8"),
                IPv6Network("::1/128"),
                IPv4Network("192.168.1.7/32"),
            ),
        ),
        ("simultaneous-starts: 4", "simultaneous_starts", 4),
        ("domain: example.com", "simultaneous_starts", 32),
        ("defaults: {}", "listen", HostPort("", 8080)),
        ("defaults:", "listen", HostPort("", 8080)),
    ],
)
def test_every_key_of_the_top_level_is_honoured(line: str, attribute: str, value: object) -> None:
    assert getattr(config(f"{HELLO}{line}\n"), attribute) == value


def test_a_budget_is_an_amount_or_a_share_of_what_there_is() -> None:
    assert MemoryBudget().of(1000) == 250
    assert MemoryBudget(share=0.1).of(1000) == 100
    assert MemoryBudget(bytes=7).of(1000) == 7


ONLY_CONTAINERS: list[tuple[str, dict[str, Any]]] = [
    ("pull: always", {"pull": Pull.ALWAYS}),
    ("entrypoint: [sh, -c]", {"entrypoint": ("sh", "-c")}),
    ("working-dir: /srv/./app/", {"working_dir": "/srv/app"}),
    ("user: 1000:1000", {"user": "1000:1000"}),
    ("hostname: Web", {"hostname": "web"}),
    ("labels: {tier: NO, 'a.b/c':}", {"labels": (("a.b/c", ""), ("tier", "NO"))}),
    ("stop-signal: SIGQUIT", {"stop_signal": "SIGQUIT"}),
    ("init: false", {"init": False}),
    ("init: true", {}),
    ("no-new-privileges: false", {"no_new_privileges": False}),
    ("cap-add: [cap_net_raw, ALL]", {"cap_add": ("NET_RAW", "ALL")}),
    ("cap-drop: [CHOWN]", {"cap_drop": ("CHOWN",)}),
    ("pids-limit: 0", {"pids_limit": 0}),
    ("ulimits: {nofile: 1024}", {"ulimits": (("nofile", Ulimit(1024, 1024)),)}),
    ("ulimits: {core: {soft: 0, hard: -1}}", {"ulimits": (("core", Ulimit(0, -1)),)}),
    ("ulimits: {memlock: unlimited}", {"ulimits": (("memlock", Ulimit(-1, -1)),)}),
    ("shm-size: 1Gi", {"shm_size": 1_073_741_824}),
    ("read-only: true", {"read_only": True}),
    ("tmpfs: [/run, '/tmp/:size=64m']", {"tmpfs": ("/run", "/tmp:size=64m")}),
    (
        "volumes: [data:/data, ./x:/x:ro, ../y:/y:rw, /z:/z]",
        {
            "volumes": (
                Volume("data", "/data"),
                Volume("/etc/wakeful/x", "/x", read_only=True),
                Volume("/etc/wakeful/../y", "/y"),
                Volume("/z", "/z"),
            )
        },
    ),
    (
        "secrets: {key: ./key.txt, pin: /run/pin}",
        {"secrets": (("key", "/etc/wakeful/key.txt"), ("pin", "/run/pin"))},
    ),
    ("network: host", {"network": "host"}),
    ("network: sandbox", {"network": "sandbox"}),
    ("network: bridge", {}),
    ("network: front_1", {"network": "front_1"}),
    ("networks: [db, cache_1]", {"networks": ("db", "cache_1")}),
    (
        "extra-hosts: ['db:10.0.0.5', 'up:host-gateway', 'six:[::1]']",
        {"extra_hosts": ("db:10.0.0.5", "up:host-gateway", "six:::1")},
    ),
    ("dns: [1.1.1.1, '::1']", {"dns": ("1.1.1.1", "::1")}),
    ("logging: {driver: local}", {"logging": Logging("local", ())}),
    (
        "logging: {options: {max-size: 1m}}",
        {"logging": Logging("json-file", (("max-file", "3"), ("max-size", "1m")))},
    ),
    (
        "logging: {driver: json-file, options: {compress: true}}",
        {
            "logging": Logging(
                options=(("compress", "true"), ("max-file", "3"), ("max-size", "10m"))
            )
        },
    ),
    ("container-runtime: runsc", {"container_runtime": "runsc"}),
]
SERVICE_KEYS: list[tuple[str, dict[str, Any]]] = [
    ("command: [python3, app.py]", {"command": ("python3", "app.py")}),
    ("command: python3 'my app.py' --n=1", {"command": ("python3", "my app.py", "--n=1")}),
    (
        "command: [echo, NO, 1.10, 0777, null, '']",
        {"command": (*["echo", "NO", "1.10", "0777", "null"], "")},
    ),
    ("port: 9000", {"port": 9000}),
    ("port: '9000'", {"port": 9000}),
    ("env: {TARGET: World}", {"env": (("TARGET", "World"),)}),
    ("env: {B: 2, A: 1}", {"env": (("A", "1"), ("B", "2"))}),
    ("env:", {"env": ()}),
    ("concurrency: 0", {"concurrency": 0}),
    ("concurrency: 1000", {"concurrency": 1000}),
    ("min-instances: 3", {"min_instances": 3}),
    ("max-instances: 40", {"max_instances": 40}),
    ("min-instances: 40\nmax-instances: 0", {"min_instances": 40, "max_instances": 0}),
    ("timeout: 10m", {"timeout": 600.0}),
    ("response-start-timeout: 5s", {"response_start_timeout": 5.0}),
    ("response-idle-timeout: 300s", {"response_idle_timeout": 300.0}),
    ("tunnel-idle-timeout: 0s", {"tunnel_idle_timeout": 0.0}),
    ("queue: {limit: 5}", {"queue": Queue(limit=5)}),
    ("queue: {timeout: 500ms}", {"queue": Queue(timeout=0.5)}),
    ("scale: {metric: rps}", {"scale": Scale(metric=Metric.RPS)}),
    ("scale: {metric: concurrency}", {"scale": Scale()}),
    ("scale: {target: 0.01}", {"scale": Scale(target=0.01)}),
    ("scale: {target: 500}", {"scale": Scale(target=500.0)}),  # above concurrency, as in Knative
    ("scale: {utilization: 80%}", {"scale": Scale(utilization=0.8)}),
    ("scale: {utilization: 0.8}", {"scale": Scale(utilization=0.8)}),
    ("scale: {window: 6s}", {"scale": Scale(window=6.0)}),
    (
        "scale: {aggregation: weighted-exponential}",
        {"scale": Scale(aggregation=Aggregation.WEIGHTED_EXPONENTIAL)},
    ),
    ("scale: {target-burst-capacity: -1}", {"scale": Scale(target_burst_capacity=-1.0)}),
    ("scale: {target-burst-capacity: 0}", {"scale": Scale(target_burst_capacity=0.0)}),
    ("scale: {window: 1h}", {"scale": Scale(window=3600.0)}),
    ("scale: {panic-window: 1%}", {"scale": Scale(panic_window=0.01)}),
    ("scale: {panic-window: 100}", {"scale": Scale(panic_window=1.0)}),
    ("scale: {panic-threshold: 110%}", {"scale": Scale(panic_threshold=1.1)}),
    ("scale: {panic-threshold: 1000}", {"scale": Scale(panic_threshold=10.0)}),
    ("scale: {down-delay: 15m}", {"scale": Scale(down_delay=900.0)}),
    ("scale: {retention: 1m30s}", {"scale": Scale(retention=90.0)}),
    ("scale: {initial: 0}", {"scale": Scale(initial=0)}),
    ("scale: {activation: 10}", {"scale": Scale(activation=10)}),
    ("scale: {max-up-rate: 1.1}", {"scale": Scale(max_up_rate=1.1)}),
    ("scale: {max-down-rate: 10}", {"scale": Scale(max_down_rate=10.0)}),
    ("readiness: {path: '/healthz?deep=1'}", {"readiness": Readiness(path="/healthz?deep=1")}),
    ("idle: {freeze-after: never}", {"idle": Idle(freeze_after=None)}),
    ("idle: {freeze-after: 0s, stop-after: 1h}", {"idle": Idle(0.0, 3600.0)}),
    ("idle: {stop-after: 0}", {"idle": Idle(10.0, 0.0)}),
    ("readiness: {timeout: 3s}", {"readiness": Readiness(timeout=3.0)}),
    ("cpu: 0.5", {"cpu": 0.5}),
    ("cpu: 250m", {"cpu": 0.25}),
    ("memory: 256Mi", {"memory": 268_435_456}),
    ("stop-grace: 0s", {"stop_grace": 0.0}),
    ("schedule: []", {"schedule": ()}),
    (
        "schedule: [{start: 0 8 * * mon-fri, end: '*/5 18 1,L * FRI#2'}]",
        {"schedule": (WarmWindow("0 8 * * mon-fri", "*/5 18 1,L * FRI#2", "UTC", 1),)},
    ),
    (
        "schedule:\n  - start: 0 8 * * *\n    end: 0 9 * * *\n    timezone: Europe/Berlin\n"
        "    min-instances: 10",
        {"schedule": (WarmWindow("0 8 * * *", "0 9 * * *", "Europe/Berlin", 10),)},
    ),
    ("waiting-page: true", {"waiting_page": WaitingPage(enabled=True)}),
    ("waiting-page: false", {"waiting_page": WaitingPage()}),
    ("waiting-page: {}", {"waiting_page": WaitingPage(enabled=True)}),
    (
        "waiting-page: {title: 'A & B', refresh: 5s}",
        {"waiting_page": WaitingPage(enabled=True, title="A & B", refresh=5.0)},
    ),
    ("cold-start-headers: false", {"cold_start_headers": False}),
    ("wake:", {"wake": Wake()}),
    ("wake: {ignore: []}", {"wake": Wake()}),
    (
        "wake: {ignore: [{path: /healthz, answer: 200}, {user-agent: '*bot*'}]}",
        {
            "wake": Wake(
                (
                    WakeFilter(path=("/healthz",), answer=200),
                    WakeFilter(user_agent=("*bot*",)),
                )
            )
        },
    ),
    (
        "wake: {ignore: [{path: [/a, '*b'], method: [GET, HEAD], address: [10.0.0.0/8, '::1']}]}",
        {
            "wake": Wake(
                (
                    WakeFilter(
                        path=("/a", "*b"),
                        method=("GET", "HEAD"),
                        address=(IPv4Network("10.0.0.0/8"), IPv6Network("::1/128")),
                    ),
                )
            )
        },
    ),
    ("max-request-body: 10Mi", {"max_request_body": 10_485_760}),
    *((lines, {"container": Container(**changes)}) for lines, changes in ONLY_CONTAINERS),
]


@pytest.mark.parametrize(("lines", "changes"), SERVICE_KEYS)
def test_every_key_of_a_service_is_honoured(lines: str, changes: dict[str, Any]) -> None:
    assert template(f"image: hello:1\n{lines}") == replace(Template(image="hello:1"), **changes)


@pytest.mark.parametrize(("lines", "changes"), SERVICE_KEYS)
def test_every_key_of_a_service_can_be_a_default(lines: str, changes: dict[str, Any]) -> None:
    defaults = "defaults:\n" + indent(lines, "  ") + "\n"
    assert template("image: hello:1", defaults) == replace(Template(image="hello:1"), **changes)


def test_an_image_can_be_a_default() -> None:
    assert template("command: [a]", top="defaults: {image: base}\n") == Template(
        image="base", command=("a",)
    )


@pytest.mark.parametrize(
    ("written", "text"),
    [
        ("NO", "NO"),
        ("off", "off"),
        ("1:30", "1:30"),
        ("1.10", "1.10"),
        ("0777", "0777"),
        ("1_000", "1_000"),
        ("null", "null"),
        ("~", "~"),
        ("", ""),
        ("''", ""),
        ("2024-01-01", "2024-01-01"),
        ("1e3", "1e3"),
        ("'two words'", "two words"),
        ("|\n        a\n        b", "a\nb\n"),
    ],
)
def test_a_variable_is_the_text_that_was_written(written: str, text: str) -> None:
    assert template(f"image: x\nenv:\n  KEY: {written}").env == (("KEY", text),)


def test_an_image_tag_is_not_a_number() -> None:
    assert template("image: 1.10").image == "1.10"
    assert template("image: registry:5000/a/b:1.10@sha256:00ff").image is not None


def test_a_waiting_page_of_the_defaults_can_be_had_without() -> None:
    top = "defaults: {waiting-page: {title: One moment}}\n"
    assert template("image: x", top).waiting_page == WaitingPage(True, "One moment")
    assert template("image: x\nwaiting-page: {refresh: 1s}", top).waiting_page == WaitingPage(
        True, "One moment", 1.0
    )
    assert not template("image: x\nwaiting-page: false", top).waiting_page.enabled


def test_upstreams_are_addresses() -> None:
    body = "upstreams: ['127.0.0.1:9001', 'localhost:9002', '[::1]:9003']"
    expected = (HostPort("127.0.0.1", 9001), HostPort("localhost", 9002), HostPort("::1", 9003))
    assert template(body) == Template(upstreams=expected)


def test_upstreams_can_be_limited_queued_and_named() -> None:
    text = (
        "services:\n  hello:\n    upstreams: ['127.0.0.1:9001']\n    concurrency: 4\n"
        "    timeout: 20s\n    response-start-timeout: 10s\n    queue: {limit: 1}\n"
        "    domains: [Hello.Example.com]\n"
    )
    hello = config(text).services["hello"]
    assert hello.domains == ("hello.example.com",)
    assert hello.template == Template(
        upstreams=(HostPort("127.0.0.1", 9001),),
        concurrency=4,
        timeout=20.0,
        response_start_timeout=10.0,
        queue=Queue(limit=1),
    )


def test_defaults_for_instances_do_not_reach_upstreams() -> None:
    top = "defaults: {image: base, env: {A: b}, cpu: 2, min-instances: 1, concurrency: 7}\n"
    assert template("upstreams: ['127.0.0.1:9001']", top) == Template(
        upstreams=(HostPort("127.0.0.1", 9001),), concurrency=7
    )


def test_a_service_wins_over_the_defaults_key_by_key() -> None:
    top = (
        "defaults:\n"
        "  port: 1\n"
        "  env: {A: default, B: default}\n"
        "  queue: {limit: 5, timeout: 5s}\n"
        "  scale: {target: 5, window: 30s}\n"
        "  readiness: {path: /ok, timeout: 2s}\n"
    )
    body = (
        "image: x\nport: 2\nenv: {B: own, C: own}\nqueue: {limit: 6}\n"
        "scale: {window: 40s}\nreadiness: {timeout: 3s}"
    )
    assert template(body, top) == Template(
        image="x",
        port=2,
        env=(("A", "default"), ("B", "own"), ("C", "own")),
        queue=Queue(6, 5.0),
        scale=Scale(target=5.0, window=40.0),
        readiness=Readiness("/ok", 3.0),
    )


def test_labels_secrets_and_limits_are_merged_as_variables_are_and_lists_are_not() -> None:
    top = (
        "defaults:\n"
        "  labels: {a: default, b: default}\n"
        "  secrets: {a: /default, b: /default}\n"
        "  ulimits: {core: 0, nofile: 10}\n"
        "  cap-add: [NET_RAW]\n"
        "  logging: {options: {max-size: 1m}}\n"
    )
    body = (
        "image: x\nlabels: {b: own}\nsecrets: {b: /own}\nulimits: {nofile: 20}\n"
        "cap-add: [SYS_TIME]\nlogging: {options: {max-file: 1}}"
    )
    assert template(body, top).container == Container(
        labels=(("a", "default"), ("b", "own")),
        secrets=(("a", "/default"), ("b", "/own")),
        ulimits=(("core", Ulimit(0, 0)), ("nofile", Ulimit(20, 20))),
        cap_add=("SYS_TIME",),
        logging=Logging(options=(("max-file", "1"), ("max-size", "10m"))),
    )


def test_lowering_the_timeout_lowers_the_time_to_the_first_byte_with_it() -> None:
    assert template("image: x\ntimeout: 20s").response_start_timeout == 20.0
    assert template("image: x\ntimeout: 20m").response_start_timeout == 300.0
    top = "defaults: {timeout: 100s, response-start-timeout: 50s}\n"
    assert template("image: x\ntimeout: 20s", top).response_start_timeout == 20.0
    assert template("image: x\ntimeout: 90s", top).response_start_timeout == 50.0


def test_an_answer_that_does_not_begin_is_silent_too() -> None:
    assert template("image: x\nresponse-idle-timeout: 5s").response_start_timeout == 5.0
    both = template("image: x\nresponse-idle-timeout: 5s\nresponse-start-timeout: 3s")
    assert (both.response_start_timeout, both.response_idle_timeout) == (3.0, 5.0)


def test_services_are_kept_in_the_order_of_the_file() -> None:
    text = "services: {b: {image: x}, a: {image: x}, c: {image: x}}"
    assert list(config(text).services) == ["b", "a", "c"]


def test_a_service_may_name_its_own_address_among_its_domains() -> None:
    text = "services: {a: {image: x, domains: [a.localhost, a.example]}}"
    assert config(text).services["a"].domains == ("a.localhost", "a.example")


def test_requests_may_be_shared_between_revisions() -> None:
    text = "services: {a: {image: x, traffic: [{revision: a-00003, percent: 90}, {percent: 10}]}}"
    shares = (TrafficTarget(90, "a-00003"), TrafficTarget(10))
    assert config(text).services["a"].traffic == shares
    assert config("services: {a: {image: x}}").services["a"].traffic == (TrafficTarget(100),)


def test_a_rollout_may_have_its_duration_from_the_defaults() -> None:
    text = "defaults: {rollout-duration: 5m}\nservices: {a: {image: x}, b: {upstreams: [h:1]}}"
    assert [one.rollout_duration for one in config(text).services.values()] == [300, 300]
    own = config(text.replace("image: x", "image: x, rollout-duration: 0s")).services["a"]
    assert own.rollout_duration == 0


def test_a_name_may_be_as_long_as_its_revisions_allow() -> None:
    assert len(config(f"services: {{{'a' * 57}: {{image: x}}}}").services) == 1


def test_anchors_can_be_kept_under_a_key_of_ones_own_and_merged() -> None:
    text = (
        "x-common: &common\n  cpu: 0.5\n  env: &env {A: '1'}\n"
        "services:\n"
        "  a:\n    <<: *common\n    image: a\n"
        "  b:\n    <<: *common\n    image: b\n    cpu: 2\n    env: {<<: *env, B: '2'}\n"
    )
    services = config(text).services
    assert services["a"].template == Template(image="a", cpu=0.5, env=(("A", "1"),))
    assert services["b"].template == Template(image="b", cpu=2.0, env=(("A", "1"), ("B", "2")))


def test_the_example_of_the_contract_is_read_as_it_stands() -> None:
    text = """\
listen: "127.0.0.1:8080"      # the data plane; default ":8080"
admin: "127.0.0.1:9900"       # /healthz /readyz /metrics /v1/... and the dashboard
domain: localhost             # NAME.domain reaches service NAME
runtime: auto                 # auto | docker | process
state-dir: ./.wakeful
access-log: {format: json, file: "-"}   # json | common | combined | off
defaults: {}                  # any service key below
services:
  hello:
    image: hello:1
    command: [python3, app.py]
    port: 8080
    env: {TARGET: World}
    domains: [hello.example.com]
    concurrency: 80           # hard limit per instance; 0 = none
    min-instances: 0
    max-instances: 10
    timeout: 300s             # whole request, waiting included
    response-start-timeout: 300s
    queue: {limit: 1000, timeout: 60s}
    scale: {metric: concurrency, target: 100, utilization: 70%, window: 60s,
            panic-window: 10%, panic-threshold: 200%, down-delay: 0s, retention: 0s, initial: 1,
            activation: 1, max-up-rate: 1000, max-down-rate: 2}
    readiness: {path: /healthz, timeout: 1s}   # default: a TCP connect
    cpu: 0.5
    memory: 256Mi
    stop-grace: 10s
"""
    hello = Service(
        "hello",
        Template(
            image="hello:1",
            command=("python3", "app.py"),
            env=(("TARGET", "World"),),
            scale=Scale(target=100.0),
            readiness=Readiness("/healthz", 1.0),
            cpu=0.5,
            memory=268_435_456,
        ),
        ("hello.example.com",),
    )
    assert config(text) == Config(
        listen=HostPort("127.0.0.1", 8080),
        state_dir=Path("/etc/wakeful/.wakeful"),
        services={"hello": hello},
        directory=DIRECTORY,
    )
