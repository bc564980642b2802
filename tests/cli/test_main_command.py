"""ecgfm: the table of commands, and what becomes of errors and signals."""

import os
import re
import signal
import subprocess
import sys
import time
from types import ModuleType

import pytest
from bounded import PATIENCE_S

import ecgfm
from ecgfm.cli import main as module
from ecgfm.cli.main import COMMANDS, main


@pytest.fixture
def command(monkeypatch):
    """command(function): makes `ecgfm trial [--n N]` call it."""

    def install(function):
        made = ModuleType("ecgfm_trial")
        made.__doc__ = "Tries something.\n\nMore of it."
        made.add_arguments = lambda parser: parser.add_argument("--n", type=int, default=0)
        made.run = function
        monkeypatch.setitem(sys.modules, "ecgfm_trial", made)
        monkeypatch.setitem(COMMANDS, "trial", "ecgfm_trial")

    return install


def test_version_and_help(run):
    assert run("--version").out == f"ecgfm {ecgfm.__version__}\n"
    for argv in (("demo", "--help"), ("predict", "-h")):
        shown = run(*argv)
        assert shown.status == 0 and shown.out.startswith(f"usage: ecgfm {argv[0]}") and not shown.err


@pytest.mark.parametrize("name", list(COMMANDS))
def test_every_command_and_source_has_help(run, name):
    shown = run(name, "--help")
    assert shown.status == 0 and f"usage: ecgfm {name}" in shown.out, shown.err
    sources = re.search(r"^  \{([a-z0-9_,]+)\}|^positional arguments:\n  SOURCE\n((?:    .*\n)+)", shown.out, re.M)
    names = re.findall(r"^    ([a-z0-9_]+) ", sources[2] or "", re.M) if sources else []
    assert bool(names) == (name in ("preprocess", "labels"))
    for source in names:
        assert run(name, source, "--help").status == 0


def test_overview_lists_every_command(run, command, monkeypatch):
    command(lambda args: 0)
    for name in list(COMMANDS):
        try:
            __import__(COMMANDS[name])
        except ModuleNotFoundError:
            monkeypatch.delitem(COMMANDS, name)
    shown = run("--help")
    assert shown.status == 0 and "Not for clinical use" in shown.out
    assert re.search(r"^  trial +Tries something\.$", shown.out, re.M)
    assert all(f"  {name} " in shown.out for name in COMMANDS)
    assert run().out == run("help").out == shown.out


def test_commands_are_imported_only_when_used():
    code = (
        "import sys, ecgfm.cli.main as m\n"
        "m.main(['--version'])\n"
        "print([name for name in (*m.COMMANDS.values(), 'scipy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    "argv, words",
    [
        (["frobnicate"], "there is no command 'frobnicate'. The commands are demo, predict"),
        (["trial", "--n", "x"], "argument --n: invalid int value: 'x'. See ecgfm trial --help."),
        (["trial", "--m", "1"], "unrecognized arguments: --m 1. See ecgfm trial --help."),
        (["predict"], "the following arguments are required: CHECKPOINT, FILE"),
        (["a\x1b[2J\n"], "there is no command 'a\\x1b[2J\\n'"),
    ],
)
def test_wrong_arguments_are_one_line(run, command, argv, words):
    command(lambda args: 0)
    done = run(*argv)
    assert done.status == 2 and done.out == "" and words in done.err
    assert done.err.startswith("ecgfm: error: ") and done.err.count("\n") == 1 and "\x1b" not in done.err


@pytest.mark.parametrize(
    "error, status, text",
    [
        (ecgfm.SignalError("it is flat", path="a.npy", field="lead I"), 2, "ecgfm: error: a.npy: lead I: it is flat\n"),
        (ecgfm.Error("odd", path="a\nb\x1b"), 2, "ecgfm: error: a\\nb\\x1b: odd\n"),
        (FileNotFoundError(2, "No such file or directory", "x.csv"), 2, "error: x.csv: No such file or directory\n"),
        (OSError(28, "No space left on device"), 2, "ecgfm: error: No space left on device\n"),
        (ImportError("libdnnl.so.3 was not found"), 2, "ecgfm: error: libdnnl.so.3 was not found\n"),
        (MemoryError(), 2, "ecgfm: error: not enough memory. "),
        (KeyboardInterrupt(), 130, "ecgfm: interrupted\n"),
        (BrokenPipeError(), 0, ""),
    ],
)
def test_errors(run, command, error, status, text):
    def fail(args):
        raise error

    command(fail)
    done = run("trial")
    assert done.status == status and text in done.err and done.err.count("\n") == bool(text)


def test_the_status_is_the_command_s(run, command):
    command(lambda args: args.n)
    assert [run("trial", "--n", n).status for n in (0, 1)] == [0, 1]


