/* sandbox HOW WHAT: installs a seccomp filter on socket() by HOW, then uses sockets from before and
 * looks at the environment that a started program gets. WHAT is `refuse` or `kill`. */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static int dial(int fd) {
    struct sockaddr_in far = {.sin_family = AF_INET, .sin_port = htons(80)};
    far.sin_addr.s_addr = htonl(0x0a000005);
    return connect(fd, (void *)&far, sizeof far) < 0 ? errno : 0;
}

static void install(const char *how, const char *what) {
    unsigned action = strcmp(what, "kill") ? SECCOMP_RET_ERRNO | EPERM : SECCOMP_RET_KILL_PROCESS;
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_socket, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, action),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof code / sizeof *code, code};
    long result = 0;
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    if (!strcmp(how, "prctl")) result = prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0);
    else if (!strcmp(how, "syscall")) result = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program);
    else if (!strcmp(how, "spread"))
        result = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program);
    else if (!strcmp(how, "raw")) {
#if defined(__x86_64__)
        __asm__ volatile("syscall" : "=a"(result)
                         : "a"(SYS_seccomp), "D"(SECCOMP_SET_MODE_FILTER), "S"(0), "d"(&program)
                         : "rcx", "r11", "memory");
#else
        result = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program);
#endif
    }
    if (result) exit(77);
}

static void *in_thread(void *words) {
    install(((char **)words)[1], ((char **)words)[2]);
    return (void *)(long)dial(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
}

int main(int count, char **word) {
    if (count > 3) {
        /* Only a thread is sandboxed: the others stay in the session. */
        pthread_t thread;
        void *error;
        pthread_create(&thread, NULL, in_thread, word);
        pthread_join(thread, &error);
        printf("main=%d\n", dial(socket(AF_INET, SOCK_STREAM, 0)));
        return 0;
    }
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), udp = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    install(word[1], word[2]);
    int error = dial(fd);
    printf("connect=%s\n", error == EINPROGRESS || error == ENETUNREACH ? "local" : strerror(error));
    fflush(stdout);
    struct sockaddr_in far = {.sin_family = AF_INET, .sin_port = htons(53)};
    far.sin_addr.s_addr = htonl(0x0a000005);
    sendto(udp, "x", 1, 0, (void *)&far, sizeof far);
    connect(udp, (void *)&far, sizeof far);
    execl("/usr/bin/env", "env", NULL);
    return 1;
}
