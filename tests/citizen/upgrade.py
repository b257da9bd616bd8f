"""pg_upgrade between servers of two installations: the old server's programs and libraries are copied beside the new one's.

pg_upgrade runs both, so both must be where the new one is: in its chroot. Libraries that only the old one's Debian has are copied, too, and
found through wrappers of the old programs.
"""
import re
import shlex
import shutil
from pathlib import Path

import servers

# What pg_upgrade runs of the old server
PROGRAMS = ("postgres", "pg_ctl", "pg_controldata", "pg_resetwal")


def root_of(installation):
    return servers.SERVERS / str(installation.name) if isinstance(installation, servers.Chrooted) else Path("/")


def run_in(installation, *command, **options):
    return servers.run(*installation.command(command, **options))


def copy_old(old, new, folder):
    """Copies an old server's installation, with the extension, below `folder`. Returns the folder of programs for pg_upgrade."""
    paths, root, tree = old.paths(), root_of(old), folder / "tree"
    for name in ("bindir", "sharedir", "pkglibdir"):
        source, target = root / paths[name].lstrip("/"), tree / paths[name].lstrip("/")
        # Without compilation of expressions, which would want a compiler's libraries: it is left out where its provider is not found
        shutil.copytree(source, target, symlinks=False, ignore=shutil.ignore_patterns("llvmjit*", "bitcode", "pgxs"), ignore_dangling_symlinks=True)
    with old.built() as stage:
        shutil.copytree(stage, tree, dirs_exist_ok=True)
    copy_libraries(old, new, folder / "libraries")
    wrappers = folder / "bin"
    wrappers.mkdir()
    for program in PROGRAMS:
        wrapper = wrappers / program
        real = tree / paths["bindir"].lstrip("/") / program
        wrapper.write_text(f'#!/bin/sh\nLD_LIBRARY_PATH={shlex.quote(str(folder / "libraries"))} exec {shlex.quote(str(real))} "$@"\n')
        wrapper.chmod(0o755)
    return wrappers


def copy_libraries(old, new, folder):
    """Those that the old server's programs need and the new server's system does not have."""
    folder.mkdir()
    there = set(re.findall(r"^\s*(\S+) \(", run_in(new, "ldconfig", "-p"), re.MULTILINE))
    needed = run_in(old, "ldd", *(f"{old.paths()['bindir']}/{program}" for program in PROGRAMS))
    for name, path in set(re.findall(r"^\s*(\S+) => (/\S+)", needed, re.MULTILINE)):
        if name not in there:
            shutil.copy(root_of(old) / path.lstrip("/"), folder / name)


def upgrade(old, new):
    """old, new: Servers, stopped; new has just been initialised. Afterwards new has everything, and old is as it was."""
    programs = copy_old(old.installation, new.installation, new.directory / "old")
    for one in (old, new):
        one.configure()
    bin_there = Path(new.installation.paths()["bindir"])
    # Programs find the server, and the server the extension, beside themselves: copies, not links
    run_in(new.installation, "sh", "-c", f"cp --remove-destination {shlex.quote(str(bin_there))}/* {shlex.quote(str(new.bindir))}",
           folders=[new.directory], as_server=True)
    try:
        run_in(new.installation, new.bindir / "pg_upgrade", "--old-bindir", programs, "--new-bindir", new.bindir, "--old-datadir", old.data,
               "--new-datadir", new.data, "--username", "postgres", "--old-port", old.port, "--new-port", new.port, "--no-sync",
               folders=[old.directory, new.directory], folder=new.directory, as_server=True)
    except servers.ServerError as error:
        ends = ["\n".join([str(log), *log.read_text(errors="replace").splitlines()[-80:]]) for log in new.data.glob("pg_upgrade_output.d/*/log/*.log")]
        raise servers.ServerError("\n".join([str(error), *ends])) from None
