"""What a container gets: what the engine says of it, and what is true inside."""

from __future__ import annotations

import asyncio
import json
import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from docker.api.client import APIClient

from tests.integration.driving import new_id, opened
from wakeful.config.model import Container, Logging, Revision, Template, Ulimit, Volume
from wakeful.runtime.docker import DockerDriver
from wakeful.runtime.docker_spec import CAPABILITIES
from wakeful.runtime.driver import DriverError
from wakeful.runtime.instance import InstanceId

pytestmark = pytest.mark.docker

# The bits of capabilities(7), from linux/capability.h.
BITS = {
    "CHOWN": 0,
    "DAC_OVERRIDE": 1,
    "FOWNER": 3,
    "KILL": 5,
    "SETGID": 6,
    "SETUID": 7,
    "NET_BIND_SERVICE": 10,
    "NET_RAW": 13,
}

STATUS = """
def status(field):
    [line] = [l for l in open("/proc/self/status") if l.startswith(field + ":")]
    return line.split()[1]

def errno_of(act, *arguments):
    try:
        act(*arguments)
    except OSError as error:
        return errno.errorcode[error.errno]
    return "OK"
"""


def revision(image: str, program: str, container: Container) -> Revision:
    command = ("-c", program) if container.entrypoint else ("python3", "-c", program)
    return Revision("hello", 3, Template(image, command, container=container))


async def told(owner: str, image: str, program: str, container: Container) -> Any:
    """What a program says in a container of these settings: the JSON that it prints."""
    source = "import errno, json, os, socket\n" + STATUS + dedent(program)
    hello = revision(image, source, container)
    instance = new_id()
    async with opened(owner) as (driver, exits):
        await driver.start(hello, instance)
        ending = await exits.of(instance)
        output = await driver.tail(instance, 50)
        await driver.stop(instance, 0)
    assert ending == "exit code 0", output
    return json.loads(output[-1])


def tell(owner: str, image: str, program: str, container: Container) -> Any:
    return asyncio.run(told(owner, image, program, container))


async def first_line(driver: DockerDriver, instance: InstanceId) -> str:
    """The first line of its output, once there is one."""
    async with asyncio.timeout(20):
        while not (lines := await driver.tail(instance, 10)):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    return lines[0]


def mask(*names: str) -> int:
    return sum(1 << BITS[name] for name in names)


def test_by_default_a_container_has_few_rights_and_a_first_process_that_reaps(
    engine: APIClient, app_image: str, owner: str
) -> None:
    # A child that dies at once leaves its own child to the first process.
    said = tell(
        owner,
        app_image,
        """
        import time
        if os.fork() == 0:
            if os.fork() == 0:
                os._exit(0)
            time.sleep(0.05)
            os._exit(0)
        os.wait()
        deadline = time.monotonic() + 10
        def zombies():
            stats = [open(f"/proc/{p}/stat").read() for p in os.listdir("/proc") if p.isdecimal()]
            return [s for s in stats if s.rpartition(")")[2].split()[0] == "Z"]
        while zombies() and time.monotonic() < deadline:
            time.sleep(0.01)
        limits = ("/sys/fs/cgroup/pids/pids.max", "/sys/fs/cgroup/pids.max")
        print(json.dumps({
            "bounding": int(status("CapBnd"), 16),
            "effective": int(status("CapEff"), 16),
            "no_new_privileges": status("NoNewPrivs"),
            "pid": os.getpid(),
            "zombies": len(zombies()),
            "pids": [open(path).read().strip() for path in limits if os.path.exists(path)],
        }))
        """,
        Container(user="0"),
    )
    assert said["bounding"] == said["effective"] == mask(*CAPABILITIES)
    assert said["no_new_privileges"] == "1"
    assert said["pid"] > 1
    assert said["zombies"] == 0
    assert said["pids"] == ["2048"]


def test_an_image_that_prepares_as_root_and_steps_down_works_with_the_defaults(
    app_image: str, owner: str
) -> None:
    said = tell(
        owner,
        app_image,
        """
        import signal, subprocess
        os.mkdir("/state")
        open("/state/file", "w").close()
        os.chown("/state/file", 65534, 65534)     # CHOWN
        os.chmod("/state/file", 0o600)            # FOWNER: it is not ours any more
        open("/state/file", "a").close()          # DAC_OVERRIDE: and not open to us
        low = socket.socket()
        low.bind(("", 80))
        child = os.fork()
        if child == 0:
            os.setgroups([])
            os.setgid(65534)                      # SETGID
            os.setuid(65534)                      # SETUID
            open("/state/file", "a").close()
            signal.pause()
        while os.stat(f"/proc/{child}").st_uid != 65534:
            pass
        os.kill(child, signal.SIGTERM)            # KILL
        print(json.dumps(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])))
        """,
        Container(user="0"),
    )
    assert said == -15


