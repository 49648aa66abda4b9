# SPDX-License-Identifier: MIT
"""xylemctl against a real agent: what it prints and how it exits."""

import json
import os
import pty
import select
import signal
import subprocess

from cryptography import x509

from agent_process import BIN

OK, NO, USAGE, NO_AGENT, REFUSED = range(5)


def must(agent, *arguments, status=OK):
    done = agent.ctl(*arguments)
    assert done.returncode == status, (arguments, done)
    return done.stdout


def test_exit_status(agent):
    must(agent, "status")
    must(agent, "intention", "check", "web", "db", status=NO)
    must(agent, "intention", "add", "web", "db", "allow")
    must(agent, "intention", "check", "web", "db")
    must(agent, "--json", "intention", "check", "db", "web", status=NO)
    must(agent, "authorize", "db", "spiffe://nowhere/x", status=NO)
    must(agent, "leaf", "else", status=NO)
    must(agent, "nonsense", status=USAGE)
    must(agent, "leaf", status=USAGE)
    must(agent, "ca", "set", "LeafCertTTL=1m", status=REFUSED)
    must(agent, "--json", "ca", "set", "LeafCertTTL=1m", status=REFUSED)
    done = subprocess.run([str(BIN / "xylemctl"), "--socket", str(agent.dir / "nowhere"), "status"],
                          capture_output=True, text=True)
    assert done.returncode == NO_AGENT and "is xylemd running?" in done.stderr


def test_environment_names_the_socket(agent):
    done = subprocess.run([str(BIN / "xylemctl"), "version"], capture_output=True, text=True,
                          env={**os.environ, "XYLEM_ADMIN": str(agent.dir / "admin.sock")})
    assert done.returncode == OK and "region layout" in done.stdout


def test_tables_are_aligned(agent):
    must(agent, "intention", "add", "web", "漢字", "allow", "--description", "wide")
    must(agent, "intention", "add", "*", "db", "deny")
    lines = must(agent, "intention", "list").splitlines()
    assert lines[0].split() == ["SOURCE", "DESTINATION", "ACTION", "PRECEDENCE", "PEER", "DESCRIPTION"]
    columns = [line.index(word) for line, word in zip(lines, ("ACTION", "allow", "deny"))]
    assert columns[0] == columns[1] + len("漢字") == columns[2]  # each takes two columns
    assert "\033" not in "".join(lines)


def test_json_is_passed_through(agent):
    must(agent, "intention", "add", "web", "db", "allow")
    text = must(agent, "intention", "list", "--json")
    assert text.count("\n") == 1 and json.loads(text)[0]["SourceName"] == "web"
    failed = agent.ctl("--json", "leaf", "else")
    assert json.loads(failed.stdout)["error"]["code"] == "NOT_FOUND" and failed.returncode == NO


def test_every_command_is_understood(agent):
    lines = [line.strip() for line in subprocess.run([str(BIN / "xylemctl"), "--help"], capture_output=True,
                                                     text=True).stdout.splitlines()]
    known = {command["command"] for command in json.loads(must(agent, "--json", "intention", "list") and
                                                          agent.admin("--json help"))}
    local = {"restore", "completion"}
    only_there = {"help", "json", "quit"}
    for name in (known - only_there) | local:
        assert any(line == name or line.startswith(name + " ") for line in lines), name


def test_ca_set_from_standard_input_and_file(agent, tmp_path):
    done = agent.ctl("ca", "set", "-", input='{\n  "LeafCertTTL": "48h"\n}\n')
    assert done.returncode == OK, done
    file = tmp_path / "ca.json"
    file.write_text('{"LeafCertTTL":\n"36h"}')
    assert json.loads(must(agent, "ca", "show", "--json"))["Config"]["LeafCertTTL"] == "48h"
    must(agent, "ca", "set", f"@{file}")
    assert json.loads(must(agent, "ca", "show", "--json"))["Config"]["LeafCertTTL"] == "36h"
    assert agent.ctl("ca", "set", "-", input="{").returncode == USAGE


def test_leaf_material(agent):
    with subprocess.Popen([str(BIN / "probe"), "loop", "db", "web"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          env={**os.environ, "XYLEM_SOCKET": str(agent.dir / "attach.sock")}) as proxy:
        proxy.stdout.readline()
        leaf = x509.load_pem_x509_certificate(must(agent, "leaf", "web", "--pem").encode())
        done = subprocess.run([str(BIN / "xylemctl"), "--socket", str(agent.dir / "admin.sock"), "leaf", "--der",
                               "web"], capture_output=True, check=True)
        assert x509.load_der_x509_certificate(done.stdout) == leaf
        assert must(agent, "leaf", "web", "--key").startswith("-----BEGIN EC PRIVATE KEY-----\n")
        proxy.stdin.close()
        assert proxy.wait(timeout=30) == 0


def test_watch(agent):
    with subprocess.Popen([str(BIN / "xylemctl"), "--socket", str(agent.dir / "admin.sock"), "watch", "intentions"],
                          stdout=subprocess.PIPE, text=True) as watcher:
        assert watcher.stdout.readline().split() == ["watching:", "intentions"]
        agent.admin("intention add web db allow")
        assert " intentions index=" in watcher.stdout.readline()
        agent.stop()
        assert watcher.wait(timeout=30) == NO_AGENT


def test_top_once_and_more_often(agent):
    assert "policy version:" in must(agent, "top")
    lines = must(agent, "--json", "top", "--count", "2", "--interval", "0.1").splitlines()
    first, second = [json.loads(line) for line in lines]
    assert first["allowed_rate"] is None and second["allowed_rate"] == 0


def test_top_redraws_a_terminal(agent):
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(BIN / "xylemctl", ["xylemctl", "--socket", str(agent.dir / "admin.sock"), "top", "--interval", "0.1"])
    seen = b""
    while seen.count(b"policy version:") < 3:
        assert select.select([terminal], [], [], 20)[0], seen
        seen += os.read(terminal, 65536)
    os.kill(pid, signal.SIGINT)
    try:
        while chunk := os.read(terminal, 65536):
            seen += chunk
    except OSError:  # how a terminal says that the other side is closed
        pass
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == OK
    assert seen.count(b"\033[H") >= 3 and seen.endswith(b"\033[?7h\033[?25h")


def test_backup_and_restore(agent, tmp_path):
    state = str(agent.dir / "state")
    backup = str(tmp_path / "backup")
    must(agent, "intention", "add", "web", "db", "allow")
    root = must(agent, "roots", "--pem")
    must(agent, "backup", backup)
    must(agent, "intention", "delete", "web", "db")
    must(agent, "rotate")
    refused = agent.ctl("restore", backup, state)
    assert refused.returncode == REFUSED and "stop it first" in refused.stderr
    assert agent.ctl("restore", str(tmp_path / "nowhere"), state).returncode != OK
    agent.kill()  # leaves a write-ahead log behind
    assert (agent.dir / "state" / "state.db-wal").exists()
    must(agent, "restore", backup, state)
    assert sorted(os.listdir(state)) == ["state.db"]
    agent.start()
    must(agent, "intention", "check", "web", "db")
    assert must(agent, "roots", "--pem") == root


def test_completion(agent):
    script = must(agent, "completion")
    done = subprocess.run(["bash", "-c", script + 'COMP_WORDS=(xylemctl intention ""); COMP_CWORD=2; _xylemctl; '
                           'echo "${COMPREPLY[@]}"'], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["list", "add", "delete", "check", "match"]
