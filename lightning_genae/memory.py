"""How much memory there is. This module imports no torch."""

from contextlib import suppress
from pathlib import Path

MACHINE, OWN = Path("/proc/meminfo"), Path("/proc/self/cgroup")
CONTROL = Path("/sys/fs/cgroup")  # limits of containers and of Slurm's jobs
# folder below it, and files: the limit, what is used; version 2 of control groups, then 1
LIMITS = (("", "memory.max", "memory.current"), ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes"))


def available() -> int | None:
    """Bytes that this process may take on the CPU's side without others being moved to disk: of the machine, and of its
    container or job. None: this system does not say."""
    found = [_of_machine(), *(_of_group(CONTROL / folder, limit, used) for folder, limit, used in LIMITS)]
    known = [one for one in found if one is not None]
    return max(0, min(known)) if known else None


def _of_machine() -> int | None:
    with suppress(OSError, ValueError, IndexError):
        for line in MACHINE.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return 1024 * int(line.split()[1])
    return None


def _of_group(root: Path, limit: str, used: str) -> int | None:
    """What is left of the tightest limit on the way from the process's own group to the root."""
    left: list[int] = []
    folder = root / _own_group().lstrip("/")
    for group in (folder, *folder.parents):
        with suppress(OSError, ValueError):  # no such group, or a limit of "max"
            most = int((group / limit).read_text())
            left.append(most - int((group / used).read_text()) + _cached(group))
        if group == root:
            break
    return min(left) if left else None


def _own_group() -> str:
    """The path of the process's control group below the root; empty if it is not known."""
    with suppress(OSError):
        lines = OWN.read_text().splitlines()
        paths = {kinds: path for _, kinds, path in (line.split(":", 2) for line in lines)}
        return next((path for kinds, path in paths.items() if "memory" in kinds.split(",")), paths.get("", ""))
    return ""


def _cached(group: Path) -> int:
    """Bytes of files in memory, which count as used and are given back when needed."""
    with suppress(OSError, ValueError):
        for line in (group / "memory.stat").read_text().splitlines():
            name, _, value = line.partition(" ")
            if name in ("inactive_file", "total_inactive_file"):
                return int(value)
    return 0
