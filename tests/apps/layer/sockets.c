/* Carries out a list of socket operations, one word each with its arguments, and prints what came of them.
 * Numbers after `=` are errno values, 0 for success. A call that succeeds and changes errno prints `dirty`. */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define UNUSUAL 117

static int fd = -1;
static struct sockaddr_storage far;
static socklen_t far_length;

static void address(const char *ip, const char *port, struct sockaddr_storage *out, socklen_t *length) {
    struct sockaddr_in *v4 = (void *)out;
    struct sockaddr_in6 *v6 = (void *)out;
    memset(out, 0, sizeof *out);
    if (inet_pton(AF_INET, ip, &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons(atoi(port));
        *length = sizeof *v4;
    } else if (inet_pton(AF_INET6, ip, &v6->sin6_addr) == 1) {
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons(atoi(port));
        *length = sizeof *v6;
    } else {
        exit(99);
    }
}

static void show(const char *what, long result) {
    if (result >= 0 && errno != UNUSUAL) printf("dirty ");
    printf("%s=%d\n", what, result < 0 ? errno : 0);
}

static void name(const char *what, int (*call)(int, struct sockaddr *, socklen_t *)) {
    struct sockaddr_storage own;
    socklen_t length = sizeof own;
    char text[INET6_ADDRSTRLEN];
    errno = UNUSUAL;
    if (call(fd, (void *)&own, &length) < 0) {
        show(what, -1);
        return;
    }
    if (errno != UNUSUAL) printf("dirty ");
    if (own.ss_family == AF_INET) {
        struct sockaddr_in *v4 = (void *)&own;
        inet_ntop(AF_INET, &v4->sin_addr, text, sizeof text);
        printf("%s=%s:%d/%u\n", what, text, ntohs(v4->sin_port), length);
    } else {
        struct sockaddr_in6 *v6 = (void *)&own;
        inet_ntop(AF_INET6, &v6->sin6_addr, text, sizeof text);
        printf("%s=[%s]:%d/%u\n", what, text, ntohs(v6->sin6_port), length);
    }
}

static void so_error(void) {
    int error = -1;
    socklen_t length = sizeof error;
    getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length);
    printf("so_error=%d\n", error);
}

static void wait_writable(const char *how) {
    if (!strcmp(how, "poll")) {
        struct pollfd entry = {fd, POLLOUT, 0};
        int count = poll(&entry, 1, 10000);
        printf("poll=%d %s\n", count, entry.revents & POLLOUT ? "out" : "-");
    } else if (!strcmp(how, "select")) {
        fd_set set;
        FD_ZERO(&set);
        FD_SET(fd, &set);
        struct timeval limit = {10, 0};
        printf("select=%d\n", select(fd + 1, NULL, &set, NULL, &limit));
    } else {
        int set = epoll_create1(0);
        struct epoll_event event = {EPOLLOUT, {0}}, got = {0};
        epoll_ctl(set, EPOLL_CTL_ADD, fd, &event);
        int count = epoll_wait(set, &got, 1, 10000);
        printf("epoll=%d %s\n", count, got.events & EPOLLOUT ? "out" : "-");
        close(set);
    }
    so_error();
}

static void on_signal(int number) { (void)number; }

static void truncated(void) {
    struct sockaddr_in own;
    socklen_t length = 6;
    memset(&own, 0xee, sizeof own);
    int result = getpeername(fd, (void *)&own, &length);
    unsigned char *bytes = (void *)&own;
    printf("truncated=%d length=%u port=%d rest=%x\n", result, length, ntohs(own.sin_port), bytes[6]);
}

static void hello(void) {
    char text[16] = {0};
    size_t used = 0;
    while (used < 6) {
        ssize_t got = recv(fd, text + used, 6 - used, 0);
        if (got <= 0) break;
        used += got;
    }
    printf("hello=%s\n", strcmp(text, "hello\n") ? "no" : "yes");
}

static int fds_at_start;

static int count_fds(void) {
    int count = 0;
    DIR *list = opendir("/proc/self/fd");
    while (readdir(list)) count++;
    closedir(list);
    return count - 3;
}

static void connect_far(char **word) {
    address(word[1], word[2], &far, &far_length);
    errno = UNUSUAL;
    if (!strcmp(word[0], "connect")) show("connect", connect(fd, (void *)&far, far_length));
    else show("syscall", syscall(SYS_connect, fd, &far, far_length));
}

/* Connects by the first data, through one of three functions. */
static void fastopen(char **word) {
    address(word[2], word[3], &far, &far_length);
    struct iovec data = {word[4], strlen(word[4])};
    struct mmsghdr message = {.msg_hdr = {&far, far_length, &data, 1}};
    errno = UNUSUAL;
    long result = !strcmp(word[1], "sendto")    ? sendto(fd, word[4], strlen(word[4]), MSG_FASTOPEN, (void *)&far, far_length)
                  : !strcmp(word[1], "sendmsg") ? sendmsg(fd, &message.msg_hdr, MSG_FASTOPEN)
                                                : sendmmsg(fd, &message, 1, MSG_FASTOPEN);
    show(word[1], result);
}

/* Whether the next bytes are these. */
static void expect(const char *wanted) {
    char text[64] = {0};
    ssize_t got = recv(fd, text, strlen(wanted), MSG_WAITALL);
    printf("got=%s\n", got < 0 ? "error" : !strcmp(text, wanted) ? "it" : text);
}

