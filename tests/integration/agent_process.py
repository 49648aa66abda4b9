# SPDX-License-Identifier: MIT
"""Starts and ends a real xylemd, and speaks to its admin socket."""

import os
import pathlib
import signal
import socket
import subprocess
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(os.environ.get("XYLEM_BIN", ROOT / "build" / "dev" / "bin"))


def wait_until(condition, deadline_sec=20):
    """Polls until the condition yields something true, and returns that."""
    end = time.monotonic() + deadline_sec
    while True:
        result = condition()
        if result:
            return result
        assert time.monotonic() < end, "the deadline has passed"
        time.sleep(0.01)  # between two looks; nothing is assumed about how long anything takes


class Agent:
    def __init__(self, directory, arguments=None):
        self.dir = pathlib.Path(directory)
        self.arguments = arguments or ["--dev", "--directory", str(self.dir)]
        self.log_path = self.dir.parent / (self.dir.name + ".log")
        self.process = None

    def start(self):
        with open(self.log_path, "a") as log:
            self.process = subprocess.Popen([str(BIN / "xylemd"), *self.arguments], stdout=log, stderr=log)
        wait_until(self.is_ready)

    def is_ready(self):
        assert self.process.poll() is None, self.log()
        try:
            return "policy version: " in self.admin("status") and "msg=ready" in self.log()
        except OSError:
            return False

    def log(self):
        return self.log_path.read_text(errors="replace")

    def admin_many(self, lines, check=True):
        """Sends commands over one connection; returns their answers."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(30)
            connection.connect(str(self.dir / "admin.sock"))
            connection.sendall("".join(line + "\n" for line in lines).encode())
            connection.shutdown(socket.SHUT_WR)
            answer = b""
            while chunk := connection.recv(65536):
                answer += chunk
        text = answer.decode()
        if check:
            assert not any(line.startswith(("ERROR ", '{"error"')) for line in text.splitlines()), text
        return text

    def admin(self, line, check=True):
        return self.admin_many([line], check)

    def ctl(self, *arguments, **options):
        return subprocess.run([str(BIN / "xylemctl"), "--socket", str(self.dir / "admin.sock"), *arguments],
                              capture_output=True, text=True, timeout=60, **options)

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(timeout=30)
        assert status == 0, self.log()
        assert "Sanitizer" not in self.log() and "runtime error" not in self.log(), self.log()
