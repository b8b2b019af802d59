/* IPv6 to an address that only the pod has, behind which the peer serves too. */
#include "conformance.h"

static struct address there(int port) { return six(param("six"), port); }

static struct address anywhere(int port) { return six("::", port); }

static void say_echo(int fd) {
    put(fd, "echo\nhello\n");
    say("%s", line(fd));
}

CASE(six, connect, "connect, and what both ends are called") {
    int fd = tcp6();
    TELL("connect", join(fd, there(PEER_TCP)));
    say_names(fd);
    say_echo(fd);
}

CASE(six, nonblocking, "connect without blocking") {
    int fd = tcp6();
    fcntl(fd, F_SETFL, O_NONBLOCK);
    TELL("connect", join(fd, there(PEER_TCP)));
    say("%s", events(fd, POLLOUT, PATIENCE));
    say("%s", pending(fd));
    say_names(fd);
}

CASE(six, refused, "a closed port") {
    int fd = tcp6();
    TELL("connect", join(fd, there(PEER_CLOSED)));
    say("%s", pending(fd));
}

CASE(six, only, "with IPV6_V6ONLY") {
    int fd = tcp6();
    set(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
    TELL("connect", join(fd, there(PEER_TCP)));
    say_echo(fd);
}

CASE(six, seen, "what the peer sees") {
    int fd = tcp6();
    char host[64] = "";
    int port = 0;
    struct address own = {.length = sizeof own.storage};
    TELL("connect", join(fd, there(PEER_TCP)));
    put(fd, "who\n");
    sscanf(line(fd), "%63s %d", host, &port);
    getsockname(fd, &own.any, &own.length);
    say("%s", host);
    say("%s", ntohs(own.v6.sin6_port) == port ? "that port" : "another port");
}

CASE(six, bound, "bound to a port first") {
    int fd = tcp6();
    set(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    TELL("bind", tie(fd, anywhere(own_port(360))));
    TELL("connect", join(fd, there(PEER_TCP)));
    say_names(fd);
    put(fd, "who\n");
    say("%s", atoi(strchr(line(fd), ' ') + 1) == own_port(360) ? "that port" : "another port");
}

CASE(six, half_closed, "an end of stream from here first") {
    int fd = tcp6();
    TELL("connect", join(fd, there(PEER_TCP)));
    put(fd, "count\n12345");
    TELL("shutdown", shutdown(fd, SHUT_WR));
    say("%s", rest(fd));
}

CASE(six, reset, "a reset by the peer") {
    int fd = tcp6();
    TELL("connect", join(fd, there(PEER_TCP)));
    put(fd, "sayreset\n");
    say("%s", line(fd));
    put(fd, "x");
    say("%s", rest(fd));
}

CASE(six, name_cut, "getpeername into too little room") {
    int fd = tcp6();
    struct address found = {.length = sizeof found.v4};
    TELL("connect", join(fd, there(PEER_TCP)));
    TELL("getpeername", getpeername(fd, &found.any, &found.length));
    say("%u of family %d", found.length, found.any.sa_family);
}

CASE(six, by_name, "the addresses of a name that has both kinds, tried in their order") {
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *all = NULL;
    char port[8];
    snprintf(port, sizeof port, "%d", PEER_TCP);
    say("%s", getaddrinfo("six-and-four.dns.test", port, &hints, &all) == 0 ? "found" : "not found");
    for (struct addrinfo *one = all; one; one = one->ai_next) {
        int fd = socket(one->ai_family, one->ai_socktype | SOCK_NONBLOCK, one->ai_protocol);
        say("%s", shown(one->ai_addr, one->ai_addrlen));
        if (one->ai_family != AF_INET6)
            continue;
        TELL("connect", connect(fd, one->ai_addr, one->ai_addrlen));
        say("%s", events(fd, POLLOUT, PATIENCE));
    }
}

CASE(six, datagram, "sendto and recvfrom") {
    int fd = udp6();
    COUNT("sendto", send_text(fd, "hello", there(PEER_UDP)));
    say_received(fd);
    COUNT("sendto", send_text(fd, "other", there(PEER_UDP)));
    say_received(fd);
}

CASE(six, datagram_connected, "datagrams of a connected socket") {
    int fd = udp6();
    TELL("connect", join(fd, there(PEER_UDP)));
    say_names(fd);
    COUNT("send", send(fd, "hello", 5, 0));
    say_received(fd);
}

CASE(six, datagram_refused, "a datagram to a closed port") {
    int fd = udp6();
    char text[8];
    TELL("connect", join(fd, there(PEER_CLOSED)));
    COUNT("send", send(fd, "x", 1, 0));
    COUNT("recv", recv(fd, text, sizeof text, 0));
}

CASE(six, datagram_large, "the largest datagram, there and back") {
    static char data[65527];
    int fd = udp6();
    set(fd, SOL_SOCKET, SO_SNDBUF, 1 << 20);
    memcpy(data, "size", 4);
    for (size_t length = 65507; length <= 65527; length += 20) {
        struct address to = there(PEER_UDP);
        COUNT("sendto", sendto(fd, data, length, 0, &to.any, to.length));
        say_received(fd);
    }
    COUNT("sendto", send_text(fd, "big 60000", there(PEER_UDP)));
    struct address from = {.length = sizeof from.storage};
    COUNT("recvfrom", recvfrom(fd, data, sizeof data, 0, &from.any, &from.length));
}

CASE(six, datagrams_of_both, "both kinds of address on one socket") {
    int fd = udp6();
    COUNT("sendto", send_text(fd, "four", mapped("peer", PEER_UDP)));
    say_received(fd);
    COUNT("sendto", send_text(fd, "six", there(PEER_UDP)));
    say_received(fd);
}

CASE(six, datagrams_batched, "sendmmsg and recvmmsg") {
    int fd = udp6(), received = 0;
    struct address to = there(PEER_UDP), from[2] = {{.length = 0}};
    char texts[2][16] = {"", ""};
    struct iovec out[2] = {{"one", 3}, {"two", 3}}, in[2] = {{texts[0], 15}, {texts[1], 15}};
    struct mmsghdr send[2] = {0}, receive[2] = {0};
    for (int i = 0; i < 2; i++) {
        send[i].msg_hdr = (struct msghdr){&to.any, to.length, &out[i], 1, NULL, 0, 0};
        receive[i].msg_hdr = (struct msghdr){&from[i].any, sizeof from[i].storage, &in[i], 1, NULL, 0, 0};
    }
    COUNT("sendmmsg", sendmmsg(fd, send, 2, 0));
    /* Both in one call, unless the second is late. */
    usleep(200000);
    while (received < 2) {
        int n = recvmmsg(fd, receive + received, 2 - received, MSG_WAITFORONE, NULL);
        if (n <= 0) {
            say("recvmmsg %s", error_name(errno));
            return;
        }
        received += n;
    }
    say("recvmmsg %d", received);
    for (int i = 0; i < 2; i++)
        say("%s from %s", texts[i], shown(&from[i].any, receive[i].msg_hdr.msg_namelen));
}
