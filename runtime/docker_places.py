"""Which network an instance is put on, and where it listens there.

Owns what is promised to instances: network sandboxes, and ports of the host.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from wakeful.config.model import BRIDGE, HOST, SANDBOX, Revision
from wakeful.runtime.docker_client import DockerClient
from wakeful.runtime.docker_sandboxes import DockerSandboxes
from wakeful.runtime.driver import DriverError
from wakeful.runtime.instance import Address, InstanceId
from wakeful.runtime.place import Place
from wakeful.runtime.ports import Ports
from wakeful.runtime.reach import LOOPBACK, Way


class DockerPlaces:
    """``network`` is the one that this process is in, when it is in a container itself."""

    def __init__(
        self,
        client: DockerClient,
        owner: str,
        network: str | None,
        way: Way,
        lost: Callable[[InstanceId, str], None],
    ) -> None:
        self._network = network
        self._way = way
        self._bridge = network or "default"
        self._ports = Ports("0.0.0.0")  # where its programs usually listen
        self._promised: dict[InstanceId, int] = {}
        self.sandboxes = DockerSandboxes(client, owner, self._bridge, lost)

    def expect(self, revisions: Sequence[Revision]) -> None:
        # Ports are published of a container with a network of its own; a sandbox is made
        # before it is known which port that would be.
        wanted = any(r.template.container.network == SANDBOX for r in revisions)
        self.sandboxes.use(wanted and self._way.host is None)

    def hold(self, found: Mapping[InstanceId, Address]) -> None:
        """What runs already has its ports."""
        for instance, address in found.items():
            if address.host == LOOPBACK:
                self._promise(instance, address.port)

    def give(self, revision: Revision, instance: InstanceId) -> Place:
        """The same one until ``release``. Raises DriverError."""
        network, port = revision.template.container.network, revision.template.port
        if network == HOST:
            return self._on_host(instance)
        if network == SANDBOX and (sandbox := self.sandboxes.take(instance)) is not None:
            return Place(sandbox.mode, port, self._way, Address(sandbox.address, port))
        if network in (BRIDGE, SANDBOX):
            return self.bridge(revision)
        return Place(network, port, self._way)

    def bridge(self, revision: Revision) -> Place:
        """For want of anything better."""
        return Place(self._bridge, revision.template.port, self._way)

    async def release(self, instance: InstanceId) -> None:
        """It has ended, and is removed. Raises DriverError."""
        port = self._promised.pop(instance, None)
        if port is not None:
            self._ports.release(port)
        await self.sandboxes.release(instance)

    def _on_host(self, instance: InstanceId) -> Place:
        if self._way.host is not None:
            raise DriverError(
                "'network: host' is out of reach: the engine's host is not this one, or not"
                f" the same network (reach: {self._way.why})"
            )
        if self._network is not None:
            raise DriverError(
                "'network: host' is out of reach: wakeful is in a container itself,"
                f" on network {self._network}"
            )
        port = self._promised.get(instance)
        if port is None:
            try:
                port = self._ports.promise()
            except OSError as error:
                raise DriverError(f"there is no free port: {error.strerror}") from None
            self._promise(instance, port)
        return Place("host", port, self._way, Address(LOOPBACK, port))

    def _promise(self, instance: InstanceId, port: int) -> None:
        self._promised[instance] = port
        self._ports.hold(port)
