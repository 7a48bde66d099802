"""Values that are wrong by themselves, and what is said about each."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.config.refused import faults, service_fault
from wakeful.config import model, waking
from wakeful.config.load import loads
from wakeful.scaler.schedule import scheduled

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
