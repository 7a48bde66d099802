"""Files that are wrong, and every line that is said about them."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from wakeful.config import model, schema, waking
from wakeful.config.load import ConfigError, Loaded, loads
from wakeful.config.nodes import Entry, Mapping, Node, Scalar, Sequence
from wakeful.config.parse import parse
from wakeful.config.schema import unknown_key
from wakeful.scaler.schedule import scheduled


def faults(text: str) -> list[str]:
    with pytest.raises(ConfigError) as refusal:
        loads(dedent(text), Path("/etc/wakeful"), "f")
    return str(refusal.value).splitlines()


def service_fault(body: str) -> str:
    """What is said about a service with one line more than an image."""
    [fault] = faults(f"services:\n  a:\n    image: x\n    {body}\n")
    return fault


WHOLE_FILES = [
    ("", ["f:1:1: file: the file is empty; at least 'services' is needed"]),
    ("# nothing\n", ["f:1:1: file: the file is empty; at least 'services' is needed"]),
    ("{}", ["f:1:1: services: at least one service is needed"]),
    ("services: {}", ["f:1:1: services: at least one service is needed"]),
    ("domain: a\nservices:\n", ["f:2:1: services: at least one service is needed"]),
    ("hello", ["f:1:1: file: expected a mapping (KEY: VALUE) with at least 'services'"]),
    ("- a\n", ["f:1:1: file: expected a mapping (KEY: VALUE) with at least 'services'"]),
    ("services: 5", ["f:1:11: services: expected a mapping (KEY: VALUE), not '5'"]),
    ("services: [a]", ["f:1:11: services: expected a mapping (KEY: VALUE), not a list"]),
    (
        "services: {a: {image: x}}\n---\nservices: {b: {image: x}}\n",
        ["f:2:1: file: a second document; one file holds one configuration"],
    ),
    (
        "apiVersion: serving.knative.dev/v1\nkind: Service\n---\napiVersion: v1\n",
        [
            "f:2:1: metadata.name: is needed",
            "f:4:13: apiVersion: expected serving.knative.dev/v1, not 'v1'",
        ],
    ),
    (
        "kind: Pod\napiVersion: v1\n",
        ["f:2:1: apiVersion: this is a Kubernetes manifest, not a wakeful configuration"],
    ),
    (
        "services:\n  a: {image: x}\n  a: {image: y}\n",
        ["f:3:3: services.a: duplicate key; it is first given on line 2"],
    ),
    (
        "services: {a: {image: x}}\nfrozen-memory: 120%",
        ["f:2:16: frozen-memory: must be 0% to 100%, or an amount such as 2Gi, not 120%"],
    ),
    (
        "services: {a: {image: x}}\napiVersion: [1]\n",
        [
            "f:2:1: apiVersion: unknown key; known here are listen, admin, domain, runtime, "
            "freezer, frozen-memory, reach, state-dir, access-log, trusted-proxies, "
            "simultaneous-starts, defaults, services"
        ],
    ),
]


@pytest.mark.parametrize(("text", "expected"), WHOLE_FILES)
def test_a_file_that_is_no_configuration_says_why(text: str, expected: list[str]) -> None:
    assert faults(text) == expected


def test_everything_wrong_is_said_at_once_in_the_order_of_the_file() -> None:
    assert faults("""\
        listen: 8080
        domian: localhost
        runtime: dokcer
        access-log: jsn
        defaults:
          port: 0
          domains: [a.example]
        services:
          Hello:
            image: hello:1
            image: hello:2
            window: 60s
            scale: {windw: 5s, window: 5s}
          world:
            imge: world
            cpu: half
          last: []
        """) == [
        "f:1:9: listen: expected an address such as 127.0.0.1:8080, [::1]:8080 or :8080, "
        "not '8080'; write :8080 for every interface",
        "f:2:1: domian: unknown key; did you mean 'domain'?",
        "f:3:10: runtime: expected one of auto, docker, process, not 'dokcer'; "
        "did you mean 'docker'?",
        "f:4:13: access-log: expected one of json, common, combined, off, not 'jsn'; "
        "did you mean 'json'?",
        "f:6:9: defaults.port: must be 1 to 65535, not 0",
        "f:7:12: defaults.domains: belongs to one service and cannot be a default",
        "f:9:3: services.Hello: the name of a service has at most 57 lower-case letters, "
        "digits and inner '-', such as 'hello'",
        "f:11:5: services.Hello.image: duplicate key; it is first given on line 10",
        "f:12:5: services.Hello.window: unknown key here; it belongs in 'scale'",
        "f:13:13: services.Hello.scale.windw: unknown key; did you mean 'window'?",
        "f:13:32: services.Hello.scale.window: must be 6s to 1h in whole seconds, not 5s",
        "f:14:3: services.world: one of 'image', 'command' and 'upstreams' is needed",
        "f:15:5: services.world.imge: unknown key; did you mean 'image'?",
        "f:16:10: services.world.cpu: expected a number of cores such as 0.5, 2 or 500m, "
        "not 'half'",
        "f:17:9: services.last: expected a mapping (KEY: VALUE), not a list",
    ]


BAD_VALUES = [
    ("image: [x]", "4:5", "image", "duplicate key; it is first given on line 3"),
    ("command:", "4:13", "command", "the value is missing"),
    ("command: []", "4:14", "command", "the command is empty"),
    ("command: ['', a]", "4:14", "command", "the command is empty"),
    ("command: ''", "4:14", "command", "the command is empty"),
    ("command: sh -c 'x", "4:14", "command", "cannot be split into words: no closing quotation"),
    ("command: {a: b}", "4:14", "command", "expected a list of words, not a mapping"),
    ("command: [a, [b]]", "4:18", "command[1]", "expected a text, not a list"),
    ("port: 0777", "4:11", "port", "expected a whole number in decimal digits, not '0777'"),
    ("port: 1:30", "4:11", "port", "expected a whole number in decimal digits, not '1:30'"),
    ("port: 65536", "4:11", "port", "must be 1 to 65535, not 65536"),
    ("port: [80]", "4:11", "port", "expected a single value, not a list"),
    ("port: ", "4:10", "port", "the value is missing"),
    ("env: [A=b]", "4:10", "env", "expected a mapping (NAME: value), not a list of NAME=value"),
    ("env: {PORT: 1}", "4:11", "env.PORT", "wakeful sets this variable itself"),
    ("env: {K_SERVICE: x}", "4:11", "env.K_SERVICE", "wakeful sets this variable itself"),
    ("env: {K_REVISION: x}", "4:11", "env.K_REVISION", "wakeful sets this variable itself"),
    (
        "env: {K_CONFIGURATION: x}",
        "4:11",
        "env.K_CONFIGURATION",
        "wakeful sets this variable itself",
    ),
    ("env: {A: [b]}", "4:14", "env.A", "expected a text, not a list"),
    (
        "env: {'A=': b}",
        "4:11",
        "env.'A='",
        "the name of a variable may not be empty or contain '='",
    ),
    ("domains: a.example", "4:14", "domains", "expected a list of host names, not 'a.example'"),
    (
        "domains: ['*.a.example']",
        "4:15",
        "domains[0]",
        "wildcards are not supported: '*.a.example'",
    ),
    ("concurrency: 1001", "4:18", "concurrency", "must be 0 to 1000 (0 means no limit), not 1001"),
    (
        "min-instances: -1",
        "4:20",
        "min-instances",
        "expected a whole number in decimal digits, not '-1'",
    ),
    ("timeout: 0s", "4:14", "timeout", "must be more than 0s, not 0s"),
    ("response-start-timeout: 0", "4:29", "response-start-timeout", "must be more than 0s, not 0"),
    (
        "response-start-timeout: 301s",
        "4:29",
        "response-start-timeout",
        "must be at most the timeout of 300s",
    ),
    (
        "response-idle-timeout: 301s",
        "4:28",
        "response-idle-timeout",
        "must be at most the timeout of 300s",
    ),
    ("queue: 5", "4:12", "queue", "expected a mapping (KEY: VALUE), not '5'"),
    ("queue: {timeout: 0s}", "4:22", "queue.timeout", "must be more than 0s, not 0s"),
    (
        "scale: {metric: cpu}",
        "4:21",
        "scale.metric",
        "expected one of concurrency, rps, not 'cpu'",
    ),
    ("scale: {target: 0}", "4:21", "scale.target", "must be 0.01 or more, not 0"),
    ("scale: {utilization: 101%}", "4:26", "scale.utilization", "must be 1% to 100%, not 101%"),
    ("scale: {window: 5s}", "4:21", "scale.window", "must be 6s to 1h in whole seconds, not 5s"),
    (
        "scale: {window: 3601s}",
        "4:21",
        "scale.window",
        "must be 6s to 1h in whole seconds, not 3601s",
    ),
    (
        "scale: {window: 6500ms}",
        "4:21",
        "scale.window",
        "must be 6s to 1h in whole seconds, not 6500ms",
    ),
    (
        "scale: {down-delay: 1.5s}",
        "4:25",
        "scale.down-delay",
        "must be 0s to 1h in whole seconds, not 1.5s",
    ),
    ("scale: {retention: 61m}", "4:24", "scale.retention", "must be 0s to 1h, not 61m"),
    ("scale: {panic-window: 0.5%}", "4:27", "scale.panic-window", "must be 1% to 100%, not 0.5%"),
    (
        "scale: {panic-threshold: 2}",
        "4:30",
        "scale.panic-threshold",
        "must be 110% to 1000%, not 2; a bare number is a fraction up to 1 and a percentage "
        "above it, so 2 means 2%: write 200%",
    ),
    (
        "scale: {panic-threshold: 0.5}",
        "4:30",
        "scale.panic-threshold",
        "must be 110% to 1000%, not 0.5; a bare number is a fraction up to 1 and a percentage "
        "above it, so 0.5 means 50%",
    ),
    (
        "scale: {target-burst-capacity: -11}",
        "4:36",
        "scale.target-burst-capacity",
        "must be 0 or more, or -1 (as much as there is), not -11",
    ),
    ("scale: {activation: 0}", "4:25", "scale.activation", "must be 1 or more, not 0"),
    (
        "scale: {activation: 11}",
        "4:25",
        "scale.activation",
        "scale.activation (11) is more than max-instances (10)",
    ),
    ("scale: {max-up-rate: 1}", "4:26", "scale.max-up-rate", "must be more than 1, not 1"),
    ("scale: {max-down-rate: 1.0}", "4:28", "scale.max-down-rate", "must be more than 1, not 1.0"),
    (
        "readiness: {path: healthz}",
        "4:23",
        "readiness.path",
        "expected a path that begins with '/', not 'healthz'",
    ),
    (
        'readiness: {path: "/a b\\r\\n"}',
        "4:23",
        "readiness.path",
        "expected a path that begins with '/', not '/a b\\r\\n'",
    ),
    (
        "idle: {stop-after: never}",
        "4:24",
        "idle.stop-after",
        "expected a duration such as 250ms, 30s, 5m or 1h30m, not 'never'",
    ),
    (
        "idle: {freeze-after: soon}",
        "4:26",
        "idle.freeze-after",
        "expected a duration such as 250ms, 30s, 5m or 1h30m, not 'soon'; "
        "'never' is possible as well",
    ),
    ("freeze-after: 1s", "4:5", "freeze-after", "unknown key here; it belongs in 'idle'"),
    ("readiness: {timeout: 0s}", "4:26", "readiness.timeout", "must be more than 0s, not 0s"),
    ("cpu: 0.001", "4:10", "cpu", "must be 0.01 (10m) or more, not 0.001"),
    ("memory: 5Mi", "4:13", "memory", "must be 6Mi or more, not 5Mi"),
    (
        "schedule: {start: 0 8 * * *}",
        "4:15",
        "schedule",
        "expected a list of windows, not a mapping",
    ),
    (
        "schedule: [{min-instances: 2}]",
        "4:16",
        "schedule[0]",
        "start and end is needed",
    ),
    (
        "schedule: [{start: 0 8 * * *}]",
        "4:16",
        "schedule[0]",
        "end is needed",
    ),
    (
        "schedule: [{start: 08:00, end: 0 9 * * *}]",
        "4:24",
        "schedule[0].start",
        "expected five fields (minute, hour, day, month, weekday) such as '0 8 * * mon-fri', "
        "not '08:00'",
    ),
    (
        "schedule: [{start: 0 8 * * *, end: 0 24 * * *}]",
        "4:40",
        "schedule[0].end",
        "not a cron expression: '0 24 * * *': bad hour",
    ),
    (
        "schedule: [{start: 0 0 30 2 *, end: 0 9 * * *}]",
        "4:24",
        "schedule[0].start",
        "not a cron expression: '0 0 30 2 *': bad day-of-month",
    ),
    (
        "schedule: [{start: '0 0 */30 2 sun#5', end: 0 9 * * *}]",
        "4:24",
        "schedule[0].start",
        "there is no such time: '0 0 */30 2 sun#5'",
    ),
    (
        "schedule: [{start: 0 8 * * *, end: 0 9 * * *, timezone: Europe/Berlyn}]",
        "4:61",
        "schedule[0].timezone",
        "not a time zone: 'Europe/Berlyn'; did you mean Europe/Berlin?",
    ),
    (
        "schedule: [{start: 0 8 * * *, end: 0 9 * * *, timezone: ../../etc/passwd}]",
        "4:61",
        "schedule[0].timezone",
        "not a time zone: '../../etc/passwd', such as Europe/Berlin",
    ),
    (
        "schedule: [{start: 0 8 * * *, end: 0 9 * * *, min-instances: 0}]",
        "4:66",
        "schedule[0].min-instances",
        "must be 1 or more, not 0",
    ),
    (
        "schedule: [{start: 0 8 * * *, end: 0 9 * * *, min-instances: 11}]",
        "4:66",
        "schedule[0].min-instances",
        "min-instances of the schedule (11) is more than max-instances (10)",
    ),
    (
        "waiting-page: yes",
        "4:19",
        "waiting-page",
        "expected true or false, not 'yes'",
    ),
    (
        "waiting-page: [a]",
        "4:19",
        "waiting-page",
        "expected a mapping (KEY: VALUE), not a list",
    ),
    (
        "waiting-page: {refresh: 6s}",
        "4:29",
        "waiting-page.refresh",
        "must be 1s to 5s in whole seconds, not 6s",
    ),
    (
        "wake: {ignore: {path: /a}}",
        "4:20",
        "wake.ignore",
        "expected a list of conditions, not a mapping",
    ),
    (
        "wake: {ignore: [{answer: 200}]}",
        "4:21",
        "wake.ignore[0]",
        "at least one of path, method, user-agent, address is needed",
    ),
    (
        "wake: {ignore: [{path: healthz}]}",
        "4:28",
        "wake.ignore[0].path",
        "expected a path such as /healthz or /health/*, not 'healthz'",
    ),
    (
        "wake: {ignore: [{path: [/a, '/b?c']}]}",
        "4:33",
        "wake.ignore[0].path[1]",
        "only the path is looked at, without its query: '/b?c'",
    ),
    (
        "wake: {ignore: [{method: head}]}",
        "4:30",
        "wake.ignore[0].method",
        "expected a method in capitals such as HEAD, not 'head'",
    ),
    (
        "wake: {ignore: [{user-agent: []}]}",
        "4:34",
        "wake.ignore[0].user-agent",
        "at least one is needed",
    ),
    (
        "wake: {ignore: [{user-agent: ''}]}",
        "4:34",
        "wake.ignore[0].user-agent",
        "expected a text such as *UptimeRobot*, not ''",
    ),
    (
        "wake: {ignore: [{address: 10.0.0.1/8}]}",
        "4:31",
        "wake.ignore[0].address",
        "10.0.0.1/8 has bits set beyond its prefix; did you mean 10.0.0.0/8?",
    ),
    (
        "wake: {ignore: [{path: /a, answer: 301}]}",
        "4:40",
        "wake.ignore[0].answer",
        "expected one of 200, 202, 204, 403, 404, 410, 429, 503, not '301'",
    ),
    (
        "wake: {ignore: [{agent: x}]}",
        "4:22",
        "wake.ignore[0].agent",
        "unknown key; did you mean 'user-agent'?",
    ),
    (
        "ignore: []",
        "4:5",
        "ignore",
        "unknown key here; it belongs in 'wake'",
    ),
    (
        "rollout-duration: 500ms",
        "4:23",
        "rollout-duration",
        "must be 0s or more in whole seconds, not 500ms",
    ),
    (
        "traffic: [{revision: a-00001, percent: 90}]",
        "4:5",
        "traffic",
        "the percents sum to 90, not 100",
    ),
    (
        "traffic: [{revision: a-00001, percent: 90}, {revision: a-00001, percent: 10}]",
        "4:49",
        "traffic[1]",
        "a-00001 has a share already",
    ),
    (
        "traffic: [{percent: 90}, {percent: 10}]",
        "4:30",
        "traffic[1]",
        "the latest revision has a share already",
    ),
    (
        "traffic: [{revision: b-00001, percent: 100}]",
        "4:26",
        "traffic[0].revision",
        "b-00001 is no revision of a",
    ),
    (
        "traffic: [{revision: latest, percent: 100}]",
        "4:26",
        "traffic[0].revision",
        "expected a revision such as hello-00001, not 'latest'",
    ),
    (
        "traffic: [{revision: a-00001}]",
        "4:15",
        "traffic[0]",
        "'percent' is needed",
    ),
    (
        "traffic: [{percent: 101}]",
        "4:25",
        "traffic[0].percent",
        "must be 0 to 100, not 101",
    ),
    (
        "traffic: [{revisionName: a-00001, percent: 100}]",
        "4:16",
        "traffic[0].revisionName",
        "unknown key; did you mean 'revision'?",
    ),
    (
        "min-instances: 11",
        "4:20",
        "min-instances",
        "min-instances (11) is more than max-instances (10)",
    ),
    (
        "pull: allways",
        "4:11",
        "pull",
        "expected one of always, missing, never, not 'allways'; did you mean 'always'?",
    ),
    ("init: yes", "4:11", "init", "expected true or false, not 'yes'"),
    ("read-only: 1", "4:16", "read-only", "expected true or false, not '1'"),
    (
        "cap-add: [NET_ADMINN]",
        "4:15",
        "cap-add[0]",
        "expected a capability such as NET_RAW, or ALL, not 'NET_ADMINN'; "
        "did you mean 'NET_ADMIN'?",
    ),
    ("cap-drop: ALL", "4:15", "cap-drop", "expected a list of capabilities, not 'ALL'"),
    (
        "pids-limit: -1",
        "4:17",
        "pids-limit",
        "expected a whole number in decimal digits, not '-1'",
    ),
    (
        "ulimits: {nofiles: 1}",
        "4:15",
        "ulimits.nofiles",
        "expected a limit such as nofile, not 'nofiles'; did you mean 'nofile'?",
    ),
    ("ulimits: {nofile: {soft: 1}}", "4:23", "ulimits.nofile", "hard is needed too"),
    (
        "ulimits: {nofile: {soft: 2, hard: 1}}",
        "4:23",
        "ulimits.nofile",
        "soft (2) is above hard (1)",
    ),
    (
        "ulimits: {nofile: {soft: -1, hard: 9}}",
        "4:23",
        "ulimits.nofile",
        "soft (-1) is above hard (9)",
    ),
    (
        "ulimits: {nofile: {soft: x, hard: 1}}",
        "4:30",
        "ulimits.nofile.soft",
        "expected a whole number in decimal digits, not 'x'",
    ),
    (
        "ulimits: [nofile=1]",
        "4:14",
        "ulimits",
        "expected a mapping (NAME: LIMIT), not a list of NAME=LIMIT",
    ),
    (
        "volumes: [/data]",
        "4:15",
        "volumes[0]",
        "expected SOURCE:TARGET or SOURCE:TARGET:ro, such as ./data:/data, not '/data'",
    ),
    (
        "volumes: ['~/x:/x']",
        "4:15",
        "volumes[0]",
        "expected a path ('~' is not expanded), not '~/x'",
    ),
    (
        "volumes: ['data/x:/x']",
        "4:15",
        "volumes[0]",
        "a relative path begins with ./: write './data/x'",
    ),
    (
        "volumes: ['-x:/x']",
        "4:15",
        "volumes[0]",
        "expected a path that begins with / or ./, or the name of a volume, not '-x'",
    ),
    (
        "volumes: ['x1:x']",
        "4:15",
        "volumes[0]",
        "expected an absolute path inside the container, not 'x'",
    ),
    (
        "volumes: ['x1:/a/../..']",
        "4:15",
        "volumes[0]",
        "expected an absolute path inside the container, not '/a/../..'",
    ),
    (
        "volumes: ['x1://']",
        "4:15",
        "volumes[0]",
        "the root of the container cannot be mounted over",
    ),
    (
        "volumes: ['x1:/x:z']",
        "4:15",
        "volumes[0]",
        "expected ro or rw after the target, not 'z'",
    ),
    ("tmpfs: ['/tmp:']", "4:13", "tmpfs[0]", "the options are missing after ':' in '/tmp:'"),
    (
        "secrets: [key]",
        "4:14",
        "secrets",
        "expected a mapping (NAME: FILE), not a list of NAME=FILE",
    ),
    ("secrets: {a/b: x}", "4:15", "secrets.'a/b'", "expected a name for a file in /run/secrets"),
    ("secrets: {a: ''}", "4:18", "secrets.a", "expected a path ('~' is not expanded), not ''"),
    (
        "labels: {wakeful.owner: x}",
        "4:14",
        "labels.'wakeful.owner'",
        "a label needs a name, and wakeful.* are wakeful's own",
    ),
    ("logging: {options: {'': x}}", "4:25", "logging.options.''", "an option needs a name"),
    (
        "extra-hosts: [db]",
        "4:19",
        "extra-hosts[0]",
        "expected NAME:ADDRESS such as db:10.0.0.5, or NAME:host-gateway, not 'db'",
    ),
    ("dns: [a.b]", "4:11", "dns[0]", "expected the address of a name server, not 'a.b'"),
    (
        "stop-signal: QUIT",
        "4:18",
        "stop-signal",
        "expected a signal such as SIGQUIT, not 'QUIT'",
    ),
    ("user: 'a b'", "4:11", "user", "expected a user such as 1000, 1000:1000 or app, not 'a b'"),
]


@pytest.mark.parametrize(("line", "place", "key", "message"), BAD_VALUES)
def test_a_bad_value_is_refused_where_it_stands(
    line: str, place: str, key: str, message: str
) -> None:
    assert service_fault(line) == f"f:{place}: services.a.{key}: {message}"


@pytest.mark.parametrize("zone", ["Europe", "europe/berlin", "CET+1", "/etc/localtime", "''"])
def test_a_time_zone_is_one_of_the_database(zone: str) -> None:
    window = f"{{start: 0 8 * * *, end: 0 9 * * *, timezone: {zone}}}"
    fault = service_fault(f"schedule: [{window}]")
    assert fault.startswith("f:4:61: services.a.schedule[0].timezone: not a time zone: ")


@given(st.text("0123456789*/,-#LWmonfrisu ", max_size=20))
@example("0 0 1 1 1L")
@example("0 0 L/2 * *")
@example("* * * * 1#2/3")
@example("* * * * ²L")
def test_any_cron_expression_is_taken_or_refused(text: str) -> None:
    try:
        taken = waking.cron(text)
    except ValueError:
        return
    assert taken == text
    assert scheduled([model.WarmWindow(text, text)], 1.7e9).until > 1.7e9


def test_an_image_is_one_word() -> None:
    assert faults("services: {a: {image: 'a b'}, b: {image: ''}}") == [
        "f:1:23: services.a.image: expected an image such as hello:1.10, not 'a b'",
        "f:1:42: services.b.image: expected an image such as hello:1.10, not ''",
    ]


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("admin: ':8080'", "admin: listen (:8080) and admin (:8080) overlap"),
        ("admin: '127.0.0.1:8080'", "admin: listen (:8080) and admin (127.0.0.1:8080) overlap"),
        ("listen: '[::]:9900'", "listen: listen ([::]:9900) and admin (127.0.0.1:9900) overlap"),
        (
            "listen: localhost:9900",
            "listen: listen (localhost:9900) and admin (127.0.0.1:9900) overlap",
        ),
    ],
)
def test_both_listeners_on_one_address_are_refused(line: str, fault: str) -> None:
    assert faults(f"services: {{a: {{image: x}}}}\n{line}\n") == [
        f"f:2:{line.index(':') + 3}: {fault}"
    ]


def test_two_addresses_of_this_machine_may_share_a_port() -> None:
    text = "services: {a: {image: x}}\nlisten: '127.0.0.2:9900'\n"
    assert loads(text, Path("/")).config.listen.port == 9900


@pytest.mark.parametrize("path", ["~/state", "''"])
def test_a_path_that_would_not_be_where_it_seems_is_refused(path: str) -> None:
    [fault] = faults(f"services: {{a: {{image: x}}}}\nstate-dir: {path}\n")
    assert fault.startswith("f:2:12: state-dir: expected a path ('~' is not expanded), not ")


def test_a_parent_domain_leaves_room_for_the_names_below_it() -> None:
    domain = ".".join(["a" * 49] * 4)
    assert faults(f"services: {{a: {{image: x}}}}\ndomain: {domain}\n") == [
        "f:2:9: domain: must be at most 195 characters, so that NAME.domain is a host name"
    ]


# What answers


def test_upstreams_exclude_everything_about_instances() -> None:
    assert faults("""\
        services:
          a:
            upstreams: ['127.0.0.1:9001']
            image: x
            command: [x]
            port: 80
            env: {A: b}
            min-instances: 1
            max-instances: 1
            scale: {target: 1}
            readiness: {path: /}
            cpu: 1
            memory: 1Gi
            stop-grace: 1s
            read-only: false
            wake: {ignore: []}
            waiting-page: true
            schedule: []
        """) == [
        *(
            f"f:{line}:{column}: services.a.{key}: either upstreams answer, or instances of an "
            "image or a command; not both"
            for line, column, key in [(4, 12, "image"), (5, 5, "command")]
        ),
        *(
            f"f:{line}:{column}: services.a.{key}: has no meaning beside 'upstreams', which are "
            "never started, stopped or probed"
            for line, column, key in [
                (6, 11, "port"),
                (7, 5, "env"),
                (8, 20, "min-instances"),
                (9, 20, "max-instances"),
                (10, 5, "scale"),
                (11, 5, "readiness"),
                (12, 10, "cpu"),
                (13, 13, "memory"),
                (14, 17, "stop-grace"),
                (15, 16, "read-only"),
                (16, 5, "wake"),
                (17, 19, "waiting-page"),
                (18, 5, "schedule"),
            ]
        ),
    ]


def test_what_has_no_meaning_is_not_held_against_other_rules_too() -> None:
    [fault] = faults("services: {a: {upstreams: ['a:1'], min-instances: 20}}")
    assert fault.startswith("f:1:51: services.a.min-instances: has no meaning beside 'upstreams'")


def test_upstreams_are_at_least_one_whole_address() -> None:
    assert faults("services: {a: {upstreams: []}, b: {upstreams: [':80', 'x:y', '[::1]:1']}}") == [
        "f:1:16: services.a.upstreams: at least one address is needed",
        "f:1:48: services.b.upstreams[0]: expected an address with a host such as "
        "127.0.0.1:9001, not ':80'",
        "f:1:55: services.b.upstreams[1]: expected an address such as 127.0.0.1:8080, "
        "[::1]:8080 or :8080, not 'x:y'",
    ]


def test_upstreams_cannot_be_a_default() -> None:
    assert faults("defaults: {upstreams: ['a:1']}\nservices: {a: {image: x}}\n") == [
        "f:1:23: defaults.upstreams: belongs to one service and cannot be a default"
    ]


def test_with_runtime_docker_a_command_needs_an_image() -> None:
    message = (
        "with runtime docker a command needs an 'image' to run in; "
        "'runtime: process' runs it on this host"
    )
    assert faults("""\
        runtime: docker
        services:
          a: {command: [x]}
          b: {upstreams: ['a:1']}
          c: {image: x, command: [x]}
          d: {}
          e: {image: [], command: [x]}
        """) == [
        f"f:3:7: services.a.command: {message}",
        "f:6:3: services.d: one of 'image', 'command' and 'upstreams' is needed",
        "f:7:14: services.e.image: expected a single value, not a list",
    ]


def test_with_runtime_process_what_a_process_cannot_have_is_refused_where_it_is_said() -> None:
    assert faults("""\
        runtime: process
        defaults: {cpu: 1}
        services:
          a: {image: x}
          b: {command: [x], memory: 1Gi, port: x}
        """) == [
        "f:2:17: defaults.cpu: runtime process cannot limit cpu; leave it out",
        "f:4:14: services.a.image: runtime process cannot run an image; give a 'command', "
        "or use 'runtime: docker'",
        "f:5:29: services.b.memory: runtime process cannot limit memory; leave it out",
        "f:5:40: services.b.port: expected a whole number in decimal digits, not 'x'",
    ]


# Rules between keys


def test_one_place_in_a_container_holds_one_thing() -> None:
    assert faults("""\
        defaults: {tmpfs: ['/run/secrets/key']}
        services:
          a: {image: x, secrets: {key: ./key}, volumes: [one:/data, 'two://data/:ro']}
        """) == [
        "f:1:20: defaults.tmpfs[0]: /run/secrets/key is mounted by secrets.key already",
        "f:3:61: services.a.volumes[1]: /data is mounted by volumes[0] already",
    ]


def test_a_default_that_breaks_a_rule_is_said_once() -> None:
    assert faults("""\
        defaults: {min-instances: 20}
        services: {a: {image: x}, b: {image: x}}
        """) == [
        "f:1:27: defaults.min-instances: min-instances (20) is more than max-instances (10)"
    ]


def test_a_service_that_breaks_a_rule_with_a_default_is_told_so_itself() -> None:
    assert faults("""\
        defaults: {min-instances: 2, timeout: 60s, scale: {activation: 3}}
        services:
          a: {image: x, max-instances: 1}
          b: {image: x, response-start-timeout: 61s}
          c: {image: x, response-idle-timeout: 61s}
        """) == [
        "f:3:32: services.a.max-instances: min-instances (2) is more than max-instances (1)",
        "f:3:32: services.a.max-instances: scale.activation (3) is more than max-instances (1)",
        "f:4:41: services.b.response-start-timeout: must be at most the timeout of 60s",
        "f:5:40: services.c.response-idle-timeout: must be at most the timeout of 60s",
    ]


def test_a_rule_is_not_held_against_a_value_that_is_wrong_itself() -> None:
    assert faults("""\
        defaults: {timeout: x}
        services:
          a: {image: x, min-instances: 20, max-instances: x, scale: {activation: 20}}
          b: {image: x, response-start-timeout: 400s}
        """) == [
        "f:1:21: defaults.timeout: expected a duration such as 250ms, 30s, 5m or 1h30m, not 'x'",
        "f:3:51: services.a.max-instances: expected a whole number in decimal digits, not 'x'",
    ]


def test_defaults_are_checked_even_when_no_service_uses_them() -> None:
    assert faults("defaults: {port: x, envv: {}}\n") == [
        "f:1:1: services: at least one service is needed",
        "f:1:18: defaults.port: expected a whole number in decimal digits, not 'x'",
        "f:1:21: defaults.envv: unknown key; did you mean 'env'?",
    ]


def test_a_host_name_leads_to_one_service() -> None:
    assert faults("""\
        domain: example.com
        services:
          a: {image: x, domains: [www.example.org, A.example.com]}
          b: {image: x, domains: [WWW.example.org, a.example.com]}
          c: {image: x, domains: [c.example.org, c.example.org]}
        """) == [
        "f:4:27: services.b.domains[0]: www.example.org is claimed by service 'a' already",
        "f:4:44: services.b.domains[1]: a.example.com is how service 'a' is reached already",
        "f:5:42: services.c.domains[1]: c.example.org is claimed by this service already",
    ]


@pytest.mark.parametrize("name", ["a" * 58, "-a", "a-", "a.b", "a b", "", "ä", "a\nb"])
def test_the_name_of_a_service_is_a_label_that_leaves_room_for_its_revisions(name: str) -> None:
    fault = faults(f"services: {{{escaped(name)}: {{image: x}}}}")[0]
    assert fault.startswith("f:1:12: services.")
    assert fault.endswith("has at most 57 lower-case letters, digits and inner '-'")


def escaped(text: str) -> str:
    return '"' + text.replace("\n", "\\n") + '"'


def test_a_name_that_is_nearly_right_is_told_how_to_be() -> None:
    [fault] = faults("services: {My_App: {image: x}}")
    assert fault.endswith(", such as 'my-app'")


# Suggestions


@pytest.mark.parametrize(
    ("key", "place", "advice"),
    [
        ("imge", "service", "unknown key; did you mean 'image'?"),
        ("min_instances", "service", "unknown key; did you mean 'min-instances'?"),
        ("minInstances", "service", "unknown key; did you mean 'min-instances'?"),
        ("environment", "service", "unknown key; did you mean 'env'?"),
        ("cap_add", "service", "unknown key; did you mean 'cap-add'?"),
        ("runtime", "service", "unknown key; did you mean 'container-runtime'?"),
        ("options", "service", "unknown key here; it belongs in 'logging'"),
        ("containerConcurrency", "service", "unknown key; did you mean 'concurrency'?"),
        ("window", "service", "unknown key here; it belongs in 'scale'"),
        ("panicWindow", "service", "unknown key here; 'panic-window' belongs in 'scale'"),
        ("panic-treshold", "service", "unknown key; did you mean 'panic-threshold', in 'scale'?"),
        ("limit", "service", "unknown key here; it belongs in 'queue'"),
        ("path", "service", "unknown key here; it belongs in 'readiness'"),
        ("format", "top", "unknown key here; it belongs in 'access-log'"),
        ("listen", "service", "unknown key here; it belongs in the top of the file"),
        ("image", "top", "unknown key here; it belongs in a service"),
        ("min-instances", "scale", "unknown key here; it belongs in a service"),
        ("limits", "queue", "unknown key; did you mean 'limit'?"),
        ("zzz", "queue", "unknown key; known here are limit, timeout"),
        ("image" * 1000, "queue", "unknown key; known here are limit, timeout"),
    ],
)
def test_an_unknown_key_is_told_what_it_may_have_been(key: str, place: str, advice: str) -> None:
    assert unknown_key(key, place) == advice


def test_only_the_top_level_may_have_keys_of_ones_own() -> None:
    assert faults("x-mine: 1\nservices: {a: {image: x, x-mine: 1}}")[0].startswith(
        "f:2:26: services.a.x-mine: unknown key; known here are "
    )


# Whatever is written, the answer is a configuration or a ConfigError

KEYS = st.sampled_from(
    [
        *schema.TOP,
        *schema.SERVICE,
        *schema.SCALE,
        *schema.QUEUE,
        *schema.READINESS,
        *schema.LOGGING,
        "hello",
        "<<",
    ]
) | st.text(max_size=5)
TEXTS = st.text(max_size=10) | st.sampled_from(
    ["5s", "70%", "256Mi", "500m", ":8080", "127.0.0.1:9001", "a.example", "json", "docker", "1"]
)
PLACES = st.integers(1, 99)
SCALARS = st.builds(Scalar, PLACES, PLACES, TEXTS, st.booleans())


def _mapping(line: int, entries: dict[str, Node]) -> Mapping:
    found = {key: Entry(Scalar(line, 1, key), value) for key, value in entries.items()}
    return Mapping(line, 1, found)


NODES: st.SearchStrategy[Node] = st.recursive(
    SCALARS,
    lambda inner: (
        st.builds(Sequence, PLACES, PLACES, st.lists(inner, max_size=3).map(tuple))
        | st.builds(_mapping, PLACES, st.dictionaries(KEYS, inner, max_size=6))
    ),
    max_leaves=30,
)


def _of(keys: schema.Section, inner: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
    entries = st.dictionaries(st.sampled_from([*keys]), inner, max_size=8)
    return st.builds(_mapping, PLACES, entries) | inner


SERVICES = st.builds(
    _mapping,
    PLACES,
    st.dictionaries(st.sampled_from(["a", "b", "B."]), _of(schema.SERVICE, NODES), max_size=3),
)
FILES = st.builds(
    lambda line, top, services, defaults: _mapping(
        line, {**top, "services": services, "defaults": defaults}
    ),
    PLACES,
    st.dictionaries(st.sampled_from([*schema.TOP]), NODES, max_size=4),
    SERVICES,
    _of(schema.SERVICE, NODES),
)


@given(NODES | FILES)
def test_any_tree_is_parsed_to_a_configuration_or_problems(root: Node) -> None:
    parsed = parse(root, Path("/etc/wakeful"))
    for problem in parsed.problems:
        assert problem.path
        assert len(f"{problem.path}: {problem.message}".splitlines()) == 1
    if not parsed.problems:
        assert parsed.config.services


@given(
    st.text()
    | st.text("abc:-[]{}&*<?|>'\"#%@!~ \n")
    | st.lists(st.tuples(KEYS, TEXTS)).map(
        lambda pairs: "".join(f"{key}: {text}\n" for key, text in pairs)
    )
)
@example("services: &a\n  hello: *a\n")
@example("services:\n  hello: {image: x}\n")
def test_any_text_is_a_configuration_or_a_config_error(text: str) -> None:
    outcome: Loaded | ConfigError
    try:
        outcome = loads(text, Path("/etc/wakeful"), "f")
    except ConfigError as refusal:
        outcome = refusal
    if isinstance(outcome, ConfigError):
        assert outcome.problems
        assert len(str(outcome).splitlines()) == len(outcome.problems)
        assert set(str(outcome).splitlines()) <= set(outcome.explain().splitlines())


def test_every_key_belongs_to_a_field_of_the_model() -> None:
    def attributes(kind: type) -> set[str]:
        return {name.replace("_", "-") for name in kind.__dataclass_fields__}  # type: ignore[attr-defined]

    of_a_service = attributes(model.Service) - {"name", "template"}
    assert set(schema.TRAFFIC) == attributes(model.TrafficTarget)
    assert set(schema.CONTAINER) == attributes(model.Container)
    assert set(schema.SERVICE) == (
        (attributes(model.Template) - {"container"}) | set(schema.CONTAINER) | of_a_service
    )
    assert set(schema.LOGGING) == attributes(model.Logging)
    assert set(schema.ULIMIT) == attributes(model.Ulimit)
    assert set(schema.SCALE) == attributes(model.Scale)
    assert set(schema.QUEUE) == attributes(model.Queue)
    assert set(schema.READINESS) == attributes(model.Readiness)
    assert set(schema.ACCESS_LOG) == attributes(model.AccessLog)
    assert set(schema.TOP) == (attributes(model.Config) - {"directory"}) | {"defaults"}


def test_what_is_the_containers_own_does_not_go_with_a_network_that_is_not() -> None:
    why = (
        "cannot be had with 'network: sandbox': its network is made before it is known"
        " whose it will be; leave it out, or use 'network: bridge'"
    )
    assert faults(
        """\
        defaults: {dns: [10.0.0.1]}
        services:
          a: {image: x, network: sandbox, hostname: web, networks: [db], extra-hosts: [db:10.0.0.5]}
          b: {image: x, network: host, networks: [db], hostname: web}
          c: {image: x, network: db, networks: [cache], hostname: web, dns: [10.0.0.1]}
        """
    ) == [
        f"f:1:12: defaults.dns: dns {why}",
        f"f:3:45: services.a.hostname: hostname {why}",
        f"f:3:50: services.a.networks: networks {why}",
        f"f:3:66: services.a.extra-hosts: extra-hosts {why}",
        "f:4:32: services.b.networks: networks cannot be had with 'network: host':"
        " such a container is on no other network",
    ]


def test_a_network_is_asked_for_in_words_that_mean_one() -> None:
    assert service_fault("network: none") == (
        "f:4:14: services.a.network: an instance without a network cannot be reached"
    )
    assert service_fault("network: container:db") == (
        "f:4:14: services.a.network: expected bridge, host, sandbox, or the name of a network,"
        " not 'container:db'"
    )
    assert service_fault("network_mode: host") == (
        "f:4:5: services.a.network_mode: unknown key; did you mean 'network'?"
    )
