/* exec HOW PROGRAM ARGUMENT...: starts a program in every way that libc has, with an environment of
 * `KEEP=1` only, or with what stands in front of HOW as NAME=value. */
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static int ended(pid_t pid) {
    int status = -1;
    waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 90;
}

static int with_shell(const char *how, char **word) {
    char line[8192] = "";
    for (; *word; word++) {
        strcat(line, *word);
        strcat(line, word[1] ? " " : "");
    }
    if (!strcmp(how, "system")) {
        int status = system(line);
        return WIFEXITED(status) ? WEXITSTATUS(status) : 91;
    }
    FILE *out = popen(line, "r");
    for (int c; (c = getc(out)) != EOF;) putchar(c);
    return pclose(out) ? 92 : 0;
}

int main(int count, char **word) {
    static char *own[20000] = {"KEEP=1"};
    int at = 1, size = 1;
    for (; at < count && strchr(word[at], '='); at++) own[size++] = word[at];
    if (!strcmp(word[at], "many")) {
        for (int i = 0; i < 5000; i++) own[size++] = "FILLER=1";
        at++;
    }
    const char *how = word[at];
    char **rest = word + at + 1, *path = rest[0];
    pid_t pid;
    clearenv();
    for (int i = 0; i < size; i++) putenv(own[i]);
    if (!strcmp(how, "execve")) execve(path, rest, own);
    if (!strcmp(how, "nothing")) execve(path, rest, NULL);
    if (!strcmp(how, "execv")) execv(path, rest);
    if (!strcmp(how, "execvp")) execvp(path, rest);
    if (!strcmp(how, "execvpe")) execvpe(path, rest, own);
    if (!strcmp(how, "execl")) execl(path, rest[0], rest[1], rest[2], rest[3], rest[4], rest[4] ? rest[5] : NULL, NULL);
    if (!strcmp(how, "execle")) execle(path, rest[0], rest[1], rest[2], rest[3], rest[4], NULL, own);
    if (!strcmp(how, "execlp")) execlp(path, rest[0], rest[1], rest[2], rest[3], rest[4], NULL);
    if (!strcmp(how, "short")) execl("/bin/echo", "echo", "1", NULL);
    if (!strcmp(how, "long"))
        execl("/bin/echo", "echo", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", NULL);
    if (!strcmp(how, "longe"))
        execle("/bin/sh", "sh", "-c", "echo $0 $* $KEEP", "0", "1", "2", "3", "4", "5", "6", "7", "8", NULL, own);
    if (!strcmp(how, "fexecve")) fexecve(open(path, O_RDONLY | O_CLOEXEC), rest, own);
    if (!strcmp(how, "opath")) fexecve(open(path, O_PATH | O_CLOEXEC), rest, own);
    if (!strcmp(how, "execveat")) syscall(SYS_getpid), execveat(AT_FDCWD, path, rest, own, 0);
    if (!strcmp(how, "number")) syscall(SYS_execve, path, rest, own);
    if (!strcmp(how, "atnumber")) syscall(SYS_execveat, AT_FDCWD, path, rest, own, 0);
    if (!strcmp(how, "empty")) execveat(open(path, O_PATH | O_CLOEXEC), "", rest, own, AT_EMPTY_PATH);
    if (!strcmp(how, "spawn")) return posix_spawn(&pid, path, NULL, NULL, rest, own) ? 93 : ended(pid);
    if (!strcmp(how, "spawnp")) return posix_spawnp(&pid, path, NULL, NULL, rest, own) ? 93 : ended(pid);
    if (!strcmp(how, "vfork") || !strcmp(how, "vforknumber")) {
        if (!(pid = vfork())) {
            if (strcmp(how, "vfork")) syscall(SYS_execve, path, rest, own);
            else execve(path, rest, own);
            _exit(94);
        }
        return ended(pid);
    }
    if (!strcmp(how, "system") || !strcmp(how, "popen")) return with_shell(how, rest);
    printf("errno=%d\n", errno);
    return 97;
}
