"""Makes processes in every usual way; each asks the cluster and prints what it got."""

import ctypes
import multiprocessing
import os
import socket
import subprocess
import sys
import threading

URL = "http://echo-server/bytes/5"
ASK = ["curl", "--silent", "--show-error", "--max-time", "10", URL]
PYTHON = "/usr/bin/python3"
HERE = os.path.abspath(__file__)


def ask():
    with socket.create_connection(("echo-server", 80), 10) as connection:
        connection.sendall(b"GET /bytes/5 HTTP/1.0\r\n\r\n")
        return connection.makefile("rb").read().decode()[-5:]


def tell(name, result):
    print(name, result, flush=True)


def tell_asked(name):
    tell(name, ask())


def in_child(name, work):
    """Runs `work` in a forked child, which tells how it went by its exit code."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
            os._exit(0)
        except BaseException as error:
            tell(name, repr(error))
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0, name


def output(command, **options):
    return subprocess.run(command, stdout=subprocess.PIPE, check=True, **options).stdout.decode().strip()


def passed_by_message():
    ours, theirs = socket.socketpair()

    def child():
        _, descriptors, _, _ = socket.recv_fds(theirs, 10, 1)
        connection = socket.socket(fileno=descriptors[0])
        tell("passed-by-message", f"{connection.recv(3).decode()} port {connection.getpeername()[1]}")

    connection = socket.create_connection(("echo-server", 7002), 10)
    connection.settimeout(None)
    socket.send_fds(ours, [b"x"], [connection.fileno()])
    connection.close()
    in_child("passed-by-message", child)


def inherited_over_exec():
    connection = socket.create_connection(("echo-server", 7002), 10)
    connection.settimeout(None)
    read = f"import socket; s = socket.socket(fileno={connection.fileno()}); print(s.recv(3).decode(), s.getpeername()[1])"
    tell("inherited-over-exec", output([PYTHON, "-c", read], pass_fds=[connection.fileno()]))


def duplicated():
    connection = socket.create_connection(("echo-server", 7002), 10)
    copy = os.dup2(connection.fileno(), 200)
    connection.close()
    with socket.socket(fileno=copy) as again:
        # The time limit of the first one has made what both share non-blocking.
        again.settimeout(10)
        tell("duplicated", f"{again.recv(3).decode()} port {again.getpeername()[1]}")


def connected_before_fork():
    connection = socket.create_connection(("echo-server", 7000), 10)

    def child():
        connection.sendall(b"from the child")

    in_child("connected-before-fork", child)
    tell("connected-before-fork", connection.recv(100).decode())


def forked_beside_threads():
    stop = threading.Event()

    def work():
        while not stop.is_set():
            ask()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in range(5):
        in_child("forked-beside-threads", ask)
    stop.set()
    for thread in threads:
        thread.join()
    tell("forked-beside-threads", "5 children")


def posix_spawned():
    pid = os.posix_spawn(PYTHON, [PYTHON, HERE, "posix-spawn"], os.environ)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def executed_without_environment():
    in_child("exec-no-environment", lambda: os.execve(PYTHON, [PYTHON, HERE, "exec-no-environment"], {}))


def by_system():
    libc = ctypes.CDLL(None)
    assert libc.system(f"{PYTHON} {HERE} libc-system".encode()) == 0


def main():
    in_child("fork", lambda: tell_asked("fork"))
    tell("vfork", output(ASK))
    tell("fork-and-exec", output(ASK, preexec_fn=os.getpid))
    tell("start-new-session", output(ASK, start_new_session=True))
    tell("closed-descriptors", output(["sh", "-c", f"exec 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&-; exec {' '.join(ASK)}"]))
    posix_spawned()
    by_system()
    for method in "fork", "spawn", "forkserver":
        child = multiprocessing.get_context(method).Process(target=tell_asked, args=(f"multiprocessing-{method}",))
        child.start()
        child.join()
    tell("shell-in-shell", output(["sh", "-c", f"sh -c '{PYTHON} -c \"import os; os.system(\\\"{' '.join(ASK)}\\\")\"'"]))
    tell("env-i", output(["env", "-i"] + ["/usr/bin/" + ASK[0]] + ASK[1:]))
    tell("env-i-twice", output(["env", "-i", "/bin/sh", "-c", f"env -i /usr/bin/{' '.join(ASK)}"]))
    executed_without_environment()
    tell("no-preload", output(ASK, env={key: value for key, value in os.environ.items() if key != "LD_PRELOAD"}))
    passed_by_message()
    inherited_over_exec()
    duplicated()
    connected_before_fork()
    forked_beside_threads()


if __name__ == "__main__":
    main() if len(sys.argv) == 1 else tell_asked(sys.argv[1])
