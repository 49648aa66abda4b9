# SPDX-License-Identifier: MIT
"""What an installation holds, and that it is of use from there: headers, pkg-config, CMake, manual, unit."""

import os
import pathlib
import re
import shutil
import subprocess

import pytest

TOP = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(os.environ.get("XYLEM_BIN", TOP / "build" / "dev" / "bin"))
BUILD = BIN.parent
AGENT = BIN / "xylemd"

PAGES = [
    "share/man/man1/xylemctl.1",
    "share/man/man5/xylemd.conf.5",
    "share/man/man7/xylem.7",
    "share/man/man8/xylemd.8",
]
FILES = PAGES + [
    "bin/xylemctl",
    "bin/xylemd",
    "include/xylem/xylem.h",
    "include/xylem/abi.h",
    "include/xylem/wire.h",
    "include/xylem/x509.h",
    "lib/systemd/system/xylemd.service",
    "lib/sysusers.d/xylem.conf",
    "share/bash-completion/completions/xylemctl",
    "share/cmake/xylem/xylemConfig.cmake",
    "share/cmake/xylem/xylemConfigVersion.cmake",
    "share/doc/xylem/LICENSE",
    "share/doc/xylem/xylemd.conf",
    "share/pkgconfig/xylem.pc",
]

PROGRAM = """
#include <xylem/xylem.h>

int main(void)
{
    struct xylem_options options;
    struct xylem_client *client;
    memset(&options, 0, sizeof options);
    options.socket_path = "/nonexistent/attach.sock";
    return xylem_open(&client, &options) == XYLEM_E_NO_AGENT ? 0 : 1;
}
"""
PROJECT = """
cmake_minimum_required(VERSION 3.25)
project(user LANGUAGES C CXX)
find_package(xylem %s REQUIRED)
add_executable(user_c user.c)
add_executable(user_cxx user.cpp)
target_link_libraries(user_c PRIVATE xylem::xylem)
target_link_libraries(user_cxx PRIVATE xylem::xylem)
"""


def run(*command, **options):
    """Runs a command that must succeed; its output is in the failure if it does not."""
    words = [str(word) for word in command]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, **options)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done


def need(tool):
    if not shutil.which(tool):
        pytest.skip(f"{tool} is not installed")


def need_program(name):
    if not (BIN / name).exists():
        pytest.skip(f"{BIN / name} is not built")


@pytest.fixture(scope="module")
def prefix(tmp_path_factory):
    if not (BUILD / "cmake_install.cmake").exists():
        pytest.skip(f"{BUILD} is no build directory; set XYLEM_BIN to the directory of its programs")
    need_program("xylemd")
    need_program("xylemctl")
    # Moved after the installation: nothing in it may know where it was made.
    made = tmp_path_factory.mktemp("install")
    run("cmake", "--install", BUILD, "--prefix", made / "before")
    (made / "before").rename(made / "after")
    return made / "after"


@pytest.fixture
def flags(prefix):
    need("pkg-config")
    environment = dict(os.environ, PKG_CONFIG_PATH=str(prefix / "share/pkgconfig"))
    return run("pkg-config", "--cflags", "--libs", "xylem", env=environment).stdout.split()


@pytest.fixture
def sources(tmp_path):
    (tmp_path / "user.c").write_text(PROGRAM)
    (tmp_path / "user.cpp").write_text(PROGRAM)
    return tmp_path


def test_all_files_and_no_others(prefix):
    installed = [str(path.relative_to(prefix)) for path in prefix.rglob("*") if not path.is_dir()]
    assert sorted(installed) == sorted(FILES)


def test_no_file_names_the_source_or_the_build(prefix):
    for path in prefix.rglob("*"):
        if path.is_file() and path.parent.name != "bin":
            text = path.read_text()
            assert str(TOP) not in text and str(BUILD) not in text, path


@pytest.mark.parametrize("compiler, source", [("cc", "user.c"), ("c++", "user.cpp")])
def test_compiles_with_pkg_config(flags, sources, compiler, source):
    need(compiler)
    run(compiler, "-Wall", "-Wextra", "-Werror", sources / source, *flags, "-o", sources / "user")
    run(sources / "user")


def test_compiles_with_cmake(prefix, sources):
    version = re.search(r"project\(xylem VERSION ([0-9.]+)", (TOP / "CMakeLists.txt").read_text())[1]
    (sources / "CMakeLists.txt").write_text(PROJECT % version)
    run("cmake", "-S", sources, "-B", sources / "build", f"-DCMAKE_PREFIX_PATH={prefix}")
    run("cmake", "--build", sources / "build")
    run(sources / "build" / "user_c")
    run(sources / "build" / "user_cxx")


