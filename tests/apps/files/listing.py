"""Prints a tree with all that a listing shows but the present, and checks its databases."""
import hashlib, os, sqlite3, sys

os.chdir(sys.argv[1])
for path, folders, files in os.walk("."):
    folders.sort()
    for name in sorted(folders + files):
        whole = os.path.join(path, name)
        found = os.lstat(whole)
        time = int(found.st_mtime) if found.st_mtime < 1e9 else "now"
        is_file = os.path.isfile(whole) and not os.path.islink(whole) and not name.endswith(".db")
        content = hashlib.sha256(open(whole, "rb").read()).hexdigest() if is_file and found.st_mode & 0o400 else "-"
        target = os.readlink(whole) if os.path.islink(whole) else ""
        print(whole, oct(found.st_mode), found.st_uid, time, content, target)
for name in sorted(name for name in os.listdir(".") if name.endswith(".db")):
    base = sqlite3.connect(name)
    tables = [row[0] for row in base.execute("select name from sqlite_master")]
    counts = [base.execute(f"select count(*), sum(length({t[:-1]})) from {t}").fetchone() for t in tables]
    print(name, base.execute("pragma integrity_check").fetchone(), tables, counts)
