# SPDX-License-Identifier: MIT
"""The agent under a wall clock that jumps. libfaketime moves time() and CLOCK_REALTIME only: timers are monotonic."""

import json
import os
import pathlib
import re
import subprocess
import tempfile
import time

import pytest

from agent_process import BIN, ROOT, Agent, wait_until

HOUR = 3600
YEAR = 365 * 24 * HOUR
SERVICES = 40
TTL = 72 * HOUR


def find_library():
    found = sorted(pathlib.Path("/usr").glob("lib/*/faketime/libfaketimeMT.so.1"))
    return str(found[0]) if found else None


def find_programs():
    """Programs without a sanitizer: its runtime wants to be the first library, and so does libfaketime."""
    for directory in (BIN, ROOT / "build" / "release" / "bin"):
        program = directory / "xylemd"
        if program.exists() and (directory / "probe").exists() and b"__asan_init" not in program.read_bytes():
            return directory
    return None


class Clock:
    def __init__(self, path):
        self.path = pathlib.Path(path)
        self.offset = 0
        self.step_to(0)

    def step_to(self, offset):
        """Seconds from the true time."""
        fresh = self.path.with_suffix(".new")
        fresh.write_text(f"{offset:+d}\n")
        fresh.rename(self.path)
        self.offset = offset

    def now(self):
        return int(time.time()) + self.offset

    def environment(self):
        return {**os.environ, "LD_PRELOAD": find_library(), "FAKETIME_TIMESTAMP_FILE": str(self.path),
                "FAKETIME_NO_CACHE": "1", "DONT_FAKE_MONOTONIC": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}


