# SPDX-License-Identifier: MIT
"""The admin door, spoken to as a script with socat would."""

import base64
import json
import os
import shutil
import socket
import subprocess
import tempfile

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from agent_process import BIN, Agent, wait_until


def answer(agent, line):
    """The JSON answer to one command."""
    text = agent.admin("--json " + line, check=False)
    assert text.endswith("\n\n") and text.count("\n") == 2, text
    return json.loads(text)


def certificates(pem):
    mark = "-----BEGIN CERTIFICATE-----"
    return [x509.load_pem_x509_certificate((mark + part).encode()) for part in pem.split(mark)[1:]]


def audit_lines(agent, event="admin_command"):
    lines = [json.loads(line) for line in agent.log().splitlines() if line.startswith("{")]
    return [line for line in lines if line["event"] == event]


@pytest.fixture
def proxy(agent):
    """A client that judges web -> db all the while, and has a leaf for web."""
    with subprocess.Popen([str(BIN / "probe"), "loop", "db", "web"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          text=True, env={**os.environ, "XYLEM_SOCKET": str(agent.dir / "attach.sock")}) as process:
        process.stdout.readline()
        yield process
        process.stdin.close()
        assert process.wait(timeout=30) == 0


def test_first_line_tells(agent):
    assert agent.admin("status").startswith("OK\n")
    assert agent.admin("bogus", check=False) == 'ERROR INVALID: unknown command "bogus"; try: help\n\n'
    assert answer(agent, "bogus") == {"error": {"code": "INVALID", "text": 'unknown command "bogus"; try: help'}}
    assert agent.admin("intention check web db").startswith("OK denied\n")
    agent.admin("intention add web db allow")
    assert agent.admin("intention check web db").startswith("OK allowed\n")


def test_help_lists_every_command(agent):
    text = agent.admin("help")
    commands = answer(agent, "help")
    assert len(commands) >= 29
    for command in commands:
        assert "\n" + (command["command"] + " " + command["arguments"]).strip() + "\n" in text
    assert [c["command"] for c in answer(agent, "help ca")] == ["ca show", "ca set", "ca crl"]
    assert [c["command"] for c in answer(agent, "help ca set")] == ["ca set"]


def test_every_command_without_words_answers(agent):
    for command in answer(agent, "help"):
        if command["command"] in ("watch", "quit"):
            continue
        text = agent.admin(command["command"], check=False)
        assert text.startswith(("OK", "ERROR ")) and text.endswith("\n\n"), (command, text)
        assert "error" in (found := answer(agent, command["command"])) or isinstance(found, (dict, list))


def test_pipelined_changes_keep_their_order(agent):
    lines = [f"intention add web db{i} {'allow' if i % 2 else 'deny'}" for i in range(200)]
    text = agent.admin_many([*lines, "--json intention list"])
    assert text.count("OK\n\n") == 200
    listed = json.loads(text[text.index("["):])
    assert {i["DestinationName"]: i["Action"] for i in listed} == {
        f"db{i}": "allow" if i % 2 else "deny" for i in range(200)}


def test_changes_survive_a_kill(agent):
    agent.admin("intention add web db allow --description \"kept \\\"words\\\"\"")
    agent.admin("revoke 0a:0b reason keyCompromise")
    agent.kill()
    agent.start()
    assert answer(agent, "intention list")[0]["Description"] == 'kept "words"'
    assert answer(agent, "revocations")[0]["serial"] == "0a:0b"


def test_intentions(agent):
    agent.admin("intention add * db deny")
    agent.admin("intention add web db allow")
    agent.admin(r'intention add api db permissions "[{\"Action\":\"allow\",\"HTTP\":{\"PathPrefix\":\"/\"}}]"')
    agent.admin('intention add cron db permissions [{"Action":"deny","HTTP":{"PathExact":"/x"}}]')
    precedences = [i["Precedence"] for i in answer(agent, "intention list")]
    assert precedences == [9, 9, 9, 8]
    assert answer(agent, "intention check web db")["allowed"] is True
    assert answer(agent, "intention check api db")["allowed"] is False
    assert answer(agent, "intention check else DB") == {
        "allowed": False, "precedence": 8,
        "reason": "Matched L4 intention: default/* => default/db (Precedence: 8, Action: DENY)"}
    assert [i["SourceName"] for i in answer(agent, "intention match destination db")] == ["api", "cron", "web", "*"]
    assert [i["SourceName"] for i in answer(agent, "intention match source web")] == ["web", "*"]
    agent.admin("intention delete web db")
    assert answer(agent, "intention delete web db")["error"]["code"] == "NOT_FOUND"
    for wrong in ("intention add web db maybe", "intention add a/b/c/d db allow", "intention add w* db allow",
                  "intention add web db permissions [", "intention add web db permissions []",
                  "intention add web db allow --nonsense", "intention match both db"):
        assert answer(agent, wrong)["error"]["code"] == "INVALID", wrong
    assert len(answer(agent, "intention list")) == 3


def test_dry_run_knows_what_was_seen(agent, proxy):
    def flips(line):
        found = answer(agent, line)
        assert found["dry_run"] is True
        return [(f["source"], f["destination"], f["becomes"]) for f in found["flips"]]

    agent.admin("intention add web db allow")
    wait_until(lambda: any(p["source"] == "web" and p["allowed"] for p in answer(agent, "top")["pairs"]))
    before = answer(agent, "intention list")
    assert flips("intention add * db deny --dry-run") == []
    assert flips("intention add web db deny --dry-run") == [("web", "db", "denied")]
    assert flips("intention delete web db --dry-run") == [("web", "db", "denied")]
    assert answer(agent, "intention delete web else --dry-run")["error"]["code"] == "NOT_FOUND"
    assert answer(agent, "intention list") == before
    assert not [line for line in audit_lines(agent) if "deny" in line["subject"]]


def test_authorize(agent):
    domain = json.loads(agent.admin("--json status"))["ca"]["TrustDomain"]
    uri = f"spiffe://{domain}/ns/default/dc/dc1/svc/web"
    agent.admin("intention add web db allow")
    found = answer(agent, f"authorize db {uri}")
    assert found["allowed"] is True and found["precedence"] == 9
    assert found["reason"] == "Matched L4 intention: default/web => default/db (Precedence: 9, Action: ALLOW)"
    assert agent.admin(f"authorize db {uri}").startswith("OK allowed\n")
    assert agent.admin(f"authorize db {uri}x").startswith("OK denied\n")
    agent.admin("revoke 0x1234")
    assert answer(agent, f"authorize db {uri} 12:34")["reason"] == "the peer's certificate is revoked"
    assert answer(agent, f"authorize db {uri} zz")["error"]["code"] == "INVALID"
    version = found["policy_version"]
    assert answer(agent, f"authorize db {uri}")["policy_version"] > version


def test_revocations(agent):
    agent.admin("revoke 0a:0b reason keyCompromise expires 1000")
    agent.admin("revoke decimal:300 aa:bb")
    rows = answer(agent, "revocations")
    assert [(r["serial"], r["issuer_key_id"], r["reason"]) for r in rows] == [
        ("0a:0b", "", "keyCompromise"), ("01:2c", "aa:bb", "unspecified")]
    assert rows[0]["expires"] > rows[0]["revoked"] and rows[1]["expires"] is None
    agent.admin("unrevoke 0a:0b")
    assert answer(agent, "unrevoke 01:2c")["error"]["code"] == "NOT_FOUND"  # it has an issuer
    agent.admin("unrevoke 01:2c aa:bb")
    assert answer(agent, "revocations") == []
    for wrong in ("revoke", "revoke 11", "revoke 0x0a reason nonsense", "revoke 0x0a reason removeFromCRL",
                  "revoke 0x0a expires -1", "revoke 0x0a expires 99999999999999999999", "revoke 0x0a aa bb"):
        assert answer(agent, wrong)["error"]["code"] == "INVALID", wrong


def test_leaf_material(agent, proxy):
    info = answer(agent, "leaf web")
    der = base64.b64decode(answer(agent, "leaf web der")["der"], validate=True)
    leaf = x509.load_der_x509_certificate(der)
    assert leaf.serial_number == int(info["serial"].replace(":", ""), 16)
    pem = agent.admin("leaf web pem").removeprefix("OK\n").removesuffix("\n")
    assert certificates(pem)[0] == leaf
    key = serialization.load_pem_private_key(answer(agent, "leaf web key")["key"].encode(), None)
    assert key.public_key().public_numbers() == leaf.public_key().public_numbers()
    assert [line["subject"] for line in audit_lines(agent)] == ["private key of web"]
    assert "PRIVATE" not in agent.log()
    roots = answer(agent, "roots pem")["pem"]
    for root in certificates(roots):
        root.public_key().verify(leaf.signature, leaf.tbs_certificate_bytes, ec.ECDSA(leaf.signature_hash_algorithm))
    assert answer(agent, "leaf else")["error"]["code"] == "NOT_FOUND"
    assert answer(agent, "leaf web p12")["error"]["code"] == "INVALID"


def test_renew(agent, proxy):
    version = answer(agent, "leaf web")["version"]
    agent.admin("renew web")
    wait_until(lambda: answer(agent, "leaf web")["version"] > version)
    assert answer(agent, "renew else")["error"]["code"] == "NOT_FOUND"


def test_ca(agent):
    before = answer(agent, "roots")
    agent.admin("ca set LeafCertTTL=48h CSRMaxPerSecond=25")
    config = answer(agent, "ca show")["Config"]
    assert config["LeafCertTTL"] == "48h" and config["CSRMaxPerSecond"] == 25
    assert answer(agent, "roots") == [{**before[0], "left_sec": answer(agent, "roots")[0]["left_sec"]}]
    agent.admin('ca set {"LeafCertTTL":"24h"}')
    assert "CSRMaxPerSecond" not in answer(agent, "ca show")["Config"]
    for wrong in ("ca set LeafCertTTL=1m", "ca set {", "ca set LeafCertTTL", 'ca set {"Config":{},"X":1}'):
        assert "error" in answer(agent, wrong), wrong
    agent.admin("rotate")
    roots = answer(agent, "roots")
    assert [r["active"] for r in roots].count(True) == 1 and len(roots) == 2
    assert answer(agent, "ca crl 0")["error"]["code"] == "INVALID"


def test_crl(agent):
    other = answer(agent, "ca crl")
    number = x509.load_pem_x509_crl(other["pem"].encode()).extensions.get_extension_for_class(x509.CRLNumber)
    active = json.loads(agent.admin("--json status"))["ca"]["SigningKeyID"]
    agent.admin("revoke 0x0a0b reason keyCompromise")
    agent.admin(f"revoke 0x0a0b {active} reason superseded")
    agent.admin(f"revoke 0x0c {active}")
    agent.admin("revoke 0x0d aa:bb")  # of somebody else
    crl = x509.load_pem_x509_crl(agent.admin("ca crl 600").removeprefix("OK\n").encode())
    assert sorted(entry.serial_number for entry in crl) == [0x0c, 0x0a0b]
    reason = crl.get_revoked_certificate_by_serial_number(0x0a0b).extensions.get_extension_for_class(x509.CRLReason)
    assert reason.value.reason == x509.ReasonFlags.superseded
    root = x509.load_pem_x509_certificate(answer(agent, "roots pem")["pem"].encode())
    assert crl.is_signature_valid(root.public_key())
    later = crl.extensions.get_extension_for_class(x509.CRLNumber)
    assert later.value.crl_number > number.value.crl_number


def test_a_private_key_is_never_logged(agent):
    key = subprocess.run(["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout"], capture_output=True,
                         text=True, check=True).stdout
    agent.admin("ca set " + json.dumps({"PrivateKey": key}, separators=(",", ":")).replace(" ", "\\u0020"))
    body = key.splitlines()[1]
    assert body not in agent.admin("ca show") and body not in agent.log()


def test_watch(agent):
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(20)
        connection.connect(str(agent.dir / "admin.sock"))
        connection.sendall(b"--json watch intentions revocations\n")
        connection.shutdown(socket.SHUT_WR)  # a script's end of input is not the end of its interest
        lines = connection.makefile()
        assert json.loads(lines.readline()) == {"watching": ["intentions", "revocations"]}
        assert lines.readline() == "\n"
        agent.admin("rotate")
        agent.admin("intention add web db allow")
        agent.admin("revoke 0x0a")
        events = [json.loads(lines.readline()) for _ in range(2)]
    assert [event["event"] for event in events] == ["intentions", "revocations"]
    assert events[0]["index"] < events[1]["index"]
    assert answer(agent, "watch nonsense")["error"]["code"] == "INVALID"


def test_top_has_rates(agent, proxy):
    agent.admin("intention add web db allow")
    wait_until(lambda: any(p["allowed"] for p in answer(agent, "top")["pairs"]))
    text = agent.admin_many(["--json top", "--json top 1"])
    first, second = [json.loads(line) for line in text.split("\n\n") if line]
    assert first["allowed_rate"] is None and second["allowed_rate"] >= 0
    pair = second["pairs"][0]
    assert (pair["source"], pair["target"]) == ("web", "db")
    assert second["allowed"] >= first["allowed"] > 0
    assert len(second["pairs"]) == 1 and len(second["clients"]) == 1
    assert "web" in [leaf["service"] for leaf in second["leaves"]]


def test_backup_is_a_store(agent, tmp_path):
    agent.admin("intention add web db allow")
    agent.admin(f'backup "{tmp_path}/copy of it"')
    assert (tmp_path / "copy of it").stat().st_mode & 0o777 == 0o600
    assert answer(agent, "backup relative")["error"]["code"] == "INVALID"
    assert answer(agent, "backup /nonexistent/x")["error"]["code"] == "SYSTEM"


def test_audit_names_the_peer(agent):
    agent.admin("intention add web db allow")
    agent.admin("intention list")
    agent.admin("log level debug")
    agent.admin("log level")
    lines = audit_lines(agent)
    assert [(line["command"], line["subject"], line["result"]) for line in lines] == [
        ("intention add", "web => db allow", "OK"), ("log level", "debug", "OK")]
    assert all(line["uid"] == os.getuid() and line["pid"] == os.getpid() for line in lines)


def test_a_peer_that_leaves_at_once_is_harmless(agent):
    for i in range(50):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.connect(str(agent.dir / "admin.sock"))
            connection.sendall(f"intention add gone db{i} allow\n".encode() * 3 + b"rotate\nca crl\n")
    wait_until(lambda: len(answer(agent, "intention list")) == 50)


def test_connections_are_limited(agent):
    held = []
    try:
        refused = b""
        while not refused and len(held) < 200:
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            held.append(connection)
            connection.settimeout(20)
            connection.connect(str(agent.dir / "admin.sock"))
            connection.sendall(b"version\n")
            first = connection.recv(100)
            refused = first if first.startswith(b"ERROR") else b""
        assert refused.startswith(b"ERROR LIMIT: ") and len(held) > 64
    finally:
        for connection in held:
            connection.close()
    wait_until(lambda: agent.admin("version", check=False).startswith("OK"))


@pytest.mark.skipif(os.getuid() != 0, reason="needs other users")
def test_levels_of_users():
    directory = tempfile.mkdtemp(prefix="xylem-")
    os.chmod(directory, 0o755)
    config = os.path.join(directory, "xylemd.conf")
    with open(config, "w") as file:
        file.write(f"""state_directory = "{directory}/state"
run_directory = "{directory}/run"
admin "default" {{
    mode = 0666
    operators = {{"1001", "@1002"}}
}}
service "web" {{ users = {{"0"}} }}
""")
    agent = Agent(directory + "/run", ["--config", config])

    def ask(line, uid, gid):
        done = subprocess.run(["setpriv", f"--reuid={uid}", f"--regid={gid}", "--clear-groups", "socat", "-t20", "-",
                               f"UNIX-CONNECT:{directory}/run/admin.sock"], input=line + "\n", capture_output=True,
                              text=True, timeout=60)
        return done.stdout

    try:
        agent.start()
        assert ask("status", 1003, 1003).startswith("OK")
        assert "needs level operator" in ask("intention add web db allow", 1003, 1003)
        assert ask("intention add web db allow", 1001, 1001).startswith("OK")
        assert ask("intention add web db deny", 1003, 1002).startswith("OK")
        assert "needs level admin" in ask("rotate", 1001, 1001)
        assert "needs level admin" in ask("leaf web key", 1001, 1001)
        assert ask("leaf web pem", 1003, 1003).startswith("OK\n-----BEGIN CERTIFICATE")
        denied = [line for line in audit_lines(agent) if line["result"] == "DENIED"]
        assert [(line["uid"], line["subject"]) for line in denied] == [(1001, "private key of web")]
    finally:
        agent.stop()
        shutil.rmtree(directory)
