/* TCP: how a connection begins, or does not. */
#include "conformance.h"

CASE(connect, blocking, "names and errors before and after a blocking connect to a Service") {
    int fd = tcp();
    say_names(fd);
    TELL("connect", join(fd, at("echo", 80)));
    say("error %s", pending(fd));
    say_names(fd);
}

CASE(connect, poll, "non-blocking, awaited with poll") {
    int fd = tcp_nonblocking();
    say_begun(fd, at("echo", 80));
    say("events %s", events(fd, POLLIN | POLLOUT, PATIENCE));
    say_done(fd);
}

CASE(connect, select, "non-blocking, awaited with select") {
    int fd = tcp_nonblocking();
    say_begun(fd, at("echo", 80));
    fd_set reads, writes;
    FD_ZERO(&reads);
    FD_ZERO(&writes);
    FD_SET(fd, &reads), FD_SET(fd, &writes);
    struct timeval limit = {.tv_sec = PATIENCE / 1000};
    COUNT("select", select(fd + 1, &reads, &writes, NULL, &limit));
    say("read %d write %d", FD_ISSET(fd, &reads) != 0, FD_ISSET(fd, &writes) != 0);
    say_done(fd);
}

static void await_epoll(int fd, bool register_first, uint32_t flags, struct address to) {
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | flags};
    if (register_first)
        epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
    say_begun(fd, to);
    if (!register_first)
        epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
    /* A socket that is not connected yet is hung up: events that were seen before the connect do not count. */
    for (int i = 0; i < 100; i++) {
        event.events = 0;
        if (epoll_wait(epoll, &event, 1, PATIENCE) != 1 || !(event.events == (EPOLLOUT | EPOLLHUP)))
            break;
    }
    say("events %s", event_names(event.events & 0xfff));
    say_done(fd);
}

CASE(connect, epoll, "non-blocking, awaited with epoll") { await_epoll(tcp_nonblocking(), false, 0, at("echo", 80)); }

CASE(connect, epoll_edge_first, "registered with an edge-triggered epoll before the connect") {
    await_epoll(tcp_nonblocking(), true, EPOLLET, at("echo", 80));
}

CASE(connect, epoll_refused, "a refusal awaited with epoll") {
    await_epoll(tcp_nonblocking(), false, EPOLLET, at("peer", PEER_CLOSED));
}

CASE(connect, fcntl, "made non-blocking with fcntl") {
    int fd = tcp();
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    say_begun(fd, at("echo", 80));
    say("events %s", events(fd, POLLOUT, PATIENCE));
    say_done(fd);
}

CASE(connect, fionbio, "made non-blocking with ioctl") {
    int fd = tcp(), on = 1;
    ioctl(fd, FIONBIO, &on);
    say_begun(fd, at("echo", 80));
    say("events %s", events(fd, POLLOUT, PATIENCE));
    say_done(fd);
}

CASE(connect, nonblocking_names, "getsockname and getpeername right after EINPROGRESS to a black hole") {
    int fd = tcp_nonblocking();
    say_begun(fd, at("hole", 80));
    say_names(fd);
}

CASE(connect, again_while_connecting, "connect again while a connection is being made") {
    int fd = tcp_nonblocking();
    TELL("connect", join(fd, at("hole", 80)));
    TELL("again", join(fd, at("hole", 80)));
    TELL("elsewhere", join(fd, at("echo", 80)));
    say("error %s", pending(fd));
    say("events %s", events(fd, POLLIN | POLLOUT, MOMENT));
    TELL("again", join(fd, at("hole", 80)));
    COUNT("send", send(fd, "x", 1, MSG_NOSIGNAL));
    char byte;
    COUNT("recv", recv(fd, &byte, 1, 0));
}

CASE(connect, again_when_connected, "connect again on a connected socket") {
    int fd = tcp();
    TELL("connect", join(fd, at("echo", 80)));
    TELL("again", join(fd, at("echo", 80)));
    TELL("elsewhere", join(fd, at("peer", PEER_TCP)));
    TELL("to loopback", join(fd, at("127.0.0.1", 1)));
    say_names(fd);
}