class ClockedAgent(Agent):
    def __init__(self, directory, arguments, clock):
        super().__init__(directory, arguments)
        self.clock = clock
        self.bin = find_programs()

    def start(self):
        with open(self.log_path, "a") as log:
            self.process = subprocess.Popen([str(self.bin / "xylemd"), *self.arguments], stdout=log, stderr=log,
                                            env=self.clock.environment())
        wait_until(self.is_ready)

    def probe(self, *arguments):
        environment = {**self.clock.environment(), "XYLEM_SOCKET": str(self.dir / "attach.sock")}
        done = subprocess.run([str(self.bin / "probe"), *arguments], env=environment, capture_output=True, text=True,
                              timeout=60)
        return json.loads(done.stdout)

    def issued(self):
        return len(re.findall(r'"event":"certificate_(?:issued|renewed)"[^\n]*"kind":"leaf"', self.log()))

    def leaves(self):
        return json.loads(self.admin("--json leaves"))

    def verify(self, service, directory):
        """With openssl, at the time that the agent believes in."""
        leaf = self.probe("leaf", service)
        chain, bundle = directory / "chain.pem", directory / "roots.pem"
        chain.write_text(leaf["chain_pem"])
        bundle.write_text(leaf["roots_pem"])
        done = subprocess.run(["openssl", "verify", "-x509_strict", "-attime", str(self.clock.now()), "-CAfile",
                               str(bundle), "-untrusted", str(chain), str(chain)], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert not leaf["expired"]
        return leaf


class ClockedLoop:
    """A proxy that looks at its leaf all the time, by the same clock."""

    def __init__(self, agent, target, peer):
        environment = {**agent.clock.environment(), "XYLEM_SOCKET": str(agent.dir / "attach.sock")}
        self.process = subprocess.Popen([str(agent.bin / "probe"), "loop", target, peer], text=True, env=environment,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.first = json.loads(self.process.stdout.readline())

    def ask(self):
        self.process.stdin.write("?\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def close(self):
        self.process.stdin.close()
        assert self.process.wait(timeout=30) == 0


@pytest.fixture
def agent():
    if not find_library():
        pytest.skip("libfaketime is not installed (Debian: libfaketime)")
    if not find_programs():
        pytest.skip("these programs have a sanitizer, which does not go with libfaketime; build the release preset")
    with tempfile.TemporaryDirectory(prefix="xylem-") as name:
        directory = pathlib.Path(name)
        config = directory / "xylemd.conf"
        config.write_text(f'state_directory = "{directory}/state"\nrun_directory = "{directory}/run"\n' +
                          "".join(f'service "s{number}" {{}}\n' for number in range(SERVICES)))
        running = ClockedAgent(directory / "run", ["--config", str(config)], Clock(directory / "clock"))
        running.start()
        yield running
        running.stop()


def all_are_valid(agent, count):
    """As many leaves as there should be, all valid by the agent's clock and before their hard limit."""
    left = [leaf["left_sec"] for leaf in agent.leaves()]
    assert len(left) == count
    return min(left) > 0.1 * TTL and max(left) <= TTL


def test_hours_forward(agent, tmp_path):
    """72-hour leaves: past 90 % of their life all are replaced before one has expired, and what lives on stays."""
    loop = ClockedLoop(agent, "s1", "s2")
    before = agent.verify("s1", tmp_path)
    assert agent.issued() == SERVICES
    agent.clock.step_to(30 * HOUR)
    wait_until(lambda: agent.admin("status") and not loop.ask()["superseded"])
    assert agent.verify("s1", tmp_path)["serial"] == before["serial"]  # nothing is due before 60 %
    assert agent.issued() == SERVICES
    agent.clock.step_to(50 * HOUR)  # 69 %: some are due
    wait_until(lambda: agent.issued() > SERVICES)
    assert agent.issued() < 2 * SERVICES
    agent.clock.step_to(66 * HOUR)  # 92 %: all that are left are
    wait_until(lambda: all_are_valid(agent, SERVICES))
    after = agent.verify("s1", tmp_path)
    assert after["serial"] != before["serial"]
    assert agent.issued() <= 2 * SERVICES + SERVICES // 2
    seen = loop.ask()
    assert seen["expired"] == 0 and seen["gaps"] == 0 and seen["leaf_version"] > loop.first["leaf_version"]
    loop.close()


def test_a_year_forward(agent, tmp_path):
    old = agent.verify("s1", tmp_path)
    agent.admin("intention add s2 s1 allow")
    agent.clock.step_to(YEAR)
    wait_until(lambda: all_are_valid(agent, SERVICES))
    new = agent.verify("s1", tmp_path)
    assert new["serial"] != old["serial"] and new["roots_pem"] == old["roots_pem"]
    assert SERVICES < agent.issued() <= 3 * SERVICES  # no storm
    settled = agent.issued()
    agent.admin("intention add s3 s1 allow")  # the model goes on
    assert agent.issued() == settled
    agent.stop()
    agent.start()
    agent.verify("s1", tmp_path)
    assert agent.issued() == settled  # nor is anything made by a restart


def test_a_year_back(agent, tmp_path):
    agent.clock.step_to(YEAR)
    wait_until(lambda: all_are_valid(agent, SERVICES))
    loop = ClockedLoop(agent, "s1", "s2")
    wait_until(lambda: "BUSY" not in agent.admin("regions supersede", check=False))
    settled = agent.issued()
    agent.clock.step_to(0)
    wait_until(lambda: all_are_valid(agent, SERVICES))
    leaf = agent.verify("s1", tmp_path)
    assert leaf["not_after"] < agent.clock.now() + 80 * HOUR
    assert settled < agent.issued() <= settled + 2 * SERVICES
    # Everything with an interval goes on: measured by the wall clock, it would stand still for a year.
    wait_until(lambda: "BUSY" not in agent.admin("regions supersede", check=False))
    wait_until(lambda: not [region for region in json.loads(agent.admin("--json regions"))
                            if region["state"] != "current"])
    seen = loop.ask()
    assert seen["gaps"] == 0 and not seen["superseded"] and seen["attached"]
    loop.close()