def test_a_defect_is_named_and_shown_by_debug(run, command):
    def fail(args):
        raise ZeroDivisionError("of ours")

    command(fail)
    for argv in (["trial"], ["trial", "--debug"], ["--debug", "trial"], ["trial", "--debug", "--n", "1"]):
        done = run(*argv)
        lines = done.err.rstrip("\n").split("\n")
        assert done.status == 3 and lines[-1].startswith("ecgfm: error: a defect of ecgfm: ZeroDivisionError")
        assert "of ours" in lines[-1] and "--debug" in lines[-1]
        assert (len(lines) > 1) == ("--debug" in argv) == ("Traceback" in done.err)


def test_debug_shows_where_an_error_comes_from(run, command):
    def fail(args):
        raise ecgfm.SignalError("it is flat")

    command(fail)
    assert "Traceback" not in run("trial").err
    shown = run("trial", "--debug")
    assert shown.status == 2 and "in fail" in shown.err and shown.err.endswith("ecgfm: error: it is flat\n")


def test_the_commands_of_fairseq_too(monkeypatch, capsys):
    from ecgfm.cli import hydra

    def fail(*args):
        raise TypeError("of ours")

    monkeypatch.setattr(hydra, "_parser", fail)
    for function in (hydra.train, hydra.validate, hydra.inference):
        for argv in (["-cn", "x"], ["--debug", "-cn", "x"], ["a.b=1", "-cn", "x", "c.d=2", "--debug"]):
            assert function(argv) == 3
            err = capsys.readouterr().err
            assert ("Traceback" in err) == ("--debug" in argv) and "a defect of ecgfm: TypeError" in err.splitlines()[
                -1
            ]


def test_both_spellings_of_an_option(run, monkeypatch):
    given = []
    made = ModuleType("ecgfm_spelling")
    made.__doc__ = "Tries."

    def add(parser):
        parser.add_argument("--sampling-rate", type=float)
        parser.add_argument_group("more").add_argument("--meta_file")
        parser.add_argument("files", nargs="*")

    made.add_arguments, made.run = add, lambda args: given.append((args.sampling_rate, args.meta_file, args.files)) or 0
    monkeypatch.setitem(sys.modules, "ecgfm_spelling", made)
    monkeypatch.setitem(COMMANDS, "spelling", "ecgfm_spelling")
    for argv in (
        ["--sampling-rate", "500", "--meta-file=a_b-c.csv", "--", "--meta-file"],
        ["--sampling_rate=500", "--meta_file", "a_b-c.csv", "--", "--meta-file"],
        ["--samp", "500", "--meta-f", "a_b-c.csv", "--", "--meta-file"],
    ):
        assert run("spelling", *argv).status == 0
    assert given == [(500.0, "a_b-c.csv", ["--meta-file"])] * 3
    assert run("spelling", "--sampling_rates", "1").status == 2


def test_sigterm_ends_in_good_order(run, command):
    cleaned = []

    def wait(args):
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(10)
        finally:
            cleaned.append(True)

    before = signal.getsignal(signal.SIGTERM)
    command(wait)
    assert run("trial").status == 143 and cleaned == [True]
    assert signal.getsignal(signal.SIGTERM) is before


def test_outside_the_main_thread(command):
    from threading import Thread

    command(lambda args: 0)
    status = []
    thread = Thread(target=lambda: status.append(main(["trial"])))
    thread.start()
    thread.join()
    assert status == [0]


@pytest.mark.parametrize("number, status", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_from_outside(number, status, tmp_path):
    """A process in the midst of a command is stopped."""
    code = (
        "import signal, sys, time, types\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a shell's background jobs ignore it
        "from ecgfm.cli import main as m\n"
        "made = types.ModuleType('slow', 'Slow.')\n"
        "made.add_arguments = lambda parser: None\n"
        "made.run = lambda args: (print('ready', flush=True), time.sleep(60))\n"
        "sys.modules['slow'] = made\n"
        "m.COMMANDS['slow'] = 'slow'\n"
        "sys.exit(m.main(['slow']))\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        assert child.stdout.readline() == b"ready\n"
        child.send_signal(number)
        _, err = child.communicate(timeout=PATIENCE_S)
    assert child.returncode == status and err.count(b"\n") == 1 and b"Traceback" not in err


def test_a_reader_that_goes_away(process):
    shell = f"{sys.executable} -m ecgfm predict --help | head -c 1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True)
    assert done.stdout == "u0\n" and done.stderr == ""


def test_nowhere_to_write(process):
    shell = f"{sys.executable} -m ecgfm --version > /dev/full"
    done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True)
    assert done.returncode == 2 and "No space left" in done.stderr and "Traceback" not in done.stderr
    shell = f"{sys.executable} -m ecgfm frobnicate 2>&-"
    assert subprocess.run(["bash", "-c", shell]).returncode == 2
    shell = f"{sys.executable} -m ecgfm --version >&-"
    done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_module_runs_as_the_command(process):
    done = process("--version")
    assert (done.returncode, done.stdout) == (0, f"ecgfm {ecgfm.__version__}\n")
    assert module.DONE == 0