CASE(connect, until_connected, "the loop of connect, poll, connect, connect") {
    int fd = tcp_nonblocking();
    TELL("connect", join(fd, at("echo", 80)));
    say("events %s", events(fd, POLLOUT, PATIENCE));
    TELL("second", join(fd, at("echo", 80)));
    TELL("third", join(fd, at("echo", 80)));
}

CASE(connect, second_blocking, "a non-blocking connect finished by a blocking one") {
    int fd = tcp_nonblocking();
    TELL("connect", join(fd, at("echo", 80)));
    fcntl(fd, F_SETFL, 0);
    TELL("second", join(fd, at("echo", 80)));
    TELL("third", join(fd, at("echo", 80)));
    say_names(fd);
}

CASE(connect, refused, "a closed port of a pod") {
    int fd = tcp();
    TELL("connect", join(fd, at("peer", PEER_CLOSED)));
    say("error %s", pending(fd));
    say("events %s", events(fd, POLLIN | POLLOUT, 0));
    say("peer %s", peer_name(fd));
}

CASE(connect, refused_name, "getsockname after a refusal") {
    int fd = tcp();
    TELL("connect", join(fd, at("peer", PEER_CLOSED)));
    say("local %s", local_name(fd));
}

CASE(connect, refused_service, "a port that a Service does not have") {
    int fd = tcp();
    set_timeout(fd, SO_SNDTIMEO, PATIENCE);
    TELL("connect", join(fd, at("echo", 81)));
}

CASE(connect, refused_poll, "a refusal awaited with poll") {
    int fd = tcp_nonblocking();
    TELL("connect", join(fd, at("peer", PEER_CLOSED)));
    say("events %s", events(fd, POLLIN | POLLOUT | POLLRDHUP, PATIENCE));
    say("error %s", pending(fd));
    say("then %s", pending(fd));
    say("peer %s", peer_name(fd));
}

CASE(connect, refused_select, "a refusal awaited with select") {
    int fd = tcp_nonblocking();
    TELL("connect", join(fd, at("peer", PEER_CLOSED)));
    fd_set reads, writes, others;
    FD_ZERO(&reads);
    FD_ZERO(&writes);
    FD_ZERO(&others);
    FD_SET(fd, &reads), FD_SET(fd, &writes), FD_SET(fd, &others);
    struct timeval limit = {.tv_sec = PATIENCE / 1000};
    COUNT("select", select(fd + 1, &reads, &writes, &others, &limit));
    say("error %s", pending(fd));
}

CASE(connect, refused_connect, "a refusal told by the second connect") {
    int fd = tcp_nonblocking();
    TELL("connect", join(fd, at("peer", PEER_CLOSED)));
    events(fd, POLLOUT, PATIENCE);
    TELL("second", join(fd, at("peer", PEER_CLOSED)));
    TELL("third", join(fd, at("peer", PEER_CLOSED)));
}

CASE(connect, refused_read, "a refusal told by recv") {
    int fd = tcp_nonblocking();
    char byte;
    TELL("connect", join(fd, at("peer", PEER_CLOSED)));
    events(fd, POLLOUT, PATIENCE);
    COUNT("recv", recv(fd, &byte, 1, 0));
    COUNT("again", recv(fd, &byte, 1, 0));
}

CASE(connect, refused_send, "a refusal told by send") {
    int fd = tcp_nonblocking();
    TELL("connect", join(fd, at("peer", PEER_CLOSED)));
    events(fd, POLLOUT, PATIENCE);
    COUNT("send", send(fd, "x", 1, MSG_NOSIGNAL));
    COUNT("again", send(fd, "x", 1, MSG_NOSIGNAL));
}

CASE(connect, after_refusal, "the same socket goes elsewhere after a refusal") {
    int fd = tcp();
    TELL("connect", join(fd, at("peer", PEER_CLOSED)));
    TELL("again", join(fd, at("echo", 80)));
    say_names(fd);
}

CASE(connect, after_refusal_nonblocking, "the same non-blocking socket goes elsewhere after a refusal") {
    int fd = tcp_nonblocking();
    TELL("connect", join(fd, at("peer", PEER_CLOSED)));
    events(fd, POLLOUT, PATIENCE);
    say("error %s", pending(fd));
    TELL("again", join(fd, at("echo", 80)));
    say("events %s", events(fd, POLLOUT, PATIENCE));
    say_done(fd);
}

