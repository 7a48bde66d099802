from __future__ import annotations

from wakeful.config.model import Revision, Template
from wakeful.runtime.environment import command, environment


def revision(*arguments: str, env: tuple[tuple[str, str], ...] = ()) -> Revision:
    return Revision("hello", 7, Template(command=arguments, env=env))


def test_an_instance_is_told_its_service_its_revision_and_its_port() -> None:
    assert environment(revision(env=(("TARGET", "World"),)), 9001) == {
        "TARGET": "World",
        "PORT": "9001",
        "K_SERVICE": "hello",
        "K_REVISION": "hello-00007",
        "K_CONFIGURATION": "hello",
    }


def test_a_service_cannot_take_over_the_variables_that_routing_depends_on() -> None:
    told = environment(revision(env=(("PORT", "1"), ("K_REVISION", "other"))), 9001)
    assert told["PORT"] == "9001"
    assert told["K_REVISION"] == "hello-00007"


def test_the_port_is_filled_in_wherever_an_argument_names_it() -> None:
    told = command(revision("app", "--port=$PORT", "0.0.0.0:${PORT}", "$PORT/$PORT"), 9001)
    assert told == ["app", "--port=9001", "0.0.0.0:9001", "9001/9001"]


def test_nothing_else_is_filled_in() -> None:
    arguments = ["$PORTS", "$PORT_2", "${PORTS}", "$HOME", "PORT", "$$", "$(PORT)", "${PORT"]
    assert command(revision(*arguments), 9001) == arguments
