"""Changes a tree in every way that Python has, and prints what came of it, so that two runs can be compared."""
import errno, hashlib, os, shutil, sqlite3, stat, sys, tempfile

tree = sys.argv[1]
os.umask(0o027)
os.chdir(tree)


def tried(what, work):
    try:
        print(what, work())
    except OSError as error:
        print(what, errno.errorcode[error.errno])


def put(path, text, mode="w"):
    with open(path, mode) as file:
        return file.write(text)


def looked(path):
    found = os.lstat(path)
    return oct(found.st_mode), found.st_size, int(found.st_mtime) if found.st_mtime < 1e9 else "now"


tried("create", lambda: put("new", "one\n"))
tried("create exclusively", lambda: put("exclusive", "x", "x"))
tried("create what is there", lambda: put("new", "x", "x"))
tried("create in none", lambda: put("none/new", "x"))
tried("create below a file", lambda: put("new/x", "x"))
tried("write a directory", lambda: put(".", "x"))
tried("append", lambda: put("new", "two\n", "a"))
tried("read", lambda: open("new").read())
tried("update", lambda: put("new", "ONE", "r+"))
tried("update none", lambda: put("none", "x", "r+"))
tried("read", lambda: open("new").read())
tried("replace", lambda: put("new", "three\n"))
tried("look", lambda: looked("new"))
with open("kept", "w+") as file:
    file.write("a" * 10000)
    file.flush()
    print("written", os.fstat(file.fileno()).st_size, os.stat("kept").st_size)
    file.truncate(5000)
    file.seek(20000)
    file.write("end")
    os.fsync(file.fileno())
    os.unlink("kept")
    file.seek(0)
    print("unlinked", len(file.read()), os.path.exists("kept"))
tried("hole", lambda: put("hole", "x") and os.truncate("hole", 100000))
tried("look", lambda: looked("hole"))
tried("truncate none", lambda: os.truncate("none", 1))
tried("truncate a directory", lambda: os.truncate(".", 1))
tried("truncate below nothing", lambda: os.truncate("hole", -1))
tried("mkdir", lambda: os.mkdir("folder"))
tried("mkdir again", lambda: os.mkdir("folder"))
tried("mkdir in none", lambda: os.mkdir("none/folder"))
tried("mkdirs", lambda: os.makedirs("folder/a/b/c", 0o700))
tried("list", lambda: sorted(os.listdir("folder/a")))
tried("rmdir full", lambda: os.rmdir("folder"))
tried("rmdir file", lambda: os.rmdir("new"))
tried("rmdir none", lambda: os.rmdir("none"))
tried("unlink directory", lambda: os.unlink("folder"))
tried("unlink none", lambda: os.unlink("none"))
tried("rmdir", lambda: os.rmdir("folder/a/b/c"))
tried("rename", lambda: os.rename("new", "folder/moved"))
tried("rename none", lambda: os.rename("none", "x"))
tried("rename into itself", lambda: os.rename("folder", "folder/a/x"))
tried("rename over full", lambda: os.mkdir("other") or os.rename("other", "folder"))
tried("rename directory", lambda: os.rename("folder", "renamed"))
tried("read moved", lambda: open("renamed/moved").read())
tried("symlink", lambda: os.symlink("renamed/moved", "link"))
tried("symlink again", lambda: os.symlink("x", "link"))
tried("write through link", lambda: put("link", "by the link\n"))
tried("read moved", lambda: (open("renamed/moved").read(), os.readlink("link")))
tried("dangling", lambda: os.symlink("made", "dangling") or put("dangling", "made\n"))
tried("link", lambda: os.link("renamed/moved", "hard"))
tried("count", lambda: open("hard").read())
tried("link directory", lambda: os.link("renamed", "x"))
tried("chmod", lambda: os.chmod("renamed/moved", 0o604))
tried("look", lambda: looked("renamed/moved"))
tried("chmod none", lambda: os.chmod("none", 0o600))
tried("times", lambda: os.utime("renamed/moved", (7, 9)))
tried("look", lambda: looked("renamed/moved"))
tried("chown", lambda: os.chown("renamed/moved", os.getuid() if os.getuid() == 1000 else 1000, -1))
tried("chown to root", lambda: os.chown("renamed/moved", 0, 0))
tried("mkfifo on file", lambda: os.mkfifo("hole"))
tried("access", lambda: [os.access("renamed/moved", mode) for mode in (os.R_OK, os.W_OK, os.X_OK)])
os.chmod("renamed/moved", 0o440)
tried("write what cannot be written", lambda: put("renamed/moved", "x"))
handle = os.open("strict", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o444)
tried("write what is made", lambda: os.write(handle, b"strict"))
os.fchmod(handle, 0o400)
os.utime(handle, (11, 13))
os.close(handle)
tried("look", lambda: looked("strict"))
os.mkdir("shut", 0o500)
tried("create in shut", lambda: put("shut/x", "x"))
handle, name = tempfile.mkstemp(dir=tree)
os.write(handle, b"temporary")
os.fsync(handle)
os.close(handle)
tried("replace", lambda: os.replace(name, tree + "/replaced"))
with open("mapped", "wb+") as file:
    import mmap

    file.truncate(8192)
    with mmap.mmap(file.fileno(), 8192) as view:
        view[4090:4100] = b"0123456789"
tried("copy", lambda: shutil.copy2("mapped", "copied") and looked("copied")[:2])
tried("copy tree", lambda: shutil.copytree("renamed", "tree", symlinks=True))
tried("remove tree", lambda: shutil.rmtree("other"))
base = sqlite3.connect("base.db")
base.execute("create table numbers (number integer)")
for first in range(0, 300, 100):
    with base:
        base.executemany("insert into numbers values (?)", [(number,) for number in range(first, first + 100)])
print("sums", base.execute("select sum(number) from numbers").fetchone())
base.close()
base = sqlite3.connect("wal.db")
print(base.execute("pragma journal_mode = wal").fetchone())
with base:
    base.execute("create table texts (text)")
    base.execute("insert into texts values (?)", ("x" * 100000,))
other = sqlite3.connect("wal.db")
print("other", other.execute("select length(text) from texts").fetchone())
other.close()
base.close()
