# SPDX-License-Identifier: MIT
"""The agent through its doors: real processes, the public header (probe), the admin socket."""

import json
import os
import pwd
import signal
import subprocess
import textwrap
import time

import pytest

from agent_process import BIN, Agent, wait_until


def probe(agent, *arguments, uid=None):
    command = [str(BIN / "probe"), *arguments]
    if uid is not None:
        command = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", *command]
    done = subprocess.run(command, env={**os.environ, "XYLEM_SOCKET": str(agent.dir / "attach.sock")},
                          capture_output=True, text=True, timeout=60)
    return done.returncode, json.loads(done.stdout or "{}")


class Loop:
    """A proxy that judges connections all the time; ask() tells what it sees now."""

    def __init__(self, agent, target, peer, *options):
        self.process = subprocess.Popen([str(BIN / "probe"), *options, "loop", target, peer], text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        env={**os.environ, "XYLEM_SOCKET": str(agent.dir / "attach.sock")})
        self.first = json.loads(self.process.stdout.readline())

    def ask(self):
        self.process.stdin.write("?\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def wait(self, condition, deadline_sec=20):
        return wait_until(lambda: (lambda seen: seen if condition(seen) else None)(self.ask()), deadline_sec)

    def close(self):
        self.process.stdin.close()
        assert self.process.wait(timeout=30) == 0


@pytest.fixture
def loop(agent):
    running = Loop(agent, "db", "web")
    yield running
    running.close()


def test_acknowledged_is_visible(agent, loop):
    assert loop.first["allow"] is False
    assert loop.first["reason"] == "Default intention policy"
    before = loop.ask()["policy_version"]
    agent.admin("intention add web db allow")
    seen = loop.ask()  # no waiting: what was acknowledged is seen by the next section
    assert seen["allow"] is True
    assert seen["reason"] == "Matched L4 intention: default/web => default/db (Precedence: 9, Action: ALLOW)"
    assert seen["policy_version"] > before
    agent.admin("intention add web db deny")
    assert loop.ask()["allow"] is False
    agent.admin("intention delete web db")
    assert loop.ask()["reason"] == "Default intention policy"


def test_permissions_deny_at_l4(agent, loop):
    agent.admin("""intention add web db permissions '[]'""", check=False)
    agent.admin(r'intention add web db permissions "[{\"Action\":\"allow\",\"HTTP\":{\"PathPrefix\":\"/\"}}]"')
    seen = loop.ask()
    assert seen["allow"] is False
    assert seen["reason"] == "Matched L7 intention: default/web => default/db (Precedence: 9, Permissions: 1)"


def test_wildcards_follow_precedence(agent, loop):
    agent.admin("intention add * * allow")
    assert loop.ask()["allow"] is True
    agent.admin("intention add * db deny")
    assert loop.ask()["reason"].endswith("default/* => default/db (Precedence: 8, Action: DENY)")
    agent.admin("intention add web db allow")
    assert loop.ask()["allow"] is True


def test_revocation(agent, loop):
    agent.admin("intention add web db allow")
    leaf = json.loads(agent.admin("--json leaf web"))
    serial = next(value for key, value in leaf.items() if key.lower() in ("serial", "serialnumber"))
    agent.admin(f"revoke 0x{serial.replace(':', '')}")
    seen = loop.ask()
    assert seen["allow"] is False
    assert seen["reason"] == "the peer's certificate is revoked"
    agent.admin("renew web")
    renewed = loop.wait(lambda now: now["leaf_version"] != seen["leaf_version"])
    assert renewed["allow"] is True


def verify(leaf, directory, roots=None):
    chain, bundle = directory / "chain.pem", directory / "roots.pem"
    chain.write_text(leaf["chain_pem"])
    bundle.write_text(roots or leaf["roots_pem"])
    return subprocess.run(["openssl", "verify", "-x509_strict", "-CAfile", str(bundle), "-untrusted", str(chain),
                           str(chain)], capture_output=True, text=True)


def test_rotation_without_a_gap(agent, loop, tmp_path):
    status, old = probe(agent, "leaf", "web")
    assert status == 0 and verify(old, tmp_path).returncode == 0
    agent.admin("rotate")
    assert loop.ask()["gaps"] == 0
    agent.admin("renew web")
    loop.wait(lambda now: now["leaf_version"] != old["version"])
    status, new = probe(agent, "leaf", "web")
    assert new["roots"] == 2 and new["roots_now"] >= new["roots_version"] > old["roots_version"]
    assert new["version"] > old["version"] and new["serial"] != old["serial"]
    assert verify(new, tmp_path).returncode == 0
    assert verify(old, tmp_path, roots=new["roots_pem"]).returncode == 0  # the old root is still trusted
    assert verify(new, tmp_path, roots=old["roots_pem"]).returncode == 0  # through the cross-signed intermediate
    final = loop.ask()
    assert final["gaps"] == 0 and final["expired"] == 0


def test_agent_killed_and_restarted(agent, loop):
    agent.admin("intention add web db allow")
    before = loop.ask()
    for _ in range(3):
        agent.kill()
        during = loop.wait(lambda now: not now["attached"])
        assert during["allow"] is True
        agent.start()
        after = loop.wait(lambda now: now["attached"] and now["policy_version"] > before["policy_version"])
        assert after["allow"] is True
        assert after["leaf_version"] == before["leaf_version"]  # the same certificate, not a new one
        assert after["policy_version"] > before["policy_version"]
        before = after
    agent.admin("intention add web db deny")
    assert loop.ask()["allow"] is False
    assert loop.ask()["gaps"] == 0


def test_max_stale_denies(agent):
    loop = Loop(agent, "db", "web", "--stale", "500")
    agent.admin("intention add web db allow")
    assert loop.ask()["allow"] is True
    agent.process.send_signal(signal.SIGSTOP)
    seen = loop.wait(lambda now: not now["allow"])
    assert seen["reason"] == "the agent has not been heard of for longer than max_stale"
    agent.process.send_signal(signal.SIGCONT)
    loop.wait(lambda now: now["allow"])
    loop.close()


def test_superseding_keeps_answers(agent, loop):
    agent.admin("intention add web db allow")
    for number in range(3000):
        agent.admin_many([f"intention add source-{number} target-{number % 50} allow"])
    regions = json.loads(agent.admin("--json regions"))
    assert loop.ask()["allow"] is True
    assert loop.ask()["superseded"] is False
    text = json.dumps(regions)
    assert "policy" in text and "scope" in text
    assert loop.ask()["gaps"] == 0


def test_configured_services_and_access(tmp_path_factory):
    if os.geteuid() != 0:
        pytest.skip("needs root to become other users")
    games = pwd.getpwnam("games").pw_uid
    other = pwd.getpwnam("daemon").pw_uid
    directory = tmp_path_factory.mktemp("access", numbered=True)
    directory.chmod(0o755)
    for parent in directory.parents:
        if str(parent).startswith("/tmp/"):
            parent.chmod(parent.stat().st_mode | 0o055)
    config = directory / "xylemd.conf"
    text = textwrap.dedent(f"""
        state_directory = "{directory}/state"
        run_directory = "{directory}/run"
        service "web" {{ users = {{"games"}} }}
        service "db" {{ users = {{"daemon"}} }}
        leaves {{ on_request = false }}
        """)
    config.write_text(text)
    agent = Agent(directory / "run", ["--config", str(config)])
    agent.start()
    try:
        assert probe(agent, "leaf", "web", uid=games)[0] == 0
        assert probe(agent, "leaf", "db", uid=other)[0] == 0
        assert probe(agent, "leaf", "db", uid=games)[0] == 1
        assert probe(agent, "leaf", "unknown", uid=games)[0] == 1
        _, before = probe(agent, "leaf", "web", uid=games)
        # Withdrawn access: a new key and certificate for who keeps it, nothing for who lost it.
        config.write_text(text.replace('service "web" { users = {"games"} }', 'service "web" { users = {"daemon"} }'))
        agent.process.send_signal(signal.SIGHUP)
        wait_until(lambda: "configuration reloaded" in agent.log())
        after = wait_until(lambda: (lambda answer: answer if answer[0] == 0 else None)(
            probe(agent, "leaf", "web", uid=other)))[1]
        assert probe(agent, "leaf", "web", uid=games)[0] == 1
        wait_until(lambda: probe(agent, "leaf", "web", uid=other)[1].get("key_pem", "") not in ("", before["key_pem"]))
        assert after["uri"] == before["uri"]
        # A wrong configuration changes nothing.
        config.write_text("no_such_key = 1\n")
        agent.process.send_signal(signal.SIGHUP)
        wait_until(lambda: "the old one stays" in agent.log())
        assert probe(agent, "leaf", "web", uid=other)[0] == 0
    finally:
        agent.stop()


def test_check_config(tmp_path):
    config = tmp_path / "bad.conf"
    config.write_text('datacenter = "dc1"\nno_such_key = 1\n')
    done = subprocess.run([str(BIN / "xylemd"), "--config", str(config), "--check-config"], capture_output=True,
                          text=True)
    assert done.returncode == 1 and f"{config}:2" in done.stderr
    config.write_text('datacenter = "dc1"\n')
    done = subprocess.run([str(BIN / "xylemd"), "--config", str(config), "--check-config"], capture_output=True,
                          text=True)
    assert done.returncode == 0


def test_second_agent_is_refused(agent):
    second = subprocess.run([str(BIN / "xylemd"), "--dev", "--directory", str(agent.dir)], capture_output=True,
                            text=True, timeout=20)
    assert second.returncode == 1
    assert str(agent.dir / "state") in second.stderr
    assert "OK" in agent.admin("status")


def test_secrets_stay_where_they_are(agent):
    _, leaf = probe(agent, "leaf", "web")
    secret = "".join(leaf["key_pem"].split("\n")[1:-2])
    assert len(secret) > 40
    assert secret[:40] not in agent.log()
    assert secret[:40] not in agent.admin("status") + agent.admin("leaf web") + agent.admin("leaves")
    assert (agent.dir / "state").stat().st_mode & 0o777 == 0o700
    for path in (agent.dir / "state").iterdir():
        assert path.stat().st_mode & 0o077 == 0, path


def test_start_time_is_short(agent):
    """A promise of the documentation: within a second on any machine; xylem-bench start measures it."""
    agent.stop()
    started = time.monotonic()
    agent.start()
    assert time.monotonic() - started < 10
