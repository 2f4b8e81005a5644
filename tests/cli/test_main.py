"""The frame of the command line: help, errors, signals, exit codes."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import textwrap

import pytest

from ktune.cli.main import COMMANDS

from .support import HOME

HEAVY = ("optuna", "numpy", "pydantic", "rich", "yaml", "ktune.catalog", "ktune.profile")


@pytest.mark.parametrize(
    "words", [["--help"], ["--version"], ["status"], ["verify"], ["history"], ["studies", "list"]]
)
def test_commands_that_must_answer_at_once_import_nothing_heavy(cli, words):
    script = (
        "import sys; from ktune.cli.main import main; main(sys.argv[1:]); "
        "print('modules:', *sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *words],
        capture_output=True,
        text=True,
        check=True,
        cwd=HOME,
        env=cli.environment(),
    )
    modules = done.stdout.rpartition("modules:")[2].split()
    assert [name for name in modules if name.startswith(HEAVY)] == []


def test_help_imports_no_command(cli):
    script = (
        "import sys; from ktune.cli.main import main; main(['--help']); "
        "print('modules:', *sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=HOME)
    modules = set(done.stdout.rpartition("modules:")[2].split())
    assert not {f"ktune.cli.{name}" for name in COMMANDS} & modules


def test_help_lists_every_command(cli):
    done = cli("--help")
    assert done.code == 0
    for name in COMMANDS:
        assert f"\n    {name} " in done.out


def test_every_command_has_help(cli):
    for name in COMMANDS:
        if (HOME / f"ktune/cli/{name}.py").exists() or (HOME / f"ktune/cli/{name}").is_dir():
            done = cli(name, "--help")
            assert done.code == 0, done.err
            assert done.out.startswith(f"usage: ktune {name}")


def test_no_command_is_a_usage_error_that_shows_the_help(cli):
    done = cli()
    assert done.code == 2
    assert "commands:" in done.err


@pytest.mark.parametrize(("typed", "meant"), [("stauts", "status"), ("aply", "apply")])
def test_a_mistyped_command_names_the_nearest(cli, typed, meant):
    done = cli(typed)
    assert done.code == 2
    assert f"did you mean {meant}" in done.err


@pytest.mark.parametrize("order", [("--state-dir", "X", "status"), ("status", "--state-dir=X")])
def test_the_state_folder_may_stand_on_either_side(cli, tmp_path, order):
    words = [word.replace("X", str(tmp_path / "other")) for word in order]
    assert cli(*words, "--json").json["state_dir"] == str(tmp_path / "other")


def test_a_wrong_option_is_exit_2(cli):
    done = cli("status", "--colour")
    assert done.code == 2
    assert "--colour" in done.err


@pytest.mark.parametrize("closed", [">&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_closed_standard_streams_break_nothing(cli, closed):
    command = shlex.join(cli.argv("status"))
    done = subprocess.run(
        ["sh", "-c", f"{command} {closed}"],
        capture_output=True,
        text=True,
        cwd=HOME,
        env=cli.environment(),
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_full_disk_behind_standard_output_is_no_bug(cli):
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            cli.argv("status"),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            cwd=HOME,
            env=cli.environment(),
        )
    assert (done.returncode, done.stderr) == (1, "ktune: can't write: No space left on device\n")


def test_output_to_a_reader_that_left_is_quiet(cli):
    read_end, write_end = os.pipe()
    os.close(read_end)
    done = subprocess.run(
        cli.argv("status", "--json"), stdout=write_end, stderr=subprocess.PIPE, text=True, cwd=HOME
    )
    os.close(write_end)
    assert done.stderr == ""
    assert done.returncode == 1


@pytest.mark.parametrize(
    ("signum", "code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)],
)
def test_a_signal_unwinds_and_gives_its_exit_code(signum, code):
    process = _start("""
        with restoring():
            print("ready", flush=True)
            wait()
    """)
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signum)
    out, err = process.communicate(timeout=10)
    assert out == "restored\n"
    assert process.returncode == code
    assert "Traceback" not in err


def test_a_second_signal_does_not_cut_the_restore_short():
    process = _start("""
        with restoring(0.5):
            print("ready", flush=True)
            wait()
    """)
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == "restoring\n"
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=10)
    assert out == "restored\n"
    assert process.returncode == 130
    assert "already ending" in err


def test_a_signal_that_was_ignored_stays_ignored():
    process = _start(
        """
        print("ready", flush=True)
        time.sleep(0.5)
        print("went on")
    """,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
    )
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGHUP)
    assert process.communicate(timeout=10)[0] == "went on\n"
    assert process.returncode == 0


def test_an_unexpected_error_is_a_bug_without_a_traceback():
    process = _start("raise LookupError('no such\\x1b[31m thing')")
    _, err = process.communicate(timeout=10)
    assert process.returncode == 1
    assert "LookupError: no such\\x1b[31m thing" in err
    assert "this is a bug in ktune" in err
    assert "Traceback" not in err


def test_the_traceback_comes_when_asked_for():
    process = _start("raise LookupError('x')", env={"KTUNE_DEBUG": "1"})
    assert "Traceback" in process.communicate(timeout=10)[1]


def test_an_error_for_people_has_its_hint_and_code():
    process = _start("raise RefusedError('too dangerous', hint='do not')")
    _, err = process.communicate(timeout=10)
    assert process.returncode == 4
    assert err == "ktune: too dangerous\n  hint: do not\n"


def test_terminal_escapes_from_files_are_shown_not_obeyed():
    hostile = "'\\x1b]0;title\\x07 \\u202egpj.exe \\x9b2J \\ud800'"
    process = _start(f"say({hostile})")
    out, _ = process.communicate(timeout=10)
    assert out == "\\x1b]0;title\\x07 \\u202egpj.exe \\x9b2J \\ud800\n"


def _start(body: str, *, env=None, preexec_fn=None) -> subprocess.Popen[str]:
    """`ktune status` with another body: the frame is what is tested here."""
    script = textwrap.dedent("""
        import contextlib, sys, time, types
        from ktune.cli import main as frame
        from ktune.cli.common import say
        from ktune.errors import RefusedError

        def wait():
            # In steps, as ktune's own loops do: a signal just before a sleep does not end it.
            for _ in range(600):
                time.sleep(0.05)

        @contextlib.contextmanager
        def restoring(seconds=0.0):
            try:
                yield
            finally:
                if seconds:
                    print("restoring", flush=True)
                    time.sleep(seconds)
                print("restored", flush=True)

        def run(args):
        BODY
            return 0

        module = types.SimpleNamespace(
            add_parser=lambda subparsers: subparsers.add_parser("status"), run=run
        )
        sys.modules["ktune.cli.status"] = module
        sys.exit(frame.main(["status"]))
    """)
    indented = textwrap.indent(textwrap.dedent(body).strip(), "    ")
    return subprocess.Popen(
        [sys.executable, "-c", script.replace("BODY", indented)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=HOME,
        env=os.environ | (env or {}),
        preexec_fn=preexec_fn,  # noqa: PLW1509 - one thread, one signal() call
    )
