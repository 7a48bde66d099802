"""The engine that docker's own command line would use, from files that it writes."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from wakeful.runtime.docker_endpoint import Endpoint, EndpointError, Tls, endpoint
from wakeful.runtime.docker_engine import docker_answers

VARIABLES = ("HOST", "CONTEXT", "CONFIG", "TLS_VERIFY", "CERT_PATH")


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of docker's configuration, and no variable that says otherwise."""
    for name in VARIABLES:
        monkeypatch.delenv(f"DOCKER_{name}", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = tmp_path / ".docker"
    folder.mkdir()
    return folder


def write_context(config: Path, name: str, meta: object, *pems: str) -> Path:
    """As `docker context create` leaves it."""
    place = hashlib.sha256(name.encode()).hexdigest()
    folder = config / "contexts" / "meta" / place
    folder.mkdir(parents=True)
    (folder / "meta.json").write_text(json.dumps(meta))
    keys = config / "contexts" / "tls" / place / "docker"
    keys.mkdir(parents=True)
    for pem in pems:
        (keys / pem).write_text("")
    return keys


def meta(host: str, **more: object) -> dict[str, object]:
    return {"Name": "x", "Metadata": {}, "Endpoints": {"docker": {"Host": host, **more}}}


def use(config: Path, name: str) -> None:
    (config / "config.json").write_text(json.dumps({"auths": {}, "currentContext": name}))


def test_without_a_word_from_anybody_it_is_the_usual_socket(config: Path) -> None:
    assert endpoint().url == "unix:///var/run/docker.sock"
    use(config, "default")
    assert endpoint().url == "unix:///var/run/docker.sock"


def test_docker_host_comes_first(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(config, "far")
    monkeypatch.setenv("DOCKER_CONTEXT", "far")
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:2375")
    assert endpoint() == Endpoint("tcp://127.0.0.1:2375", None, "DOCKER_HOST")


def test_tls_is_asked_for_by_variables_and_its_files_have_a_place(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://far:2376")
    monkeypatch.setenv("DOCKER_TLS_VERIFY", "1")
    usual = Tls(config / "ca.pem", config / "cert.pem", config / "key.pem")
    assert endpoint().tls == usual
    monkeypatch.setenv("DOCKER_CERT_PATH", "/keys")
    keys = Path("/keys")
    assert endpoint().tls == Tls(keys / "ca.pem", keys / "cert.pem", keys / "key.pem")
    monkeypatch.setenv("DOCKER_TLS_VERIFY", "")
    assert endpoint().tls == Tls(keys / "ca.pem", keys / "cert.pem", keys / "key.pem", False)
    monkeypatch.setenv("DOCKER_HOST", "unix:///run/docker.sock")
    assert endpoint().tls is None


def test_the_current_context_names_it_and_a_variable_names_another(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_context(config, "near", meta("unix:///run/user/1000/docker.sock"))
    keys = write_context(config, "far", meta("tcp://far:2376"), "ca.pem", "cert.pem", "key.pem")
    use(config, "near")
    assert endpoint() == Endpoint(
        "unix:///run/user/1000/docker.sock", None, "docker context 'near'"
    )
    monkeypatch.setenv("DOCKER_CONTEXT", "far")
    tls = Tls(keys / "ca.pem", keys / "cert.pem", keys / "key.pem")
    assert endpoint() == Endpoint("tcp://far:2376", tls, "docker context 'far'")


def test_a_context_may_have_an_authority_alone_or_trust_anybody(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(config))
    keys = write_context(config, "ca", meta("tcp://a:1"), "ca.pem")
    monkeypatch.setenv("DOCKER_CONTEXT", "ca")
    assert endpoint().tls == Tls(keys / "ca.pem", None, None)
    write_context(config, "any", meta("https://a:1", SkipTLSVerify=True))
    monkeypatch.setenv("DOCKER_CONTEXT", "any")
    assert endpoint().tls == Tls(None, None, None, verify=False)


def test_a_context_that_is_missing_or_broken_is_named(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(config, "gone")
    reason = f"there is no docker context 'gone' in {config}/contexts"
    with pytest.raises(EndpointError, match=reason):
        endpoint()
    assert docker_answers() == reason
    write_context(config, "odd", {"Endpoints": {}})
    monkeypatch.setenv("DOCKER_CONTEXT", "odd")
    assert docker_answers() == "docker context 'odd' does not say where its engine is"
    monkeypatch.delenv("DOCKER_CONTEXT")
    (config / "config.json").write_text("{")
    assert str(docker_answers()).startswith(f"{config}/config.json cannot be read: ")
    (config / "config.json").write_text("[]")
    assert docker_answers() == f"{config}/config.json is not what docker writes"


def test_ssh_is_told_what_works_instead(config: Path) -> None:
    write_context(config, "far", meta("ssh://me@far"))
    use(config, "far")
    assert docker_answers() == (
        "docker context 'far' 'ssh://me@far' is not understood: forward its socket: "
        "ssh -nNT -L /tmp/docker.sock:/var/run/docker.sock me@far"
    )
