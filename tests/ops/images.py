"""Builds the images of the Dockerfiles without Docker: every RUN and COPY as it stands there, in a chroot of Debian's base system.

Each instruction makes a layer below build/images, named by what it was made of, so that what did not change is not done again. Needs root,
for overlay mounts, and Debian's archive. Only the instructions that the Dockerfiles use are known; others are an error. Not what Docker
would do: no resource limits, no isolation of processes and network while building, no checks of signatures of images.
"""
import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import servers
from programs import ROOT

BUILD = Path(os.environ.get("TOPK_BUILD") or ROOT / "build").resolve()
IMAGES = Path(os.environ.get("TOPK_IMAGES") or BUILD / "images").resolve()
LAYERS_SH = Path(__file__).resolve().parent / "layers.sh"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
METADATA = ("VOLUME", "EXPOSE", "STOPSIGNAL", "HEALTHCHECK", "ENTRYPOINT", "CMD")


class BuildError(Exception):
    pass


class Image:
    """What a stage has come to: its layers, lowest first, and its settings."""

    def __init__(self, layers, environment=None):
        self.layers, self.environment = layers, environment or {"PATH": PATH}
        self.user, self.folder = "root", "/"
        self.metadata = {}

    @property
    def key(self):
        return self.layers[-1].name

    def words(self, instruction):
        """Of ENTRYPOINT or CMD, in their JSON form; of HEALTHCHECK those after its CMD."""
        text = self.metadata.get(instruction, "[]")
        return json.loads(text[text.index("["):])

    def inside(self, command, environment=None):
        """The argument list that a chroot runs for a command: as the image's user, without privileges, with its variables only."""
        user, _, group = self.user.partition(":")
        privileges = [] if user == "root" else ["--reuid", user, "--regid", group or user, "--clear-groups" if group else "--init-groups",
                                                "--bounding-set=-all", "--no-new-privs"]
        variables = [f"{key}={value}" for key, value in {**self.environment, **(environment or {})}.items()]
        return ["/usr/bin/setpriv", *privileges, "--pdeathsig", "KILL", "--", "/usr/bin/env", "-i", "-C", self.folder, *variables, *command]

    def command(self, upper, command, environment=None, options=()):
        """The argument list that runs a command in a container of this image, whose changes go to the folder `upper`."""
        lower = ":".join(str(layer) for layer in reversed(self.layers))
        return ["unshare", "--mount", "--", LAYERS_SH, lower, upper, *options, "--", *self.inside(command, environment)]


def instructions(text):
    """(instruction, rest) of each, with continued lines joined."""
    joined = re.sub(r"\\\n\s*", " ", re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE))
    for line in joined.splitlines():
        if line.strip():
            word, _, rest = line.strip().partition(" ")
            yield word.upper(), rest.strip()


def run(*command, **options):
    done = subprocess.run(list(map(str, command)), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          errors="replace", **options)
    if done.returncode:
        raise BuildError(f"{command[-1]}: exit {done.returncode}\n{done.stdout[-6000:]}")
    return done.stdout


def base(name):
    """debian:SUITE-DATE-slim; of the date only that it is a release's is kept: the archive has what is current."""
    suite = re.fullmatch(r"debian:([a-z]+)-\d{8}-slim", name)[1]
    folder = IMAGES / f"base-{suite}"
    servers.run(servers.CHROOT_SH, "base", suite, folder)
    return folder


def files_of(source):
    """What Docker would copy: the repository's files, without what was built in it (.dockerignore)."""
    listed = servers.run("git", "-C", ROOT, "ls-files", "--cached", "--others", "--exclude-standard", "--", source).splitlines()
    return [line for line in listed if (ROOT / line).is_file() and not line.endswith(".md")]


