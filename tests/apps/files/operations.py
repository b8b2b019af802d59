"""Carries out operations on files, one a line of JSON on standard input, and prints what came of each.

An operation is its name and its arguments. Descriptors have places, which are numbers. What a file system
chooses by itself (inode, owner, sizes of directories) is not printed.
"""

import errno
import hashlib
import json
import mmap
import os
import stat
import sys

places = {}


def described(about):
    size = "" if stat.S_ISDIR(about.st_mode) else about.st_size
    return f"{about.st_mode:o} {size} {about.st_mtime_ns}"


def text(content):
    return f"{len(content)} {hashlib.sha1(content).hexdigest()[:12]}"


def opened(place, descriptor):
    closed(place)
    places[place] = descriptor
    return "opened"


def closed(place):
    if place in places:
        os.close(places.pop(place))
    return "closed"


def descriptor(place):
    if place not in places:
        raise OSError(errno.EBADF, "no such place")
    return places[place]


def whole(path):
    with open(path, "rb") as file:
        return text(file.read())


def mapped(place):
    size = os.fstat(descriptor(place)).st_size
    with mmap.mmap(descriptor(place), size, prot=mmap.PROT_READ) as content:
        return text(content[:])


def entries(path):
    with os.scandir(path) as found:
        return sorted((entry.name, entry.is_dir(follow_symlinks=False), entry.is_symlink()) for entry in found)


def walked(path):
    return sorted((folder, sorted(folders), sorted(files)) for folder, folders, files in os.walk(path))


# Each operation by its name: what it prints.
OPERATIONS = {
    "open": lambda place, path, flags: opened(place, os.open(path, getattr(os, flags))),
    "open_below": lambda place, folder, path: opened(place, os.open(path, os.O_RDONLY, dir_fd=descriptor(folder))),
    "close": lambda place: closed(place),
    "dup": lambda place, other: opened(other, os.dup(descriptor(place))),
    "read": lambda place, count: text(os.read(descriptor(place), count)),
    "pread": lambda place, count, offset: text(os.pread(descriptor(place), count, offset)),
    "seek": lambda place, offset, whence: os.lseek(descriptor(place), offset, whence)
    if not stat.S_ISDIR(os.fstat(descriptor(place)).st_mode) else "a folder",
    "fstat": lambda place: described(os.fstat(descriptor(place))),
    "map": mapped,
    "list_place": lambda place: sorted(os.listdir(descriptor(place))),
    "whole": whole,
    "stat": lambda path: described(os.stat(path)),
    "lstat": lambda path: described(os.lstat(path)),
    "stat_below": lambda folder, path: described(os.stat(path, dir_fd=descriptor(folder), follow_symlinks=False)),
    "access": lambda path, mode: os.access(path, mode),
    "readlink": lambda path: os.readlink(path),
    "realpath": lambda path: os.path.realpath(path),
    "list": lambda path: sorted(os.listdir(path)),
    "scan": entries,
    "walk": walked,
    "chdir": lambda path: os.chdir(path),
    "fchdir": lambda place: os.fchdir(descriptor(place)),
    "getcwd": lambda: os.getcwd(),
    "whose": lambda place: os.readlink(f"/proc/self/fd/{descriptor(place)}"),
}

for line in sys.stdin:
    name, *arguments = json.loads(line)
    try:
        result = OPERATIONS[name](*arguments)
    except OSError as error:
        result = errno.errorcode.get(error.errno, error.errno)
    except ValueError as error:
        result = f"ValueError {error}"
    print(ascii(result))