def test_cmake_refuses_another_major_version(prefix, sources):
    (sources / "CMakeLists.txt").write_text(PROJECT % "7.0")
    done = subprocess.run(
        ["cmake", "-S", sources, "-B", sources / "build", f"-DCMAKE_PREFIX_PATH={prefix}"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode != 0
    assert "compatible" in done.stderr


# --- manual pages ---


def test_man_has_no_complaint(prefix):
    need("man")
    for page in (prefix / name for name in PAGES):
        environment = dict(os.environ, MANWIDTH="80", LC_ALL="C.UTF-8")
        done = run("man", "--warnings", "-Tutf8", "-l", page, env=environment)
        assert done.stdout.strip() and not done.stderr, f"{page.name}: {done.stderr}"


def test_mandoc_has_no_complaint(prefix):
    need("mandoc")
    for page in (prefix / name for name in PAGES):
        run("mandoc", "-Tlint", "-Wwarning", page)


def keys_of_table():
    """[(section or None, key)] of the table at the top of agent/config.h."""
    table = (TOP / "agent/config.h").read_text().split(" *   key  ", 1)[1].split("There is no include", 1)[0]
    keys, path = [], []
    for line in table.splitlines()[1:]:
        line = line.removeprefix(" *   ")
        indent = (len(line) - len(line.lstrip())) // 2
        opened = re.match(r' *([a-z_]+)(?: "NAME")? \{', line)
        key = re.match(r" *([a-z_]+)  +\S", line)
        if opened:
            path = path[:indent] + [opened[1]]
            keys.append(opened[1])
        elif key and indent == len(path):
            keys.append(key[1])
        elif line.strip() == "}":
            path = path[:-1]
    return keys


def test_every_key_is_in_the_manual():
    source = (TOP / "agent/xylemd.conf.5").read_text()
    keys = keys_of_table()
    assert len(keys) > 60 and {"config_version", "csr_max_concurrent", "supersede_interval"} <= set(keys)
    sections = {"log", "audit", "identity", "connect", "ca_config"}
    sections |= {"service", "leaves", "attach", "admin", "limits"}
    for key in set(keys):
        if key in sections:
            assert re.search(rf"^Sections?\n\.Cm {key}\b", source, re.MULTILINE), f"section {key}"
        else:
            entries = len(re.findall(rf"^\.It Cm {key}$", source, re.MULTILINE))
            assert entries == keys.count(key), f"{key}: {entries} entries, {keys.count(key)} in the table"


def test_every_entry_of_the_manual_has_default_and_example():
    source = (TOP / "agent/xylemd.conf.5").read_text()
    entries = re.split(r"^\.It Cm ", source, flags=re.MULTILINE)[1:]
    for entry in entries:
        name, text = entry.split("\n", 1)
        assert "default" in text, f"{name}: no default"
        assert re.search(r"^\.D1 |^\.Bd -literal", text, re.MULTILINE), f"{name}: no example"


def test_every_option_is_in_the_manual():
    need_program("xylemd")
    options = set(re.findall(r"--([a-z][a-z-]+)", run(AGENT, "--help").stdout))
    assert {"config", "check-config", "dev", "directory"} <= options
    source = (TOP / "agent/xylemd.8").read_text()
    documented = set(re.findall(r"^\.It Fl Fl ([a-z-]+)", source, re.MULTILINE))
    assert documented == options


def literal_blocks(source):
    return re.findall(r"^\.Bd -literal.*?\n(.*?)^\.Ed$", source, re.MULTILINE | re.DOTALL)


def test_the_example_of_the_overview_compiles(flags, tmp_path):
    need("cc")
    source = (TOP / "client/xylem.7").read_text()
    examples = [text for text in literal_blocks(source) if "int main" in text]
    assert len(examples) == 1
    (tmp_path / "ask.c").write_text(examples[0].replace("\\en", "\\n"))
    run("cc", "-Wall", "-Wextra", "-Werror", *flags, tmp_path / "ask.c", "-o", tmp_path / "ask")
    environment = dict(os.environ, XYLEM_SOCKET=str(tmp_path / "attach.sock"))
    command = [tmp_path / "ask", "db", "spiffe://x/y"]
    done = subprocess.run(command, env=environment, capture_output=True, timeout=60)
    assert done.returncode == 1 and b"NO_AGENT" in done.stderr


# --- configuration ---


def check(text, path):
    path.write_text(text)
    command = [AGENT, "--config", path, "--check-config"]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_the_example_configuration_is_good(tmp_path):
    need_program("xylemd")
    done = check((TOP / "agent/xylemd.conf").read_text(), tmp_path / "xylemd.conf")
    assert (done.returncode, done.stderr) == (0, "")


def test_so_it_is_with_every_line_uncommented(tmp_path):
    need_program("xylemd")
    text = (TOP / "agent/xylemd.conf").read_text()
    uncommented = re.sub(r"^#(?! )(?=[a-z}])|^#(?=  [a-z]+\w* = )", "", text, flags=re.MULTILINE)
    assert uncommented.count("\n#") < text.count("\n#") - 20
    # The user of the example need not exist where the test runs.
    done = check(uncommented.replace("www-data", "root"), tmp_path / "xylemd.conf")
    assert (done.returncode, done.stderr) == (0, "")


def test_examples_of_the_configuration_manual_are_good(tmp_path):
    need_program("xylemd")
    source = (TOP / "agent/xylemd.conf.5").read_text()
    lines = [line.replace("\\(dq", '"') for line in re.findall(r"^\.D1 (.*)", source, re.MULTILINE)]
    blocks = [text for text in literal_blocks(source) if " = " in text]
    assert len(lines) > 50 and len(blocks) == 2
    of_service = re.compile(r"namespace|partition|users|groups|dns|ip")
    of_ca = re.compile(r"cluster_id|[a-z]+_cert_ttl|private_key|root_cert|csr_|skip_|rotation_")
    for number, text in enumerate(lines + blocks):
        if re.match(r"key_credential|private_key_file|root_cert_file", text):
            continue  # these name something that has to exist
        if of_service.match(text):
            text = 'service "web" { %s }' % text
        elif of_ca.match(text):
            # Type and bits belong together.
            more = {
                'private_key_type = "rsa"': "private_key_bits = 2048",
                "private_key_bits = 4096": 'private_key_type = "rsa"',
            }
            text = "connect { ca_config { %s\n%s } }" % (more.get(text, ""), text)
        text = re.sub(r'"(@?)(haproxy|proxies|monitoring|deploy|oncall|wheel|adm)"', r'"\1root"', text)
        done = check(text + "\n", tmp_path / f"{number}.conf")
        assert done.returncode == 0, f"{text}: {done.stderr}"


# --- systemd ---


def test_the_unit_is_well_formed_and_closed(prefix, tmp_path):
    need("systemd-analyze")
    unit = tmp_path / "xylemd.service"
    text = (prefix / "lib/systemd/system/xylemd.service").read_text()
    assert "ExecStart=xylemd " in text
    unit.write_text(text.replace("ExecStart=xylemd ", f"ExecStart={prefix}/bin/xylemd "))
    environment = dict(os.environ, SYSTEMD_LOG_LEVEL="warning")
    done = run("systemd-analyze", "verify", "--man=no", unit, env=environment)
    assert "xylemd.service" not in done.stderr
    # In tenths: below 2.0.
    run("systemd-analyze", "security", "--offline=true", "--threshold=19", unit)


def test_the_unit_lets_through_what_regions_need():
    need("systemd-analyze")
    filters = re.findall(r"^SystemCallFilter=(.*)$", (TOP / "agent/xylemd.service").read_text(), re.MULTILINE)
    allowed = set()
    for words in filters:
        removing = words.startswith("~")
        for word in words.lstrip("~").split():
            calls = expand(word)
            allowed = allowed - calls if removing else allowed | calls
    regions = {"memfd_create", "mlock2", "membarrier", "madvise", "ftruncate", "fcntl", "fchmod"}
    doors = {"pidfd_open", "lchown", "chmod", "accept4", "recvmsg", "getsockopt", "eventfd2", "epoll_wait"}
    assert regions | doors <= allowed
    assert not {"ptrace", "mount", "setuid", "add_key", "bpf", "io_uring_setup", "reboot"} & allowed


def expand(word):
    """The system calls of a name or a group, groups within it included."""
    if not word.startswith("@"):
        return {word}
    lines = run("systemd-analyze", "syscall-filter", word).stdout.splitlines()[1:]
    names = [line.strip() for line in lines if line.strip() and not line.strip().startswith("#")]
    return set().union(*(expand(name) for name in names))
