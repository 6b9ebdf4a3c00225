"""Where and with what something was measured."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import subprocess
from pathlib import Path

from std_keras import __version__


def describe(root: Path | None) -> dict[str, str]:
    """Processor, accelerators, versions, and the revision of the project, as strings by name.

    Args:
        root: the checkout; None if the package was installed, which then gives its version.
    """
    return {
        "git_revision": git_revision(root) if root else f"std_keras {__version__}",
        "processor": processor(),
        "cores": str(len(os.sched_getaffinity(0))),
        "accelerator": "; ".join(accelerators()),
        "tensorflow": _version("tensorflow"),
        "keras": _version("keras"),
        "python": platform.python_version(),
    }


def git_revision(root: Path) -> str:
    """The commit that is checked out, with `-changed` if files differ; empty without git.

    Files in `results/` do not count: they are what a measurement leaves, not what it is made with.
    """
    git = ("git", "-C", str(root))
    commit = _output(*git, "rev-parse", "--short=12", "HEAD")
    if not commit:
        return ""
    others = ("--", ":/", ":(top,exclude)results")
    changed = _output(*git, "status", "--porcelain", "--untracked-files=no", *others)
    return commit + ("-changed" if changed else "")


def processor() -> str:
    """What the processor is called."""
    cpu_info = Path("/proc/cpuinfo")
    lines = cpu_info.read_text().splitlines() if cpu_info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def accelerators() -> list[str]:
    """What each GPU is called."""
    if not shutil.which("nvidia-smi"):
        return []
    return _output("nvidia-smi", "--query-gpu=name", "--format=csv,noheader").splitlines()


def _version(package: str) -> str:
    for name in (package, f"{package}-cpu"):
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return ""


def _output(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
