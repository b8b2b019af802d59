/* TCP: how a connection ends. */
#include "conformance.h"

CASE(stream, echo, "what is sent comes back") {
    int fd = peer("echo");
    put(fd, "hello\n");
    say("%s", line(fd));
    shutdown(fd, SHUT_WR);
    say("rest '%s'", rest(fd));
}

CASE(stream, half_close, "the client ends first, and gets an answer") {
    int fd = peer("count");
    put(fd, "twelve bytes");
    TELL("shutdown", shutdown(fd, SHUT_WR));
    COUNT("send", send(fd, "x", 1, MSG_NOSIGNAL));
    say("%s", rest(fd));
}

CASE(stream, half_close_server, "the server ends first, and still reads") {
    int fd = peer("half %s", tag());
    say("%s", line(fd));
    say("rest '%s'", rest(fd));
    say("events %s", events(fd, POLLIN | POLLOUT | POLLRDHUP, 0));
    COUNT("sent", pour(fd, 100000));
    close(fd);
    say("%s", report());
}

CASE(stream, close_is_seen, "the server sees the end of a closed socket") {
    int fd = peer("sink %s", tag());
    put(fd, "abc");
    close(fd);
    say("%s", report());
}

CASE(stream, linger_zero, "the server sees the reset of SO_LINGER 0") {
    int fd = peer("sayhold %s", tag());
    struct linger at_once = {.l_onoff = 1};
    say("%s", line(fd));
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    TELL("close", close(fd));
    say("%s", report());
}

CASE(stream, close_unread, "the server sees the reset of a socket closed with something unread") {
    int fd = peer("sayhold %s", tag());
    say("events %s", events(fd, POLLIN, PATIENCE));
    TELL("close", close(fd));
    say("%s", report());
}

CASE(stream, unspecified_resets, "the server sees the reset of connect with AF_UNSPEC") {
    int fd = peer("sayhold %s", tag());
    struct address none = {.any = {.sa_family = AF_UNSPEC}, .length = sizeof(struct sockaddr_in)};
    say("%s", line(fd));
    TELL("unspecified", join(fd, none));
    say("%s", report());
}

CASE(stream, killed, "the server sees the end of a killed process") {
    int ready[2];
    char byte;
    TELL("pipe", pipe(ready));
    pid_t child = fork();
    if (child == 0) {
        int fd = peer("sink %s", tag());
        put(fd, "abc");
        if (write(ready[1], "x", 1) == 1)
            pause();
        _exit(0);
    }
    COUNT("ready", read(ready[0], &byte, 1));
    kill(child, SIGKILL);
    say_child(child);
    say("%s", report());
}

CASE(stream, reset, "recv after a reset") {
    int fd = peer("reset");
    char byte;
    COUNT("recv", recv(fd, &byte, 1, 0));
    COUNT("again", recv(fd, &byte, 1, 0));
    say("error %s", pending(fd));
    say("events %s", events(fd, POLLIN | POLLOUT | POLLRDHUP, 0));
    count_sigpipe();
    COUNT("send", send(fd, "x", 1, 0));
    say("%d SIGPIPE", sigpipes);
}

CASE(stream, reset_send, "send after a reset") {
    int fd = peer("reset");
    events(fd, 0, PATIENCE);
    count_sigpipe();
    COUNT("send", send(fd, "x", 1, 0));
    say("%d SIGPIPE", sigpipes);
    COUNT("again", send(fd, "x", 1, 0));
    say("%d SIGPIPE", sigpipes);
}

CASE(stream, reset_polled, "poll and SO_ERROR after a reset") {
    int fd = peer("reset");
    char byte;
    events(fd, 0, PATIENCE);
    say("events %s", events(fd, POLLIN | POLLOUT | POLLRDHUP, 0));
    say("error %s", pending(fd));
    COUNT("recv", recv(fd, &byte, 1, 0));
}

CASE(stream, reset_epoll, "edge-triggered epoll after a reset") {
    int fd = peer("reset"), epoll = epoll_create1(0);
    events(fd, 0, PATIENCE);
    struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP | EPOLLET};
    epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
    COUNT("first", epoll_wait(epoll, &event, 1, PATIENCE));
    say("events %s", event_names(event.events & 0xfff) + 0);
    say("hung up %d", (event.events & EPOLLRDHUP) != 0);
    COUNT("second", epoll_wait(epoll, &event, 1, 0));
}

CASE(stream, reset_after_data, "what came before a reset can still be read") {
    int fd = peer("sayreset");
    say("events %s", events(fd, POLLIN, PATIENCE));
    put(fd, "go");
    events(fd, 0, PATIENCE);
    say("'%s'", rest(fd));
}

CASE(stream, reset_unread, "the reset of a server that closes with something unread") {
    int fd = peer("unread");
    say("%s", line(fd));
    put(fd, "never read");
    say("'%s'", rest(fd));
}

CASE(stream, closed_send, "send to a server that has closed") {
    int fd = peer("say 2");
    say("'%zu'", strlen(rest(fd)));
    say("events %s", events(fd, POLLIN | POLLOUT | POLLRDHUP, 0));
    count_sigpipe();
    COUNT("send", send(fd, "x", 1, 0));
    events(fd, 0, PATIENCE);
    COUNT("again", send(fd, "x", 1, 0));
    say("%d SIGPIPE", sigpipes);
}

CASE(stream, sigpipe_kills, "SIGPIPE ends a process that does not handle it") {
    pid_t child = fork();
    if (child == 0) {
        int fd = peer("echo");
        shutdown(fd, SHUT_WR);
        if (write(fd, "x", 1) < 0)
            _exit(3);
        _exit(4);
    }
    say_child(child);
}

CASE(stream, nosignal, "MSG_NOSIGNAL") {
    int fd = peer("echo");
    count_sigpipe();
    shutdown(fd, SHUT_WR);
    COUNT("send", send(fd, "x", 1, MSG_NOSIGNAL));
    say("%d SIGPIPE", sigpipes);
}

CASE(stream, shutdown_read, "SHUT_RD") {
    int fd = peer("echo");
    TELL("shutdown", shutdown(fd, SHUT_RD));
    say("rest '%s'", rest(fd));
    say("events %s", events(fd, POLLIN | POLLOUT | POLLRDHUP, 0));
    COUNT("send", send(fd, "x", 1, MSG_NOSIGNAL));
}

CASE(stream, shutdown_both, "SHUT_RDWR, twice, and a wrong word") {
    int fd = peer("sink %s", tag());
    TELL("wrong", shutdown(fd, 7));
    TELL("shutdown", shutdown(fd, SHUT_RDWR));
    say("rest '%s'", rest(fd));
    say("%s", report());
    say("events %s", events(fd, POLLIN | POLLOUT | POLLRDHUP, PATIENCE));
    TELL("unconnected", shutdown(tcp(), SHUT_RDWR));
}

CASE(stream, shutdown_wakes, "another thread's shutdown wakes recv") {
    int fd = peer("hold");
    pid_t child = fork();
    if (child == 0) {
        say("rest '%s'", rest(fd));
        _exit(0);
    }
    poll(NULL, 0, MOMENT);
    int outcome = shutdown(fd, SHUT_RD);
    say_child(child);
    TELL("shutdown", outcome);
}
