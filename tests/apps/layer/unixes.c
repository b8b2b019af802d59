/* Carries out a list of operations on Unix sockets. Numbers after `=` are errno values, 0 for success; a name
 * that begins with @ is abstract. */
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#define UNUSUAL 117

static int fd = -1;
static struct sockaddr_un far;
static socklen_t far_length;

static void address(const char *name) {
    memset(&far, 0, sizeof far);
    far.sun_family = AF_UNIX;
    memcpy(far.sun_path, name, strlen(name));
    far_length = offsetof(struct sockaddr_un, sun_path) + strlen(name) + (*name != '@');
    if (*name == '@') far.sun_path[0] = 0;
}

static void show(const char *what, long result) {
    if (result >= 0 && errno != UNUSUAL) printf("dirty ");
    printf("%s=%d\n", what, result < 0 ? errno : 0);
}

static int step(char **word) {
    const char *op = word[0];
    char text[64] = {0};
    if (!strcmp(op, "stream")) fd = socket(AF_UNIX, SOCK_STREAM, 0);
    else if (!strcmp(op, "packets")) fd = socket(AF_UNIX, SOCK_SEQPACKET, 0);
    else if (!strcmp(op, "datagrams")) fd = socket(AF_UNIX, SOCK_DGRAM, 0);
    else if (!strcmp(op, "nonblock")) fcntl(fd, F_SETFL, O_NONBLOCK);
    else if (!strcmp(op, "again")) errno = UNUSUAL, show("again", connect(fd, (void *)&far, far_length));
    else if (!strcmp(op, "recv")) printf("recv=%.*s\n", (int)recv(fd, text, sizeof text, 0), text);
    else if (!strcmp(op, "peer")) {
        struct sockaddr_un name = {0};
        socklen_t length = sizeof name;
        errno = UNUSUAL;
        if (getpeername(fd, (void *)&name, &length) || errno != UNUSUAL) return printf("peer=%d\n", errno), 1;
        int abstract = !name.sun_path[0], size = length - offsetof(struct sockaddr_un, sun_path) - 1;
        printf("peer=%s%.*s", abstract ? "@" : "", size, name.sun_path + abstract);
        memset(&name, 'x', sizeof name);
        socklen_t room = 4;
        getpeername(fd, (void *)&name, &room);
        printf(",%s,%.3s\n", room == length ? "whole" : "cut", abstract ? name.sun_path + 1 : name.sun_path);
    } else if (!strcmp(op, "send")) return errno = UNUSUAL, show("send", send(fd, word[1], strlen(word[1]), MSG_NOSIGNAL)), 2;
    else if (!strcmp(op, "connect")) {
        address(word[1]);
        errno = UNUSUAL;
        show("connect", connect(fd, (void *)&far, far_length));
        return 2;
    } else if (!strcmp(op, "syscall")) {
        address(word[1]);
        errno = UNUSUAL;
        show("syscall", syscall(SYS_connect, fd, &far, far_length));
        return 2;
    } else if (!strcmp(op, "sendto")) {
        address(word[1]);
        errno = UNUSUAL;
        show("sendto", sendto(fd, word[2], strlen(word[2]), 0, (void *)&far, far_length));
        return 3;
    } else if (!strcmp(op, "sendmsg")) {
        address(word[1]);
        struct iovec data = {word[2], strlen(word[2])};
        struct mmsghdr message = {.msg_hdr = {&far, far_length, &data, 1}};
        errno = UNUSUAL;
        show("sendmsg", sendmsg(fd, &message.msg_hdr, 0));
        errno = UNUSUAL;
        show("sendmmsg", sendmmsg(fd, &message, 1, 0));
        return 3;
    } else if (!strcmp(op, "bad")) {
        errno = 0;
        show("null", connect(fd, NULL, 20));
        show("wild", connect(fd, (void *)8, 20));
        show("long", connect(fd, (void *)&far, 111));
        show("unnamed", connect(fd, (void *)&far, 2));
    } else exit(98);
    return 1;
}

int main(int count, char **words) {
    setvbuf(stdout, NULL, _IOLBF, 0);
    far.sun_family = AF_UNIX;
    for (int at = 1; at < count;) at += step(words + at);
    return 0;
}
