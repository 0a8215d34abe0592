"""The steps of the Dockerfile, run in folders that `debootstrap` fills."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from tests.deploy.dockerfile import Stage, options, stages, words
from tests.services.databases import REPOSITORY
from tests.services.debootstrap import find_debootstrap

PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
SUITE: Final = "trixie"
"""The release of Debian that `debian:trixie-slim` is made of."""
SLIM: Final = (
    "usr/share/doc", "usr/share/info", "usr/share/locale", "usr/share/man", "var/cache/apt",
    "var/lib/apt/lists",
)  # fmt: skip
"""Folders that the images called slim are without."""


def may_run() -> bool:
    """Whether this process may use what a build needs: chroot and namespaces of mounts and processes."""
    command = ["unshare", "--mount", "--pid", "--fork", "true"]
    return os.geteuid() == 0 and subprocess.run(command, check=False).returncode == 0


class Image:
    """The stages of the Dockerfile, each a folder; `root` is that of the last one, the image."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.stages = stages()
        self.stage = self.stages[-1]
        self.root = folder / "image"

    def build(self) -> None:
        """Run every step. Raises CalledProcessError, with the output of the step, where one fails."""
        base = self._folder / "base"
        _call([find_debootstrap() or "debootstrap", "--variant=minbase", SUITE, str(base)])
        _slim(base)
        for stage in self.stages:
            root = self._folder / (stage.name or "image")
            _call(["cp", "--archive", "--reflink=auto", str(base), str(root)])
            self._run_steps(stage, root)

    def _run_steps(self, stage: Stage, root: Path) -> None:
        env, place, user = {"PATH": PATH}, "/", "0:0"
        for name, rest in stage.steps:
            if name == "ENV":
                env |= dict(word.split("=", 1) for word in shlex.split(rest))
            elif name == "WORKDIR":
                place = rest
                (root / place.lstrip("/")).mkdir(parents=True, exist_ok=True)
            elif name == "USER":
                user = rest
            elif name == "COPY":
                self._copy(rest, root, root / place.lstrip("/"))
            elif name == "RUN":
                with _Network(root) as network:
                    _call(inside(root, ["/bin/sh", "-c", rest], env | network, place=place, user=user))

    def _copy(self, rest: str, root: Path, place: Path) -> None:
        given, names = options(rest)
        *sources, target = shlex.split(names)
        source = self._folder / given["from"] if "from" in given else REPOSITORY
        goal = root / target.lstrip("/") if target.startswith("/") else place / target
        for name in sources:
            path = source / name.lstrip("/")
            if path.is_dir():
                shutil.copytree(
                    path, goal, symlinks=True, dirs_exist_ok=True,
                    ignore=None if "from" in given else shutil.ignore_patterns("__pycache__"),
                )  # fmt: skip
            else:
                goal.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(path, goal / path.name if goal.is_dir() else goal)

    def size(self) -> int:
        """Bytes of all files of the image, as its layers would hold them, unpacked and counted once."""
        seen = {}
        for folder, _, names in os.walk(self.root):
            for name in names:
                found = (Path(folder) / name).lstat()
                seen[found.st_ino] = found.st_size
        return sum(seen.values())

    def command(self, **env: str) -> list[str]:
        """A program that runs the image's own command as a container would: in namespaces of its own, as the
        image's user, with a root file system of which only the volume can be written."""
        root = shlex.quote(str(self.root))
        mounts = (
            f"mount --make-rprivate / && mount --bind {root} {root}"
            f" && mount --bind {shlex.quote(str(self._volume))} {shlex.quote(str(self._volume))}"
            f" && mount -o remount,bind,ro {root} && mount -t proc proc {root}/proc"
        )
        program = shlex.join(self.inside(self.start, **env))
        unshare = ["unshare", "--mount", "--pid", "--fork", "--kill-child"]
        return [*unshare, "sh", "-ec", f"{mounts} && exec {program}"]

    @property
    def _volume(self) -> Path:
        return self.root / self.stage.last("VOLUME").lstrip("/")

    def empty_volume(self) -> None:
        """Have the next server find what the first one found."""
        for path in self._volume.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    @property
    def start(self) -> list[str]:
        """ENTRYPOINT and CMD, which have to be in exec form, or no signal would reach the server."""
        return [*words(self.stage.last("ENTRYPOINT")), *words(self.stage.last("CMD"))]

    def inside(self, command: Sequence[str], **env: str) -> list[str]:
        """A command as a container of the image would run it, on the root file system as it is."""
        stage = self.stage
        return inside(
            self.root, command, {"PATH": PATH, **stage.pairs("ENV"), **env},
            place=stage.last("WORKDIR"), user=stage.last("USER"),
        )  # fmt: skip


def inside(root: Path, command: Sequence[str], env: Mapping[str, str], *, place: str, user: str) -> list[str]:
    """A command in the folder `root`, with this environment alone."""
    settings = [f"{name}={value}" for name, value in env.items()]
    return ["chroot", f"--userspec={user}", str(root), "env", "-i", "-C", place, *settings, *command]


class _Network:
    """Names, certificates and pip's settings of this machine in a folder, for the time of a step."""

    SETTINGS: Final = ("PIP_INDEX_URL", "PIP_DEFAULT_TIMEOUT")
    FILES: Final = ("etc/resolv.conf", "etc/hosts")

    def __init__(self, root: Path) -> None:
        self._root = root
        self._made: list[Path] = []

    def __enter__(self) -> dict[str, str]:
        env = {name: value for name, value in os.environ.items() if name.lower().endswith("_proxy")}
        env |= {name: os.environ[name] for name in self.SETTINGS if name in os.environ}
        files = [Path("/", name) for name in self.FILES]
        if given := os.environ.get("PIP_CERT"):
            certificates = self._root / "tmp" / "certificates.pem"
            shutil.copy2(given, certificates)
            self._made.append(certificates)
            env["PIP_CERT"] = "/tmp/certificates.pem"
        for path in files:
            target = self._root / str(path).lstrip("/")
            if path.exists() and not target.exists():
                shutil.copy2(path, target)
                self._made.append(target)
        return env

    def __exit__(self, *error: object) -> None:
        for path in self._made:
            path.unlink(missing_ok=True)
        self._made.clear()


def _slim(base: Path) -> None:
    for name in SLIM:
        shutil.rmtree(base / name, ignore_errors=True)
    excluded = "".join(f"path-exclude /{name}/*\n" for name in SLIM if name.startswith("usr"))
    (base / "etc/dpkg/dpkg.cfg.d/slim").write_text(excluded)


def _call(command: Sequence[str]) -> None:
    result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if result.returncode:
        raise AssertionError(f"{shlex.join(command)[:2000]}\n{result.stdout[-3000:]}{result.stderr[-3000:]}")
