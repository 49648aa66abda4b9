# SPDX-License-Identifier: MIT
"""What the agent promises when it is killed, when its disk is full, and when its state is damaged."""

import contextlib
import json
import os
import pathlib
import random
import re
import shutil
import socket
import sqlite3
import subprocess
import tempfile
import threading
import time

import pytest

from agent_process import BIN, Agent, wait_until
from test_agent import Loop

KILLS = 25


class Writer(threading.Thread):
    """Adds and deletes numbered intentions, one after the other, and remembers what was answered."""

    def __init__(self, agent):
        super().__init__()
        self.agent = agent
        self.random = random.Random(2)
        self.number = 0
        self.there = {}  # number: True acknowledged as added, False as deleted, None not known
        self.strange = []  # answers that nobody expects
        self.enough = threading.Event()

    def command(self, line):
        """The answer, or None if there was none."""
        try:
            answer = self.agent.admin(line, check=False)
        except OSError:
            return None
        return answer if answer.endswith("\n") and answer.strip() else None

    def step(self):
        known = [number for number, there in self.there.items() if there]
        if known and self.random.random() < 0.3:
            number, verb, outcome = self.random.choice(known), "delete", False
        else:
            self.number += 1
            number, verb, outcome = self.number, "add", True
        before = self.there.get(number, False)
        self.there[number] = None
        answer = self.command(f"intention {verb} from-{number} to-{number}" + (" allow" if outcome else ""))
        if answer is None:
            time.sleep(0.002)  # nobody listens just now
        elif answer.startswith("OK"):
            self.there[number] = outcome
        else:
            self.there[number] = before  # refused: nothing has happened
            self.strange.append(answer)

    def run(self):
        while not self.enough.is_set():
            self.step()


def intentions_of(agent):
    listed = json.loads(agent.admin("--json intention list"))
    return {int(item["SourceName"].removeprefix("from-")) for item in listed
            if item["SourceName"].startswith("from-")}


def check_intentions(agent, writer):
    """Everything that was acknowledged is as it was acknowledged; what was not may be either way."""
    present = intentions_of(agent)
    for number, there in writer.there.items():
        if there is not None:
            assert (number in present) == there, f"intention {number}: acknowledged {there}"
    return present


def counters_of(agent):
    status = json.loads(agent.admin("--json status"))
    return status["index"], status["policy_version"]


def test_killed_at_any_instant(agent):
    generator = random.Random(1)
    agent.admin("intention add web db allow")
    loop = Loop(agent, "db", "web")
    writer = Writer(agent)
    highest = counters_of(agent)
    acknowledged = 0
    for _ in range(KILLS):
        writer.enough.clear()
        thread = threading.Thread(target=writer.run)
        thread.start()
        if generator.random() < 0.5:
            agent.admin("renew web")
        time.sleep(generator.random() * 0.15)  # the instant is what varies; nothing is waited for
        agent.kill()
        assert loop.ask()["allow"] is True
        writer.enough.set()
        thread.join()
        agent_ready_again(agent)
        present = check_intentions(agent, writer)
        counters = counters_of(agent)
        assert counters[0] >= highest[0] and counters[1] > highest[1]
        assert counters[0] >= acknowledged
        highest = counters
        acknowledged = len([number for number, there in writer.there.items() if there])
        for number in writer.there:  # what was in the air is known now
            writer.there[number] = number in present
    assert len(writer.there) > 2 * KILLS
    assert not writer.strange
    seen = loop.wait(lambda now: now["attached"])
    assert seen["allow"] is True and seen["gaps"] == 0 and seen["expired"] == 0
    agent.admin("renew web")
    loop.wait(lambda now: now["leaf_version"] > seen["leaf_version"])
    loop.close()
    check_serials(agent)


def agent_ready_again(agent):
    """As Agent.start(), whose sign of readiness is in the log of earlier lives already."""
    before = agent.log().count("msg=ready")
    agent.start()
    wait_until(lambda: agent.log().count("msg=ready") > before)