/* Gives the socket to another process, which names it. */
static void pass(void) {
    int pair[2];
    char room[CMSG_SPACE(sizeof fd)] = {0}, byte = 0;
    struct iovec data = {&byte, 1};
    struct msghdr header = {.msg_iov = &data, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof room};
    socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
    pid_t child = fork();
    if (child == 0) {
        close(fd);
        errno = UNUSUAL;
        show("received", recvmsg(pair[0], &header, 0));
        memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&header)), sizeof fd);
        name("local", getsockname), name("peer", getpeername);
        hello();
        _exit(0);
    }
    connect_far((char *[]){"connect", "10.0.0.5", "80"});
    struct cmsghdr *control = CMSG_FIRSTHDR(&header);
    *control = (struct cmsghdr){CMSG_LEN(sizeof fd), SOL_SOCKET, SCM_RIGHTS};
    memcpy(CMSG_DATA(control), &fd, sizeof fd);
    errno = UNUSUAL;
    show("passed", sendmsg(pair[1], &header, 0));
    waitpid(child, NULL, 0);
}

/* Does one operation and returns how many words it took. */
static int step(char **word) {
    const char *op = word[0];
    int one = 1;
    errno = UNUSUAL;
    /* For somebody else, such as a file of arguments. */
    if (op[0] == '@') return 1;
    if (!strcmp(op, "socket4")) fd = socket(AF_INET, SOCK_STREAM, 0);
    else if (!strcmp(op, "socket6")) fd = socket(AF_INET6, SOCK_STREAM, 0);
    else if (!strcmp(op, "udp")) fd = socket(AF_INET, SOCK_DGRAM, 0);
    else if (!strcmp(op, "nonblock")) fcntl(fd, F_SETFL, O_NONBLOCK);
    else if (!strcmp(op, "v6only")) setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one);
    else if (!strcmp(op, "hello")) hello();
    else if (!strcmp(op, "truncated")) truncated();
    else if (!strcmp(op, "fds")) printf("fds=+%d\n", count_fds() - fds_at_start);
    else if (!strcmp(op, "close")) close(fd);
    else if (!strcmp(op, "poll") || !strcmp(op, "epoll") || !strcmp(op, "select")) wait_writable(op);
    else if (!strcmp(op, "names")) name("local", getsockname), name("peer", getpeername);
    else if (!strcmp(op, "local")) name("local", getsockname);
    else if (!strcmp(op, "fastconnect")) show("option", setsockopt(fd, IPPROTO_TCP, TCP_FASTOPEN_CONNECT, &one, sizeof one));
    else if (!strcmp(op, "pass")) pass();
    else if (!strcmp(op, "expect")) return expect(word[1]), 2;
    else if (!strcmp(op, "fastopen")) return fastopen(word), 5;
    else if (!strcmp(op, "syncount")) {
        int count = atoi(word[1]);
        setsockopt(fd, IPPROTO_TCP, TCP_SYNCNT, &count, sizeof count);
        return 2;
    } else if (!strcmp(op, "again")) show("again", connect(fd, (void *)&far, far_length));
    else if (!strcmp(op, "disconnect")) {
        struct sockaddr none = {.sa_family = AF_UNSPEC};
        show("disconnect", connect(fd, &none, sizeof none));
    } else if (!strcmp(op, "unix")) {
        struct sockaddr_un path = {.sun_family = AF_UNIX, .sun_path = "/nowhere/at/all"};
        fd = socket(AF_UNIX, SOCK_STREAM, 0);
        show("unix", connect(fd, (void *)&path, sizeof path));
    } else if (!strcmp(op, "bad")) {
        socklen_t length = 16;
        show("null", connect(fd, NULL, 16));
        show("wild", connect(fd, (void *)8, 16));
        show("short", connect(fd, (void *)&far, 8));
        show("name", getpeername(fd, (void *)8, &length));
        show("length", getpeername(fd, (void *)&far, (void *)8));
        show("nothing", getsockname(fd, (void *)&far, NULL));
        show("closed", connect(-1, (void *)&far, sizeof(struct sockaddr_in)));
    } else if (!strcmp(op, "syscalls")) {
        void *page = (void *)syscall(SYS_mmap, NULL, 4096, 3, 0x22, -1, 0);
        struct sockaddr_in own;
        socklen_t length = sizeof own;
        printf("mmap=%d pid=%d\n", page != (void *)-1, syscall(SYS_getpid) == getpid());
        show("ring", syscall(SYS_io_uring_setup, 1, page));
        show("bad", syscall(SYS_close, -1));
        long result = syscall(SYS_getpeername, fd, &own, &length);
        printf("peer=%ld %s:%d\n", result, inet_ntoa(own.sin_addr), ntohs(own.sin_port));
    } else if (!strcmp(op, "connect") || !strcmp(op, "syscall")) {
        connect_far(word);
        return 3;
    } else if (!strcmp(op, "bind")) {
        struct sockaddr_storage own;
        socklen_t length;
        address(word[1], word[2], &own, &length);
        show("bind", bind(fd, (void *)&own, length));
        return 3;
    } else if (!strcmp(op, "device")) {
        show("device", setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, word[1], strlen(word[1])));
        return 2;
    } else if (!strcmp(op, "sndtimeo")) {
        struct timeval limit = {0, atoi(word[1]) * 1000};
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
        return 2;
    } else if (!strcmp(op, "alarm")) {
        struct sigaction action = {.sa_handler = on_signal};
        struct itimerval timer = {{0, 0}, {0, atoi(word[1]) * 1000}};
        sigaction(SIGALRM, &action, NULL);
        setitimer(ITIMER_REAL, &timer, NULL);
        return 2;
    } else exit(98);
    return 1;
}

int main(int count, char **words) {
    setvbuf(stdout, NULL, _IOLBF, 0);
    fds_at_start = count_fds();
    far.ss_family = AF_INET;
    for (int at = 1; at < count;) at += step(words + at);
    return 0;
}
