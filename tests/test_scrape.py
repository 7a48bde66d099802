"""The metrics page: what it says, and in how large pieces."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import uvicorn

from tests.scaler.simulated_proxy import until
from wakeful.admin.instances import Listing
from wakeful.admin.outputs import Outputs
from wakeful.admin.scrape import render
from wakeful.admin.server import AdminServer, _Server
from wakeful.clock import run_simulated
from wakeful.config.model import HostPort, Revision, Service, Template
from wakeful.deploy import Deployments
from wakeful.events import Load
from wakeful.metrics import Exposition, Histogram, label
from wakeful.proxy.server import DataPlane
from wakeful.runtime.memory import MemoryDriver, Script
from wakeful.scaler.autoscaler import Autoscaler


def test_families_are_written_as_prometheus_reads_them() -> None:
    page = Exposition()
    page.family("up", "gauge", "Always 1.", [("", 1)])
    page.family("seen_total", "counter", "Things seen.", [('a="b"', 2.5), ('a="c"', 3.0)])
    assert "".join(page.pieces()) == (
        "# HELP up Always 1.\n"
        "# TYPE up gauge\n"
        "up 1\n"
        "# HELP seen_total Things seen.\n"
        "# TYPE seen_total counter\n"
        'seen_total{a="b"} 2.5\n'
        'seen_total{a="c"} 3\n'
    )


def test_a_histogram_is_cumulative_and_ends_with_everything() -> None:
    histogram = Histogram((0.5, 1.0))
    for seconds in (0.25, 0.5, 0.75, 2.0):
        histogram.observe(seconds)
    page = Exposition()
    page.histograms("took", "How long.", [('a="b"', histogram)])
    assert "".join(page.pieces()).splitlines()[2:] == [
        'took_bucket{a="b",le="0.5"} 2',
        'took_bucket{a="b",le="1"} 3',
        'took_bucket{a="b",le="+Inf"} 4',
        'took_sum{a="b"} 3.5',
        'took_count{a="b"} 4',
    ]


def test_a_summary_is_a_sum_and_a_count() -> None:
    page = Exposition()
    page.summaries("took", "How long.", [('a="b"', 4, 3.5)])
    assert "".join(page.pieces()) == (
        '# HELP took How long.\n# TYPE took summary\ntook_sum{a="b"} 3.5\ntook_count{a="b"} 4\n'
    )


def test_what_a_label_says_is_escaped() -> None:
    assert label("reason", 'a "b"\\c\nd') == 'reason="a \\"b\\"\\\\c\\nd"'


class Deaf:
    def demand(self, revision: str, load: Load) -> None: ...
    def drained(self, revision: str, instance: str) -> None: ...
    def rest(self, revision: str, instance: str, since: float) -> None: ...
    def rouse(self, revision: str, instance: str) -> None: ...


def pages(services: int, look: Callable[[list[str]], None]) -> None:
    """What is said of that many services, of which only s0 was ever asked for."""
    revisions = [Revision(f"s{number}", 1, Template(image="x:1")) for number in range(services)]

    async def main() -> None:
        loop = asyncio.get_running_loop()
        driver = MemoryDriver(Script(start=0.25, listen=0.125))
        plane = DataPlane(Deaf(), clock=loop.time)
        scaler = Autoscaler(driver, driver.probe, plane.publish, now=loop.time)
        deployments = Deployments(plane, scaler, now=loop.time, settled=lambda service: None)
        deployments.apply(
            [Service(one.service, one.template) for one in revisions],
            "localhost",
            {one.service: one for one in revisions},
            {},
        )
        scaler.demand("s0-00001", Load(waiting=1))
        await until(1)
        look(list(render(plane, scaler, deployments.standings(), {"success": 2}, "memory", 3)))
        await scaler.close(leave=False)

    run_simulated(main())


def test_a_service_that_was_never_asked_for_has_two_gauges_and_nothing_else() -> None:
    def look(pieces: list[str]) -> None:
        lines = "".join(pieces).splitlines()
        labels = '{kn_service_name="s1",kn_revision_name="s1-00001"}'
        assert [line for line in lines if "s1-00001" in line] == [
            f"kn_revision_pods_desired{labels} 0",
            f"kn_revision_pods_count{labels} 0",
        ]
        woken = '{kn_service_name="s0",kn_revision_name="s0-00001"}'
        assert f"kn_revision_pods_count{woken} 1" in lines
        assert f"wakeful_cold_starts_total{woken} 1" in lines
        phases = [line for line in lines if line.startswith("wakeful_instance_start_phase_")]
        name = "wakeful_instance_start_phase_seconds"
        labels = 'kn_service_name="s0",kn_revision_name="s0-00001",phase='
        assert phases == [
            f'{name}_sum{{{labels}"queued"}} 0',
            f'{name}_count{{{labels}"queued"}} 1',
            f'{name}_sum{{{labels}"start"}} 0.25',
            f'{name}_count{{{labels}"start"}} 1',
            f'{name}_sum{{{labels}"listening"}} 0.125',
            f'{name}_count{{{labels}"listening"}} 1',
        ]
        assert 'wakeful_config_reloads_total{result="success"} 2' in lines
        assert "wakeful_sandboxes_ready 3" in lines

    pages(2, look)


def test_no_piece_of_the_page_is_long_however_many_services_there_are() -> None:
    def look(pieces: list[str]) -> None:
        assert max(piece.count("\n") for piece in pieces[:-1]) < 550  # 500, and heads have two
        assert sum(piece.count("kn_revision_pods_count{") for piece in pieces) == 3000

    pages(3000, look)


def test_others_run_between_two_pieces_of_a_page() -> None:
    turns = 0
    page = [f"{number}\n" for number in range(20)]

    async def main() -> str:
        nonlocal turns
        seen: list[int] = []

        def pieces() -> Iterator[str]:
            for piece in page:
                seen.append(turns)
                yield piece

        async def nothing(service: str | None) -> Listing:
            return Listing([], [])

        outputs = Outputs(MemoryDriver(), dict, lambda service: [], lambda: 0.0)
        admin = AdminServer(lambda: True, pieces, lambda: iter(()), nothing, outputs)
        await admin.bind(HostPort("127.0.0.1", 0))
        await admin.listen()

        async def other() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        running = asyncio.create_task(other())
        reader, writer = await asyncio.open_connection("127.0.0.1", admin.port)
        writer.write(b"GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        answer = (await reader.read()).decode()
        running.cancel()
        writer.close()
        await admin.close()
        assert len(set(seen)) == len(page)  # each at another turn of the loop
        return answer

    answer = asyncio.run(main())
    assert answer.endswith("\r\n\r\n" + "".join(page))


def test_the_admin_listener_leaves_the_loop_alone_between_requests() -> None:
    """It looks at the clock once a second, for the date, and is gone when it is told to go."""

    class Counted(_Server):
        looks = 0

        async def on_tick(self, counter: int) -> bool:
            self.looks += 1
            return self.should_exit

    async def main() -> tuple[int, int]:
        server = Counted(uvicorn.Config("nothing"))
        running = asyncio.create_task(server.main_loop())
        await asyncio.sleep(10.5)
        before = server.looks
        server.leave()
        await running
        return before, server.looks

    before, after = run_simulated(main())
    assert 10 <= before <= 11
    assert after == before + 1