def check_serials(agent):
    """No serial number is given out twice, and every leaf that was is in the audit file and in the inventory."""
    issued = re.findall(r'"event":"certificate_(?:issued|renewed)"[^\n]*"serial":"([0-9a-f:]+)"', agent.log())
    assert len(issued) == len(set(issued))
    announced = re.findall(r'msg="leaf (?:issued|renewed)" service=\S+ serial=([0-9a-f:]+)', agent.log())
    assert len(announced) == len(set(announced)) > 3
    assert set(announced) <= set(issued)
    agent.stop()
    database = sqlite3.connect(f"file:{agent.dir}/state/state.db?mode=ro", uri=True)
    with contextlib.closing(database):
        inventory = [row[0].hex() for row in database.execute("SELECT serial FROM certificate")]
    assert len(inventory) == len(set(inventory))
    assert {serial.replace(":", "") for serial in announced} <= set(inventory)
    agent.start()


# --- disks ---

@pytest.fixture
def small_disk():
    if os.geteuid() != 0:
        pytest.skip("needs root to mount a small file system")
    with tempfile.TemporaryDirectory(prefix="xylem-") as name:
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m,mode=0700", "tmpfs", name], capture_output=True,
                                 text=True)
        if mounted.returncode != 0:
            pytest.skip("cannot mount here: " + mounted.stderr.strip())
        try:
            yield pathlib.Path(name)
        finally:
            subprocess.run(["umount", "-l", name], check=True)


def config_in(directory, state, more=""):
    path = pathlib.Path(directory) / "xylemd.conf"
    path.write_text(f'state_directory = "{state}"\nrun_directory = "{directory}/run"\n{more}')
    return path


