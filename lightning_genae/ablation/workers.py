"""Tasks in processes that share their imports, which take longer than a short training.

    launcher  --a line for every task-->     server  --fork-->  run.main(words), in a process of its own
              <--a line for every ended one--

The server imports what runs need and does nothing else, so that a forked process begins as a new one that has just
imported all of that: without threads, drawn random numbers or a CUDA context of another run. When the server's input
ends, because the launcher closed it or was killed, it asks the runs to stop, and ends.

At its top, this module imports only what registers no exit handler: see `_leave`.
"""

import atexit
import ctypes
import json
import os
import pkgutil
import select
import signal
import sys
import time
from contextlib import suppress
from importlib import import_module
from pathlib import Path

POLL_SECONDS = 0.05
SECONDS_TO_END = 30  # for a run that was asked to stop, to save its checkpoint
SHARES = sys.platform == "linux"  # macOS's libraries do not survive a fork; tasks import everything themselves there
LOG = os.O_WRONLY | os.O_APPEND | os.O_CREAT
PARENT_DIES = 1  # PR_SET_PDEATHSIG of Linux's prctl
RUN = "run"  # run.py, the program; it imports this package, not the other way round
OWN = ("lightning_genae", "callbacks", "datamodules")
OTHERS = (  # what libraries import only when they are used
    "matplotlib.backends.backend_agg",
    "opentelemetry.exporter.otlp.proto.http.metric_exporter",  # by W&B
    "sklearn.datasets",
    "sklearn.decomposition",
    "sklearn.mixture",
    "sklearn.model_selection",
    "torchmetrics.functional.text",
    "torchmetrics.image",
    "torchvision.utils",
    "wandb",
    "wandb.sdk.launch",
)


def main() -> None:
    """The server: `python -c "from lightning_genae.ablation.workers import main; main()" ENVIRONMENTS`, where
    ENVIRONMENTS are variables for each of the tasks that run at a time, as JSON."""
    outcome = {"status": 1}
    atexit.register(_leave, outcome)  # before all other handlers, so that it is called after them
    server = Server(json.loads(sys.argv[1]))
    if SHARES:
        share_imports()
    server.serve(outcome)
    outcome["status"] = 0


def _leave(outcome: dict[str, int]) -> None:
    """Ends this process without taking down what it imported, which takes more than a second."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(outcome["status"])


class Server:
    """Starts tasks as they come in, as many at a time as there are environments.

    Args:
        environments: variables added to those of the process, for each of the tasks that run at a time.
    """

    def __init__(self, environments: list[dict[str, str]]):
        self.environments = environments
        self.waiting: list[tuple[list[str], str]] = []  # words and log
        self.running: dict[int, tuple[int, str]] = {}  # by process: index of the environment, and log
        self.rest = b""  # of a line that has not arrived whole
        self.replies = os.dup(1)
        os.dup2(2, 1)  # what imports print is no reply
        # only the end of its input ends the server; tasks unblock them
        self.blocked = {signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2}
        signal.pthread_sigmask(signal.SIG_BLOCK, self.blocked)

    def serve(self, outcome: dict[str, int]) -> None:
        """Returns when the input has ended, and all tasks. The process of a task leaves by SystemExit.

        Args:
            outcome: gets the exit status of the process of a task.
        """
        while self._receive():
            self._reap()
            free = set(range(len(self.environments))) - {index for index, _ in self.running.values()}
            for index in sorted(free)[: len(self.waiting)]:
                self._start(index, *self.waiting.pop(0), outcome)
        self._end()

    def _receive(self) -> bool:
        """Takes the tasks that have arrived; False at the end of the input."""
        if not select.select([0], [], [], POLL_SECONDS)[0]:
            return True
        data = os.read(0, 2**16)
        *lines, self.rest = (self.rest + data).split(b"\n")
        self.waiting += map(json.loads, lines)
        return bool(data)

    def _reap(self) -> None:
        """Reports the tasks that have ended."""
        for process in list(self.running):
            ended, status = os.waitpid(process, os.WNOHANG)
            if ended:
                _, log = self.running.pop(process)
                line = json.dumps([log, os.waitstatus_to_exitcode(status)]).encode() + b"\n"
                with suppress(BrokenPipeError):  # the launcher was killed
                    os.write(self.replies, line)

    def _start(self, index: int, words: list[str], log: str, outcome: dict[str, int]) -> None:
        if SHARES:
            share_options(words)
        sys.stdout.flush()
        server = os.getpid()
        process = os.fork()
        if process:
            self.running[process] = index, log
            return
        os.close(self.replies)
        if SHARES:  # the task stops if the server is killed
            ctypes.CDLL(None).prctl(PARENT_DIES, signal.SIGTERM)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, self.blocked)
        if os.getppid() != server:
            os._exit(1)
        os.environ.update(self.environments[index])
        outcome["status"] = run_task(words, Path(log))
        sys.exit(outcome["status"])

    def _end(self) -> None:
        """Asks the tasks to stop, and kills those that do not."""
        for process in self.running:
            os.kill(process, signal.SIGTERM)
        end = time.monotonic() + SECONDS_TO_END
        while self.running and time.monotonic() < end:
            time.sleep(POLL_SECONDS)
            self._reap()
        for process in self.running:
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)


def share_imports() -> None:
    """Imports this project, with the libraries that it uses, and what these would import later."""
    os.environ.setdefault("JE_ARROW_MALLOC_CONF", "background_thread:false")  # pyarrow, by pandas, starts one
    for package in map(import_module, OWN):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            with suppress(ImportError):  # of a part whose packages are not installed
                import_module(module.name)
    for name in OTHERS:
        with suppress(ImportError):  # in another version of the library
            import_module(name)


def share_options(words: list[str]) -> None:
    """Prepares the options of the parts that a task chooses.

    Parts of other packages may start threads or CUDA while they are imported, which a fork does not survive; where
    there are any, each task imports its own.
    """
    from lightning_genae import registry

    run = import_module(RUN)
    if not registry.has_outside():
        with suppress(Exception, SystemExit):  # the task says what is wrong
            run.COMMAND_LINE.parse(words[words[:1] == ["prefetch"] :])


def run_task(words: list[str], log: Path) -> int:
    """Runs a task in this process, which is new; returns the exit status."""
    log.parent.mkdir(parents=True, exist_ok=True)
    for file, target in ((os.open(os.devnull, os.O_RDONLY), 0), (os.open(log, LOG, 0o666), 1)):
        os.dup2(file, target)
        os.close(file)
    os.dup2(1, 2)
    from lightning_genae.ablation.launch import run_py, wait_for_another

    wait_for_another(log)
    sys.argv = [str(run_py()), *words]  # Lightning starts the same command for every further device
    if not SHARES:
        os.execv(sys.executable, [sys.executable, *sys.argv])
    import numpy as np

    np.random.seed()  # what does not seed it differs between runs, as between commands
    return import_module(RUN).main(words)
