"""Keys: those that exist, and what the others may have meant."""

from __future__ import annotations

import pytest

from tests.config.refused import faults
from wakeful.config import model, schema
from wakeful.config.schema import unknown_key


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
