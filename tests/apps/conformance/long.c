/* Cases that take minutes; run on request. */
#include "conformance.h"

CASE(long, connect_timeout, "the kernel gives a blocking connect up") {
    TELL("connect", join(tcp(), at("hole", 80)));
}

CASE(long, connect_timeout_nonblocking, "the kernel gives a non-blocking connect up") {
    int fd = tcp_nonblocking();
    TELL("connect", join(fd, at("hole", 80)));
    say("events %s", events(fd, POLLOUT, 200000));
    say("error %s", pending(fd));
}

CASE(long, idle, "a connection that is idle for a minute still works") {
    int fd = peer("echo");
    poll(NULL, 0, 65000);
    put(fd, "still there\n");
    say("%s", line(fd));
}

CASE(long, idle_datagrams, "a UDP socket that is idle for two minutes still gets its peer's name right") {
    int fd = udp();
    struct address to = at("peer", PEER_UDP), from = {.length = sizeof from.storage};
    char text[16];
    sendto(fd, "one", 3, 0, &to.any, to.length);
    COUNT("first", recvfrom(fd, text, sizeof text, 0, &from.any, &from.length));
    poll(NULL, 0, 130000);
    sendto(fd, "two", 3, 0, &to.any, to.length);
    COUNT("second", recvfrom(fd, text, sizeof text, 0, &from.any, &from.length));
    say("from %s", shown(&from, from.length));
}