def test_rights_can_be_added_dropped_and_all_given_back(app_image: str, owner: str) -> None:
    program = """
        raw = errno_of(socket.socket, socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        print(json.dumps([int(status("CapBnd"), 16), status("NoNewPrivs"), os.getpid(), raw]))
    """
    loose = Container(
        user="0", cap_add=("NET_RAW",), cap_drop=("KILL",), no_new_privileges=False, init=False
    )
    expected = mask(*CAPABILITIES, "NET_RAW") - mask("KILL")
    assert tell(owner, app_image, program, loose) == [expected, "0", 1, "OK"]
    bare = Container(user="0", cap_drop=("ALL",))
    assert tell(owner, app_image, program, bare)[0] == 0
    assert tell(owner, app_image, program, bare)[3] == "EPERM"


def test_a_read_only_root_leaves_what_is_mounted_over_it_and_limits_hold(
    app_image: str, owner: str
) -> None:
    said = tell(
        owner,
        app_image,
        """
        import resource
        def fill(path):
            with open(path, "wb", buffering=0) as file:
                for _ in range(32):
                    file.write(bytes(65536))
        def forks():
            children = []
            try:
                while len(children) < 50:
                    pid = os.fork()
                    if pid == 0:
                        os.read(held[0], 1)
                        os._exit(0)
                    children.append(pid)
            finally:
                os.write(held[1], bytes(len(children)))
                for pid in children:
                    os.waitpid(pid, 0)
        held = os.pipe()
        print(json.dumps({
            "root": errno_of(open, "/new", "w"),
            "tmp": errno_of(fill, "/tmp/file"),
            "run": errno_of(open, "/run/file", "w"),
            "files": resource.getrlimit(resource.RLIMIT_NOFILE),
            "shm": os.statvfs("/dev/shm").f_blocks * os.statvfs("/dev/shm").f_frsize,
            "forks": errno_of(forks),
        }))
        """,
        Container(
            user="0",
            read_only=True,
            tmpfs=("/run", "/tmp:size=1m"),
            ulimits=(("nofile", Ulimit(64, 128)),),
            shm_size=2 * 2**20,
            pids_limit=20,
        ),
    )
    assert said == {
        "root": "EROFS",
        "tmp": "ENOSPC",
        "run": "OK",
        "files": [64, 128],
        "shm": 2 * 2**20,
        "forks": "EAGAIN",
    }


def test_the_names_people_know_from_compose_do_what_they_do_there(
    engine: APIClient, app_image: str, owner: str
) -> None:
    container = Container(
        entrypoint=("python3",),
        working_dir="/app",
        user="1234:4321",
        hostname="inner",
        labels=(("tier", "web"),),
        stop_signal="SIGINT",
        extra_hosts=("db.example:10.0.0.5",),
        dns=("192.0.2.1",),
    )
    said = tell(
        owner,
        app_image,
        """
        print(json.dumps({
            "directory": os.getcwd(),
            "ids": [os.getuid(), os.getgid()],
            "name": socket.gethostname(),
            "db": socket.gethostbyname("db.example"),
            "dns": [l.split()[1] for l in open("/etc/resolv.conf") if l.startswith("nameserver")],
        }))
        """,
        container,
    )
    assert said == {
        "directory": "/app",
        "ids": [1234, 4321],
        "name": "inner",
        "db": "10.0.0.5",
        "dns": ["192.0.2.1"],
    }

    async def story() -> None:
        """An engine knows best which labels and which signal it was given."""
        asking = Container(labels=container.labels, stop_signal="SIGINT", user=container.user)
        program = (
            "import signal, sys\n"
            "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])\n"
            "print('up', flush=True)\n"
            "signal.sigwait([signal.SIGINT])\n"
            "sys.exit(7)"
        )
        hello = revision(app_image, program, asking)
        async with opened(owner) as (driver, exits):
            instance = new_id()
            await driver.start(hello, instance)
            assert engine.inspect_container(instance)["Config"]["Labels"]["tier"] == "web"
            await first_line(driver, instance)
            await driver.stop(instance, 20)
            assert await exits.of(instance) == "exit code 7"

    asyncio.run(story())


def test_a_secret_is_a_file_that_can_be_read_and_not_written(
    app_image: str, owner: str, tmp_path: Path
) -> None:
    secret = tmp_path / "password"
    secret.write_text("hunter2\n")
    said = tell(
        owner,
        app_image,
        """
        print(json.dumps([
            os.listdir("/run/secrets"),
            open("/run/secrets/db-password").read(),
            errno_of(open, "/run/secrets/db-password", "a"),
        ]))
        """,
        Container(user="0", secrets=(("db-password", str(secret)),), tmpfs=("/run",)),
    )
    assert said == [["db-password"], "hunter2\n", "EROFS"]


@pytest.mark.parametrize("what", ["secret key", "volumes"])
def test_a_path_that_is_missing_is_named_and_nothing_is_made_in_its_place(
    what: str, app_image: str, owner: str, tmp_path: Path
) -> None:
    missing = tmp_path / "missing"
    asking = {
        "secret key": Container(secrets=(("key", str(missing)),)),
        "volumes": Container(volumes=(Volume(str(missing), "/x"),)),
    }
    with pytest.raises(DriverError) as caught:
        tell(owner, app_image, "print(1)", asking[what])
    message = f"cannot start hello: {what}: there is no {missing} on the engine's host"
    assert str(caught.value) == message
    assert not missing.exists()


