"""An instance that somebody else pauses is replaced, and is one too many when it runs again."""

from __future__ import annotations

from tests.scaler.simulated_proxy import until, world
from wakeful.clock import run_simulated
from wakeful.config.model import Revision, Template
from wakeful.runtime.instance import InstanceId


def test_one_that_is_wanted_is_replaced_at_that_moment_and_not_at_the_next_tick() -> None:
    async def story() -> None:
        async with world(Revision("hello", 1, Template("hello:1", min_instances=1))) as it:
            await until(4.5)
            first = InstanceId(it.driver.starts[0].instance)
            it.driver.pause(first)
            assert (it.status().ready, it.status().paused, it.status().instances) == (0, 1, 2)
            await until(5)
            assert it.starts()[1:] == [4.5]
            assert it.status().ready == 1

            it.driver.pause(first, False)
            await until(9)
            assert (it.status().ready, it.status().paused, it.status().instances) == (1, 0, 1)

    run_simulated(story())