class Builder:
    def __init__(self):
        self.used = set()
        self.stages = {}

    def layer(self, image, text, make):
        """The folder of a layer on top of an image, made by make(folder) if it is not there yet."""
        key = hashlib.sha256(f"{image.key}\n{text}".encode()).hexdigest()[:24]
        folder = IMAGES / "layers" / key
        self.used.add(folder.name)
        if not folder.exists():
            fresh = folder.with_suffix(".new")
            shutil.rmtree(fresh, ignore_errors=True)
            fresh.mkdir(parents=True)
            make(fresh)
            fresh.rename(folder)
        image.layers = [*image.layers, folder]

    def run(self, image, rest):
        def make(fresh):
            with tempfile.TemporaryDirectory(dir=IMAGES, prefix="run-") as upper:
                proxies = {key: value for key, value in os.environ.items() if key.lower().endswith("_proxy")}
                run(*image.command(upper, ["/bin/sh", "-c", rest], proxies))
                shutil.rmtree(fresh)
                (Path(upper) / "upper").rename(fresh)
        self.layer(image, f"RUN {image.user} {image.folder} {sorted(image.environment.items())} {rest}", make)

    def copy(self, image, rest):
        *sources, target = rest.split()
        if origin := re.fullmatch(r"--from=(\S+)", sources[0]):
            return self.copy_from(image, self.stages[origin[1]], *sources[1:], target)
        target = Path(image.folder) / target
        pairs = []  # (file of the checkout, path in the image)
        for source in sources:
            found = files_of(source)
            if not found:
                raise BuildError(f"COPY {rest}: the repository has no {source}")
            for path in found:
                inside = os.path.relpath(path, source)
                if (ROOT / source).is_dir():
                    pairs.append((ROOT / path, target / inside))
                else:
                    pairs.append((ROOT / path, target / os.path.basename(path) if rest.endswith("/") else target))
        digest = hashlib.sha256()
        for path, place in sorted(pairs):
            digest.update(f"{place} {os.access(path, os.X_OK)} ".encode() + path.read_bytes())

        def make(fresh):
            for path, place in pairs:
                there = fresh / str(place).lstrip("/")
                there.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, there)
                there.chmod(0o755 if os.access(path, os.X_OK) else 0o644)
        self.layer(image, f"COPY {rest} {digest.hexdigest()}", make)

    def copy_from(self, image, stage, source, target):
        def make(fresh):
            with tempfile.TemporaryDirectory(dir=IMAGES, prefix="copy-") as upper:
                there = fresh / target.lstrip("/")
                (there if target.endswith("/") else there.parent).mkdir(parents=True, exist_ok=True)
                place = "/out/" + target.lstrip("/")
                taken = f"{source}." if source.endswith("/") else source
                run(*Image(stage.layers).command(upper, ["cp", "-a", taken, place], options=["--bind", str(fresh), "/out"]))
        self.layer(image, f"COPY {stage.key} {source} {target}", make)

    def build(self, dockerfile):
        image = None
        for word, rest in instructions(Path(dockerfile).read_text()):
            if word == "FROM":
                name, *alias = rest.split()
                image = Image([base(name)])
                self.stages[alias[1] if alias else ""] = image
            elif word == "RUN":
                self.run(image, rest)
            elif word == "COPY":
                self.copy(image, rest)
            elif word == "ENV":
                key, _, value = rest.partition("=")
                image.environment = {**image.environment, key: value}
            elif word == "WORKDIR":
                image.folder = rest
                self.layer(image, f"WORKDIR {rest}", lambda fresh, rest=rest: (fresh / rest.lstrip("/")).mkdir(parents=True))
            elif word == "USER":
                image.user = rest
            elif word in METADATA:
                image.metadata[word] = rest
            else:
                raise BuildError(f"{dockerfile}: {word} is not known here")
        return image


def build_all(dockerfiles):
    """name → Image. Layers that none of them uses any more are removed."""
    if os.geteuid():
        raise servers.Unavailable("images.py: overlay mounts need root")
    (IMAGES / "layers").mkdir(parents=True, exist_ok=True)
    with open(IMAGES / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        used, images = set(), {}
        for name, dockerfile in dockerfiles.items():
            builder = Builder()
            images[name] = builder.build(dockerfile)
            used |= builder.used
        for folder in (IMAGES / "layers").iterdir():
            if folder.name not in used:
                shutil.rmtree(folder)
    return images