CASE(connect, unroutable, "an address that no route leads to") {
    int fd = tcp();
    TELL("connect", join(fd, at("240.0.0.1", 80)));
    say("peer %s", peer_name(fd));
}

CASE(connect, unroutable_nonblocking, "the same without blocking") {
    int fd = tcp_nonblocking();
    /* Whether a kernel gives up at once or goes on asking depends on when the router's word comes. */
    int outcome = join(fd, at("240.0.0.1", 80));
    say("connect %s", outcome == 0 || errno == EINPROGRESS || errno == EHOSTUNREACH ? "begun or unreachable" : result(-1));
    say("events %s", strncmp(events(fd, POLLOUT, MOMENT), "OUT", 4) == 0 ? "connected" : "not connected");
    say("peer %s", peer_name(fd));
}

CASE(connect, timeout, "SO_SNDTIMEO ends a connect that nobody answers") {
    int fd = tcp();
    set_timeout(fd, SO_SNDTIMEO, MOMENT);
    TELL("connect", join(fd, at("hole", 80)));
    TELL("again", join(fd, at("hole", 80)));
    say("error %s", pending(fd));
    say("peer %s", peer_name(fd));
}

CASE(connect, timeout_enough, "SO_SNDTIMEO that is long enough") {
    int fd = tcp();
    set_timeout(fd, SO_SNDTIMEO, PATIENCE);
    TELL("connect", join(fd, at("echo", 80)));
    say_names(fd);
}

CASE(connect, timeout_refused, "a refusal within SO_SNDTIMEO") {
    int fd = tcp();
    set_timeout(fd, SO_SNDTIMEO, PATIENCE);
    TELL("connect", join(fd, at("peer", PEER_CLOSED)));
}

CASE(connect, nobody_answers, "a non-blocking connect that nobody answers stays open") {
    int fd = tcp_nonblocking();
    TELL("connect", join(fd, at("hole", 80)));
    say("events %s", events(fd, POLLIN | POLLOUT | POLLRDHUP, 2 * MOMENT));
    say("error %s", pending(fd));
    say("peer %s", peer_name(fd));
}

CASE(connect, user_timeout, "TCP_USER_TIMEOUT ends a connect that nobody answers") {
    int fd = tcp_nonblocking();
    set(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, 1500);
    TELL("connect", join(fd, at("hole", 80)));
    say("events %s", events(fd, POLLOUT, PATIENCE));
    say("error %s", pending(fd));
}

CASE(connect, syn_count, "TCP_SYNCNT 1 ends a blocking connect that nobody answers") {
    int fd = tcp();
    set(fd, IPPROTO_TCP, TCP_SYNCNT, 1);
    TELL("connect", join(fd, at("hole", 80)));
}

CASE(connect, unspecified_unused, "AF_UNSPEC on a fresh socket") {
    int fd = tcp();
    struct address none = {.any = {.sa_family = AF_UNSPEC}, .length = sizeof(struct sockaddr_in)};
    TELL("connect", join(fd, none));
    say_names(fd);
}

CASE(connect, unspecified_connected, "AF_UNSPEC ends a connection, and the socket can be used again") {
    int fd = tcp();
    struct address none = {.any = {.sa_family = AF_UNSPEC}, .length = sizeof(struct sockaddr_in)};
    TELL("connect", join(fd, at("echo", 80)));
    TELL("unspecified", join(fd, none));
    say_names(fd);
    TELL("elsewhere", join(fd, at("peer", PEER_TCP)));
    say_names(fd);
}

CASE(connect, unspecified_connecting, "AF_UNSPEC gives a connection up") {
    int fd = tcp_nonblocking();
    struct address none = {.any = {.sa_family = AF_UNSPEC}, .length = sizeof(struct sockaddr_in)};
    TELL("connect", join(fd, at("hole", 80)));
    TELL("unspecified", join(fd, none));
    TELL("elsewhere", join(fd, at("echo", 80)));
    say("events %s", events(fd, POLLOUT, PATIENCE));
    say_done(fd);
}
