# SPDX-License-Identifier: MIT
import tempfile

import pytest

from agent_process import Agent


@pytest.fixture
def agent():
    """A fresh agent of its own (--dev); its socket paths are short, as sun_path wants them."""
    with tempfile.TemporaryDirectory(prefix="xylem-") as directory:
        running = Agent(directory + "/run")
        running.start()
        yield running
        running.stop()
