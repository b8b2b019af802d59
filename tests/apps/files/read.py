"""What Python finds out about a tree, printed so that two runs can be compared."""
import glob, hashlib, json, mmap, os, pathlib, stat, sys

tree = sys.argv[1]


def tried(what, work):
    try:
        print(what, work())
    except OSError as error:
        print(what, "errno", error.errno)


def about(path, follow=True):
    found = os.stat(path, follow_symlinks=follow)
    size = found.st_size if not stat.S_ISDIR(found.st_mode) else "-"
    return oct(found.st_mode), size, found.st_mtime_ns


for path, folders, files in os.walk(os.fsencode(tree)):
    folders.sort()
    print(path, about(path), sorted(folders), sorted(files))
    for name in sorted(files + folders):
        below = os.path.join(path, name)
        tried(below, lambda: about(below, False))
        tried("followed", lambda: about(below))
        tried("link", lambda: os.readlink(below))
        tried("real", lambda: os.path.realpath(below))
        tried("access", lambda: [os.access(below, mode) for mode in (os.F_OK, os.R_OK, os.X_OK)])
        if not stat.S_ISFIFO(os.lstat(below).st_mode):
            tried("content", lambda: hashlib.sha256(open(below, "rb").read()).hexdigest())

with open(f"{tree}/big.bin", "rb") as file:
    print(os.fstat(file.fileno()).st_size, os.stat(file.name).st_size, os.readlink(f"/proc/self/fd/{file.fileno()}"))
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        print(hashlib.sha256(mapped).hexdigest(), mapped[-3:])
print(json.load(open(f"{tree}/data.json")), sorted(entry.name for entry in os.scandir(f"{tree}/sub") if entry.is_file()))
print(sorted(map(str, pathlib.Path(tree).glob("**/*.txt"))), sorted(glob.glob(f"{tree}/s*/*")))
sys.path.insert(0, f"{tree}/sub")
sys.dont_write_bytecode = True
import module

print(module.VALUE, module.__file__)
os.chdir(f"{tree}/sub")
print(os.getcwd(), open("module.py").read(), os.listdir("empty"), open("../plain.txt").read(), os.path.realpath("."))
folder = os.open(tree, os.O_RDONLY | os.O_DIRECTORY)
print(os.read(os.open("sub/module.py", os.O_RDONLY, dir_fd=folder), 9), sorted(os.listdir(folder))[:3])
os.fchdir(folder)
print(os.getcwd(), os.path.exists("plain.txt"), os.path.exists("none"))
