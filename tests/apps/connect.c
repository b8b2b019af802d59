// A non-blocking connect that is awaited in the way the first argument names, and told by its errno.
// Usage: connect (block|poll|select|epoll|timeout) HOST PORT
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

enum { PATIENCE_MS = 10000 };

static void await_writable(const char *how, int fd) {
    if (strcmp(how, "poll") == 0) {
        struct pollfd wanted = {.fd = fd, .events = POLLOUT};
        poll(&wanted, 1, PATIENCE_MS);
    } else if (strcmp(how, "select") == 0) {
        fd_set set;
        FD_ZERO(&set);
        FD_SET(fd, &set);
        struct timeval limit = {.tv_sec = PATIENCE_MS / 1000};
        select(fd + 1, NULL, &set, NULL, &limit);
    } else {
        int epoll = epoll_create1(EPOLL_CLOEXEC);
        struct epoll_event event = {.events = EPOLLOUT};
        epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
        epoll_wait(epoll, &event, 1, PATIENCE_MS);
        close(epoll);
    }
}

static void print_name(const char *label, int (*get)(int, struct sockaddr *, socklen_t *), int fd) {
    struct sockaddr_storage address;
    socklen_t length = sizeof address;
    char host[64] = "?", port[16] = "?";
    if (get(fd, (struct sockaddr *)&address, &length) == 0)
        getnameinfo((struct sockaddr *)&address, length, host, sizeof host, port, sizeof port,
                    NI_NUMERICHOST | NI_NUMERICSERV);
    printf("%s %s %s\n", label, host, port);
}

int main(int argc, char **argv) {
    if (argc != 4)
        return 2;
    const char *how = argv[1];
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found;
    int error = getaddrinfo(argv[2], argv[3], &hints, &found);
    if (error != 0) {
        printf("getaddrinfo %s\n", gai_strerror(error));
        return 1;
    }
    int block = strcmp(how, "block") == 0 || strcmp(how, "timeout") == 0;
    int fd = socket(found->ai_family, SOCK_STREAM | (block ? 0 : SOCK_NONBLOCK), 0);
    if (strcmp(how, "timeout") == 0) {
        struct timeval limit = {.tv_sec = 1};
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    }
    int result = connect(fd, found->ai_addr, found->ai_addrlen) == 0 ? 0 : errno;
    if (result == EINPROGRESS && !block) {
        await_writable(how, fd);
        socklen_t length = sizeof result;
        getsockopt(fd, SOL_SOCKET, SO_ERROR, &result, &length);
    }
    printf("connect %s\n", result == 0 ? "ok" : strerrorname_np(result));
    if (result == 0) {
        print_name("local", getsockname, fd);
        print_name("peer", getpeername, fd);
    }
    freeaddrinfo(found);
    return result != 0;
}