@pytest.fixture
def volume(engine: APIClient) -> Iterator[str]:
    name = f"wakeful-test-{uuid.uuid4().hex[:12]}"
    yield name
    engine.remove_volume(name, force=True)


def test_volumes_are_places_of_the_host_or_outlive_their_containers(
    app_image: str, owner: str, tmp_path: Path, volume: str
) -> None:
    for name in ("in", "out"):
        (tmp_path / name).mkdir()
        (tmp_path / name).chmod(0o777)
    (tmp_path / "in" / "note").write_text("from outside")
    container = Container(
        user="0",
        volumes=(
            Volume(str(tmp_path / "in"), "/in", read_only=True),
            Volume(str(tmp_path / "out"), "/out"),
            Volume(volume, "/named"),
        ),
    )
    program = """
        with open("/named/count", "a") as file:
            file.write("x")
        open("/out/note", "w").write("from inside")
        print(json.dumps([
            open("/in/note").read(), errno_of(open, "/in/new", "w"), open("/named/count").read()
        ]))
    """
    assert tell(owner, app_image, program, container) == ["from outside", "EROFS", "x"]
    assert (tmp_path / "out" / "note").read_text() == "from inside"
    assert tell(owner, app_image, program, container)[2] == "xx"


@pytest.fixture
def network(engine: APIClient) -> Iterator[str]:
    name = f"wakeful-test-{uuid.uuid4().hex[:12]}"
    created = engine.create_network(name, driver="bridge")
    yield name
    engine.remove_network(created["Id"])


def test_an_extra_network_is_joined_before_the_program_runs_and_is_not_the_way_in(
    engine: APIClient, app_image: str, owner: str, network: str
) -> None:
    [subnet] = engine.inspect_network(network)["IPAM"]["Config"]

    async def story() -> None:
        program = (
            "import socket, time\n"
            "print([name for _, name in socket.if_nameindex() if name != 'lo'], flush=True)\n"
            "time.sleep(60)"
        )
        hello = revision(app_image, program, Container(networks=(network,)))
        async with opened(owner) as (driver, _):
            instance = new_id()
            address = (await driver.start(hello, instance)).address
            networks = engine.inspect_container(instance)["NetworkSettings"]["Networks"]
            assert sorted(networks) == sorted(["bridge", network])
            assert networks[network]["Gateway"] == subnet["Gateway"]
            assert address.host == networks["bridge"]["IPAddress"]
            [found] = await driver.instances()
            assert found.address == address
            assert re.findall(r"\w+", await first_line(driver, instance)) == ["eth0", "eth1"]
            await driver.stop(instance, 0)

    asyncio.run(story())


def test_a_network_that_is_not_there_fails_in_one_line_and_leaves_nothing(
    engine: APIClient, app_image: str, owner: str
) -> None:
    with pytest.raises(DriverError) as caught:
        tell(owner, app_image, "print(1)", Container(networks=("no-such-network",)))
    assert str(caught.value) == "cannot start hello: network no-such-network not found"
    assert engine.containers(all=True, filters={"label": f"wakeful.owner={owner}"}) == []


def test_a_runtime_that_the_engine_does_not_know_fails_in_one_line(
    app_image: str, owner: str
) -> None:
    with pytest.raises(DriverError, match=r"cannot start hello: .*runtime.* no-such-runtime$"):
        tell(owner, app_image, "print(1)", Container(container_runtime="no-such-runtime"))


def test_a_container_that_never_stops_writing_keeps_only_the_end(
    app_image: str, owner: str
) -> None:
    """The bounds of the default are ten megabytes, three times; here it is a kilobyte, twice."""
    bounds = Logging(options=(("max-file", "2"), ("max-size", "1k")))
    program = "print('\\n'.join(f'{i:0100}' for i in range(1000)))"

    async def story() -> None:
        hello = revision(app_image, program, Container(logging=bounds))
        async with opened(owner) as (driver, exits):
            instance = new_id()
            await driver.start(hello, instance)
            await exits.of(instance)
            lines = await driver.tail(instance, 1000)
            assert int(lines[-1]) == 999
            assert len(lines) < 30

    asyncio.run(story())


def test_what_cannot_be_run_says_so_in_its_output(app_image: str, owner: str) -> None:
    """The first process is there by then, so the engine has nothing to complain of."""

    async def story() -> None:
        hello = Revision("hello", 3, Template(app_image, ("/no/such/program",)))
        async with opened(owner) as (driver, exits):
            instance = new_id()
            await driver.start(hello, instance)
            assert await exits.of(instance) == "exit code 127"
            [line] = await driver.tail(instance, 10)
            assert "exec /no/such/program failed: No such file or directory" in line

    asyncio.run(story())
