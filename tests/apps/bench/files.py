"""Uses files in one way and prints how many milliseconds that took, or how many nanoseconds for a call."""
import os, subprocess, sys, time

what, path = sys.argv[1:3]


def read(path):
    with open(path, "rb", buffering=0) as file:
        while file.read(1 << 20):
            pass


def many():
    for number in range(1000):
        read(f"{path}/{number}")


def tree():
    count = 0
    for folder, folders, files in os.walk(path):
        for name in files:
            os.stat(os.path.join(folder, name))
        count += len(folders) + len(files)
    assert count >= 10000, count


def one_by_one():
    """As `many`, over one `kubectl exec` that is asked for a file at a time."""
    shell = subprocess.Popen(sys.argv[3:] + ["sh"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    began = time.monotonic()
    for number in range(1000):
        shell.stdin.write(f"cat {path}/{number}; printf '\\n--end--\\n'\n".encode())
        shell.stdin.flush()
        while (line := shell.stdout.readline()) != b"--end--\n":
            assert line
    shell.stdin.close()
    shell.wait()
    return began


def local():
    count, best = 20000, 1e9
    for _ in range(5):
        began = time.perf_counter()
        for _ in range(count):
            os.close(os.open(path, os.O_RDONLY))
        best = min(best, (time.perf_counter() - began) / count)
    print(best * 1e9)


began = time.monotonic()
work = {"many": many, "tree": tree, "big": lambda: read(path), "one": one_by_one, "local": local}[what]
began = work() or began
if what != "local":
    print((time.monotonic() - began) * 1000)