def test_full_disk(small_disk):
    with tempfile.TemporaryDirectory(prefix="xylem-") as directory:
        config = config_in(directory, small_disk / "state")
        agent = Agent(directory + "/run", ["--config", str(config)])
        agent.start()
        agent.admin("intention add web db allow")
        loop = Loop(agent, "db", "web")
        ballast = small_disk / "ballast"
        with open(ballast, "wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(b"x" * 4096)
        kept = []
        for number in range(1000):  # what the file has room for still goes in
            answer = agent.admin(f"intention add from-{number} to-{number} deny --description {'x' * 400}", check=False)
            if answer.startswith("ERROR"):
                break
            kept.append(number)
        assert answer.startswith("ERROR SYSTEM") and "full" in answer, answer
        assert number not in intentions_of(agent)
        answer = agent.admin("intention delete web db", check=False)
        assert answer.startswith("ERROR SYSTEM"), answer
        version = loop.ask()["leaf_version"]
        agent.admin("renew web", check=False)
        wait_until(lambda: "could not be renewed" in agent.log())
        seen = loop.ask()
        assert seen["allow"] is True and seen["attached"] and seen["gaps"] == 0 and seen["leaf_version"] == version
        ballast.unlink()
        agent.admin("intention add web db deny")  # and it goes on by itself
        assert loop.ask()["allow"] is False
        agent.admin("renew web", check=False)
        assert loop.wait(lambda now: now["leaf_version"] > version)["gaps"] == 0
        agent.kill()
        agent_ready_again(agent)
        assert intentions_of(agent) == set(kept)
        assert json.loads(agent.admin("--json intention list"))
        loop.close()
        agent.stop()


def refused(config):
    """Starts an agent that must not start; what it says."""
    done = subprocess.run([str(BIN / "xylemd"), "--config", str(config)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1, done.stderr
    assert "Sanitizer" not in done.stderr and "runtime error" not in done.stderr, done.stderr
    return done.stderr


@pytest.fixture
def place():
    with tempfile.TemporaryDirectory(prefix="xylem-") as directory:
        yield pathlib.Path(directory)


def run_once(place, config):
    agent = Agent(place / "run", ["--config", str(config)])
    agent.start()
    agent.admin("intention add web db allow")
    agent.stop()
    return agent


def test_state_directory_cannot_be_written(small_disk, place):
    state = small_disk / "state"
    config = config_in(place, state)
    run_once(place, config)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    message = refused(config)
    assert f"state_directory {state}" in message and "Read-only file system" in message, message
    subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
    run_once(place, config)


def test_state_directory_cannot_be_made(place):
    message = refused(config_in(place, place / "missing" / "state"))
    assert str(place / "missing" / "state") in message
    (place / "file").write_text("")
    assert str(place / "file") in refused(config_in(place, place / "file"))


def test_state_is_for_its_owner_alone(place):
    state = place / "state"
    config = config_in(place, state)
    run_once(place, config)
    state.chmod(0o755)
    message = refused(config)
    assert str(state) in message and "0700" in message
    state.chmod(0o700)
    (state / "state.db").chmod(0o640)
    assert "state.db" in refused(config)


@pytest.mark.parametrize("damage", ["text", "cut", "scribbled", "rows"])
def test_damaged_database(place, damage):
    state = place / "state"
    config = config_in(place, state)
    agent = run_once(place, config)
    path = state / "state.db"
    good = path.read_bytes()
    if damage == "text":
        path.write_text("this is no database\n" * 100)
    elif damage == "cut":
        path.write_bytes(good[:len(good) // 2])
    elif damage == "scribbled":
        path.write_bytes(good[:4096] + bytes(random.Random(3).randbytes(len(good) - 4096)))
    else:
        with contextlib.closing(sqlite3.connect(path)) as database:
            database.execute("UPDATE intention SET action = 'perhaps'" if not constraint(database) else
                             "UPDATE intention SET permissions_json = '{', action = ''")
            database.commit()
    message = refused(config)
    assert "state.db" in message or "store" in message, message
    for leftover in state.glob("state.db-*"):
        leftover.unlink()
    path.write_bytes(good)  # what the message asks for: a copy put back
    path.chmod(0o600)
    agent_ready_again(agent)
    assert "web" in agent.admin("intention list")
    agent.stop()


def constraint(database):
    (schema,) = database.execute("SELECT sql FROM sqlite_master WHERE name = 'intention'").fetchone()
    return "CHECK (action" in schema


def test_key_file(place):
    state, key = place / "state", place / "key"
    config = config_in(place, state, f'key_file = "{key}"\nservice "web" {{}}\n')
    message = refused(config)
    assert str(key) in message and "No such file" in message
    key.write_bytes(random.Random(4).randbytes(40))
    key.chmod(0o644)
    assert str(key) in refused(config)
    key.chmod(0o600)
    agent = run_once(place, config)
    for path in state.iterdir():
        assert b"PRIVATE KEY" not in path.read_bytes()
    away = place / "away"
    shutil.move(key, away)
    assert str(key) in refused(config)
    key.write_bytes(random.Random(5).randbytes(40))
    key.chmod(0o600)
    message = refused(config)
    assert "key" in message and "sealed" in message, message
    without = config_in(place, state, 'service "web" {}\n')
    assert "sealed" in refused(without)
    config = config_in(place, state, f'key_file = "{key}"\nservice "web" {{}}\n')
    shutil.move(away, key)
    issued = agent.log().count('"kind":"leaf"')
    agent_ready_again(agent)  # everything opens again, and nothing had to be made anew
    assert agent.log().count('"kind":"leaf"') == issued
    agent.stop()


def test_clients_that_die_leave_nothing_behind(agent):
    """Proxies killed in the middle of their sections: what they held is let go."""
    agent.admin("intention add web db allow")
    loops = [Loop(agent, "db", "web") for _ in range(5)]
    survivor = loops.pop()
    for loop in loops:
        loop.process.kill()
        loop.process.wait()
        loop.process.stdin.close()
        loop.process.stdout.close()
    wait_until(lambda: len(json.loads(agent.admin("--json clients"))) == 1)
    wait_until(lambda: "BUSY" not in agent.admin("regions supersede", check=False))
    wait_until(lambda: all(region["state"] == "current" for region in json.loads(agent.admin("--json regions"))))
    assert survivor.ask()["gaps"] == 0
    survivor.close()
    wait_until(lambda: not json.loads(agent.admin("--json clients")))


def test_hostile_connections_change_nothing(agent):
    """Garbage at both doors; the agent and its other clients go on."""
    loop = Loop(agent, "db", "web")
    generator = random.Random(6)
    for _ in range(50):
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection, contextlib.suppress(OSError):
            connection.connect(str(agent.dir / "attach.sock"))
            connection.send(generator.randbytes(generator.choice([1, 16, 100, 296, 1000])))
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection, contextlib.suppress(OSError):
            connection.connect(str(agent.dir / "admin.sock"))
            connection.send(generator.randbytes(200) + b"\n")
    agent.admin("intention add web db allow")
    assert loop.ask()["allow"] is True
    loop.close()
