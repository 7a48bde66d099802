"""Files that are wrong, and every line that is said about them."""

from __future__ import annotations

import pytest

from tests.config.refused import faults

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
