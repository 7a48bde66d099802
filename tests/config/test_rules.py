"""Values that do not go together."""

from __future__ import annotations

import pytest

from tests.config.refused import faults, service_fault

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
