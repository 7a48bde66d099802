"""The averages on disk, when the disk does not take them."""

from __future__ import annotations

import asyncio
import logging
import time
from pathlib import Path

import pytest

from wakeful.config.model import Revision, Template
from wakeful.events import Load
from wakeful.runtime.memory import MemoryDriver, Script
from wakeful.scale_file import ScaleFile
from wakeful.scaler.autoscaler import Autoscaler


def test_a_disk_that_does_not_take_them_is_said_once_until_it_does(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "state"

    async def story() -> None:
        driver = MemoryDriver(Script(start=0, listen=0))
        scaler = Autoscaler(
            driver, driver.probe, lambda revision, backends: None, now=time.monotonic
        )
        await driver.open(scaler.exited)
        scaler.add(Revision("hello", 1, Template(image="hello:1")))
        scaler.demand("hello-00001", Load(waiting=1))
        await asyncio.sleep(0)  # it is acted on in the next turn of the loop
        file, said = ScaleFile(folder / "scale.json"), []
        for _ in range(2):  # it fails, is mended, and fails again
            for mended in (False, False, True):
                if mended:
                    folder.mkdir()
                await file.close(scaler, time.time())
                said.append(len(caplog.records))
            (folder / "scale.json").unlink()
            folder.rmdir()
        assert said == [1, 1, 1, 2, 2, 2]
        await scaler.close(leave=False)

    with caplog.at_level(logging.WARNING, "wakeful"):
        asyncio.run(story())
    assert "scale.json cannot be written" in caplog.text
