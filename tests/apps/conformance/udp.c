/* UDP: datagrams, whom they come from, and refusals. */
#include "conformance.h"

/* What the peer says it saw, against getsockname; ports that the kernel chose are not said. */
static void say_seen(int fd, bool connected) {
    char text[64] = "", host[64] = "", own[64];
    int port = 0;
    struct address local = {.length = sizeof local.storage};
    ssize_t got = recv(fd, text, sizeof text - 1, 0);
    getsockname(fd, &local.any, &local.length);
    if (got < 0 || sscanf(text, "%63s %d", host, &port) != 2) {
        say("recv %s", error_name(errno));
        return;
    }
    inet_ntop(AF_INET, &local.v4.sin_addr, own, sizeof own);
    say("the peer sees %s", host);
    if (connected)
        say("%s", strcmp(host, own) == 0 ? "getsockname too" : "getsockname does not");
    say("%s", ntohs(local.v4.sin_port) == port ? "that port" : "another port");
}

CASE(udp, unconnected, "sendto and recvfrom without connect") {
    int fd = udp();
    say("local %s", local_name(fd));
    COUNT("sendto", send_text(fd, "hello", at("peer", PEER_UDP)));
    say_received(fd);
    say_names(fd);
}

CASE(udp, connected, "connect, send and recv") {
    int fd = udp();
    char text[16] = "";
    TELL("connect", join(fd, at("peer", PEER_UDP)));
    say_names(fd);
    COUNT("send", send(fd, "hello", 5, 0));
    COUNT("recv", recv(fd, text, sizeof text, 0));
    say("%s", text);
}

CASE(udp, connected_from, "recvfrom on a connected socket") {
    int fd = udp();
    join(fd, at("peer", PEER_UDP));
    COUNT("send", send(fd, "hello", 5, 0));
    say_received(fd);
}

CASE(udp, read_write, "read and write on a connected socket") {
    int fd = udp();
    char text[16] = "";
    join(fd, at("peer", PEER_UDP));
    COUNT("write", write(fd, "hello", 5));
    COUNT("read", read(fd, text, sizeof text));
    say("%s", text);
}

CASE(udp, vectors, "writev and readv on a connected socket") {
    int fd = udp();
    char first[4] = "", second[4] = "";
    struct iovec out[] = {{"abc", 3}, {"def", 3}}, in[] = {{first, 3}, {second, 3}};
    join(fd, at("peer", PEER_UDP));
    COUNT("writev", writev(fd, out, 2));
    COUNT("readv", readv(fd, in, 2));
    say("%s %s", first, second);
}

CASE(udp, seen_unconnected, "address and port that the peer sees, without connect") {
    int fd = udp();
    send_text(fd, "who", at("peer", PEER_UDP));
    say_seen(fd, false);
}

CASE(udp, seen_connected, "address and port that the peer sees, with connect") {
    int fd = udp();
    join(fd, at("peer", PEER_UDP));
    COUNT("send", send(fd, "who", 3, 0));
    say_seen(fd, true);
}

CASE(udp, seen_bound, "bound to a port") {
    int fd = udp();
    TELL("bind", tie(fd, at("0.0.0.0", own_port(50))));
    send_text(fd, "who", at("peer", PEER_UDP));
    say_seen(fd, false);
    say("local %s", local_name(fd));
}

CASE(udp, seen_bound_connected, "bound to a port and connected") {
    int fd = udp();
    TELL("bind", tie(fd, at("0.0.0.0", own_port(51))));
    TELL("connect", join(fd, at("peer", PEER_UDP)));
    say_names(fd);
    COUNT("send", send(fd, "who", 3, 0));
    say_seen(fd, true);
}

CASE(udp, bound_pod, "bound to the pod's own address") {
    int fd = udp();
    TELL("bind", tie(fd, at("pod", own_port(52))));
    say("local %s", local_name(fd));
    send_text(fd, "who", at("peer", PEER_UDP));
    say_seen(fd, true);
}

CASE(udp, bound_loopback, "bound to loopback, then a remote address") {
    int fd = udp();
    TELL("bind", tie(fd, at("127.0.0.1", 0)));
    COUNT("sendto", send_text(fd, "who", at("peer", PEER_UDP)));
    TELL("connect", join(fd, at("peer", PEER_UDP)));
}

CASE(udp, several_peers, "several peers on one socket") {
    int fd = udp();
    send_text(fd, "one", at("peer", PEER_UDP));
    say_received(fd);
    send_text(fd, "two", at("echo", 7001));
    say_received(fd);
    send_text(fd, "three", at("peer", PEER_UDP));
    say_received(fd);
}

CASE(udp, service, "a Service answers under its own address") {
    int fd = udp();
    send_text(fd, "hello", at("echo", 7001));
    say_received(fd);
}

CASE(udp, service_connected, "a Service on a connected socket") {
    int fd = udp();
    TELL("connect", join(fd, at("echo", 7001)));
    COUNT("send", send(fd, "hello", 5, 0));
    say_received(fd);
    say_names(fd);
}

CASE(udp, other_port, "a reply from another port") {
    int fd = udp();
    send_text(fd, "other", at("peer", PEER_UDP));
    say_received(fd);
}

CASE(udp, other_port_answered, "a reply from another port, and an answer to it") {
    int fd = udp();
    struct address from = {.length = sizeof from.storage};
    char text[32];
    send_text(fd, "other", at("peer", PEER_UDP));
    COUNT("recvfrom", recvfrom(fd, text, sizeof text, 0, &from.any, &from.length));
    COUNT("sendto", sendto(fd, "x", 1, 0, &from.any, from.length));
    send_text(fd, "still", at("peer", PEER_UDP));
    say_received(fd);
}

CASE(udp, other_port_connected, "a connected socket gets nothing from another port") {
    int fd = udp();
    join(fd, at("peer", PEER_UDP));
    set_timeout(fd, SO_RCVTIMEO, MOMENT);
    COUNT("send", send(fd, "other", 5, 0));
    say_received(fd);
    set_timeout(fd, SO_RCVTIMEO, PATIENCE);
    COUNT("send", send(fd, "still", 5, 0));
    say_received(fd);
}

CASE(udp, refused_connected, "a refusal on a connected socket, told by recv") {
    int fd = udp();
    join(fd, at("peer", PEER_CLOSED));
    COUNT("send", send(fd, "x", 1, 0));
    say_received(fd);
    set_timeout(fd, SO_RCVTIMEO, MOMENT);
    say_received(fd);
}

CASE(udp, refused_send, "a refusal on a connected socket, told by the next send") {
    int fd = udp();
    join(fd, at("peer", PEER_CLOSED));
    COUNT("send", send(fd, "x", 1, 0));
    events(fd, 0, PATIENCE);
    COUNT("again", send(fd, "x", 1, 0));
    events(fd, 0, PATIENCE);
    COUNT("write", write(fd, "x", 1));
}

CASE(udp, refused_poll, "a refusal told by poll and SO_ERROR") {
    int fd = udp();
    join(fd, at("peer", PEER_CLOSED));
    COUNT("send", send(fd, "x", 1, 0));
    say("events %s", events(fd, POLLIN, PATIENCE));
    say("error %s", pending(fd));
    say("then %s", pending(fd));
    say("events %s", events(fd, POLLIN, 0));
}

CASE(udp, refused_blocked, "a refusal wakes a recv that waits") {
    int fd = udp();
    join(fd, at("peer", PEER_CLOSED));
    pid_t child = fork();
    if (child == 0) {
        say_received(fd);
        _exit(0);
    }
    poll(NULL, 0, MOMENT);
    if (send(fd, "x", 1, 0) != 1)
        say("send %s", error_name(errno));
    say_child(child);
}

CASE(udp, refused_unconnected, "an unconnected socket hears nothing of a refusal") {
    int fd = udp();
    set_timeout(fd, SO_RCVTIMEO, MOMENT);
    COUNT("sendto", send_text(fd, "x", at("peer", PEER_CLOSED)));
    say_received(fd);
    COUNT("sendto", send_text(fd, "x", at("peer", PEER_CLOSED)));
    say("error %s", pending(fd));
    set_timeout(fd, SO_RCVTIMEO, PATIENCE);
    send_text(fd, "still", at("peer", PEER_UDP));
    say_received(fd);
}

CASE(udp, error_queue, "a refusal in the error queue of an unconnected socket (IP_RECVERR)") {
    int fd = udp();
    char control[512], byte;
    struct address to = {.length = sizeof to.storage};
    struct iovec part = {&byte, 1};
    struct msghdr message = {.msg_name = &to.any, .msg_namelen = to.length, .msg_iov = &part, .msg_iovlen = 1,
                             .msg_control = control, .msg_controllen = sizeof control};
    TELL("option", set(fd, IPPROTO_IP, IP_RECVERR, 1));
    COUNT("sendto", send_text(fd, "x", at("peer", PEER_CLOSED)));
    say("events %s", events(fd, POLLIN, 4 * MOMENT));
    COUNT("recvmsg", recvmsg(fd, &message, MSG_ERRQUEUE | MSG_DONTWAIT));
    say("of %s", shown(&to, message.msg_namelen));
}

CASE(udp, unroutable, "an address that no route leads to") {
    int fd = udp();
    COUNT("sendto", send_text(fd, "x", at("240.0.0.1", 80)));
    TELL("connect", join(fd, at("240.0.0.1", 80)));
}

CASE(udp, hole, "an address that nobody has") {
    int fd = udp();
    set_timeout(fd, SO_RCVTIMEO, MOMENT);
    TELL("connect", join(fd, at("hole", 80)));
    COUNT("send", send(fd, "x", 1, 0));
    say_received(fd);
}

CASE(udp, empty, "a datagram of no bytes, both ways") {
    int fd = udp();
    send_text(fd, "zero", at("peer", PEER_UDP));
    say_received(fd);
    COUNT("sendto", send_text(fd, "", at("peer", PEER_UDP)));
    say_received(fd);
}

CASE(udp, empty_connected, "a datagram of no bytes on a connected socket") {
    int fd = udp();
    char byte;
    join(fd, at("peer", PEER_UDP));
    COUNT("send", send(fd, "", 0, 0));
    say("events %s", events(fd, POLLIN, PATIENCE));
    COUNT("recv", recv(fd, &byte, 1, 0));
    COUNT("recv", recv(fd, &byte, 1, MSG_DONTWAIT));
}

static void send_size(size_t length) {
    static char data[70000];
    int fd = udp();
    struct address to = at("peer", PEER_UDP);
    for (size_t i = 0; i < length; i++)
        data[i] = pattern(i);
    memcpy(data, "size", 4);
    COUNT("sendto", sendto(fd, data, length, 0, &to.any, to.length));
    say_received(fd);
}

CASE(udp, size_1472, "1472 bytes: one packet") { send_size(1472); }
CASE(udp, size_9000, "9000 bytes: several packets") { send_size(9000); }
CASE(udp, size_largest, "65507 bytes: the largest") { send_size(65507); }

CASE(udp, size_too_large, "65508 bytes are too many") {
    static char data[65508];
    int fd = udp();
    struct address to = at("peer", PEER_UDP);
    COUNT("sendto", sendto(fd, data, sizeof data, 0, &to.any, to.length));
    TELL("connect", join(fd, to));
    COUNT("send", send(fd, data, sizeof data, 0));
}

CASE(udp, size_received, "65507 bytes from the peer") {
    static unsigned char data[70000];
    int fd = udp();
    send_text(fd, "big 65507", at("peer", PEER_UDP));
    ssize_t got = recv(fd, data, sizeof data, 0);
    size_t wrong = 0;
    for (ssize_t i = 0; i < got; i++)
        wrong += data[i] != pattern(i);
    say("%zd bytes, %zu wrong", got, wrong);
}

CASE(udp, dont_fragment, "IP_PMTUDISC_DO forbids more than one packet") {
    static char data[9000];
    int fd = udp();
    struct address to = at("peer", PEER_UDP);
    TELL("option", set(fd, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO));
    COUNT("sendto", sendto(fd, data, sizeof data, 0, &to.any, to.length));
    TELL("connect", join(fd, to));
    say("mtu %s", get(fd, IPPROTO_IP, IP_MTU));
}

CASE(udp, reconnect, "connected to one peer after another") {
    int fd = udp();
    TELL("connect", join(fd, at("peer", PEER_UDP)));
    COUNT("send", send(fd, "one", 3, 0));
    say_received(fd);
    TELL("connect", join(fd, at("echo", 7001)));
    say_names(fd);
    COUNT("send", send(fd, "two", 3, 0));
    say_received(fd);
}

CASE(udp, disconnect, "AF_UNSPEC takes the connection away") {
    int fd = udp();
    struct address none = {.any = {.sa_family = AF_UNSPEC}, .length = sizeof(struct sockaddr_in)};
    TELL("connect", join(fd, at("peer", PEER_UDP)));
    COUNT("send", send(fd, "one", 3, 0));
    say_received(fd);
    TELL("unspecified", join(fd, none));
    say_names(fd);
    COUNT("send", send(fd, "x", 1, 0));
    COUNT("sendto", send_text(fd, "two", at("peer", PEER_UDP)));
    say_received(fd);
}

CASE(udp, connect_after_use, "an unconnected socket that is connected later") {
    int fd = udp();
    send_text(fd, "one", at("echo", 7001));
    say_received(fd);
    TELL("connect", join(fd, at("peer", PEER_UDP)));
    say_names(fd);
    COUNT("send", send(fd, "who", 3, 0));
    say_seen(fd, true);
}

CASE(udp, elsewhere, "sendto another address on a connected socket") {
    int fd = udp();
    set_timeout(fd, SO_RCVTIMEO, MOMENT);
    join(fd, at("peer", PEER_UDP));
    COUNT("sendto", send_text(fd, "x", at("echo", 7001)));
    say_received(fd);
    set_timeout(fd, SO_RCVTIMEO, PATIENCE);
    COUNT("sendto", send_text(fd, "same", at("peer", PEER_UDP)));
    say_received(fd);
}

CASE(udp, mapped, "v4-mapped addresses on an IPv6 socket") {
    int fd = udp6();
    COUNT("sendto", send_text(fd, "hello", mapped("peer", PEER_UDP)));
    say_received(fd);
    say_names(fd);
}

CASE(udp, mapped_connected, "an IPv6 socket connected to a v4-mapped address") {
    int fd = udp6();
    TELL("connect", join(fd, mapped("peer", PEER_UDP)));
    say_names(fd);
    COUNT("send", send(fd, "hello", 5, 0));
    say_received(fd);
}

CASE(udp, four_on_six, "an IPv4 address on an IPv6 socket") {
    int fd = udp6();
    COUNT("sendto", send_text(fd, "hello", at("peer", PEER_UDP)));
    TELL("connect", join(fd, at("peer", PEER_UDP)));
}

CASE(udp, mapped_v6only, "a v4-mapped address on a socket with IPV6_V6ONLY") {
    int fd = udp6();
    set(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
    COUNT("sendto", send_text(fd, "hello", mapped("peer", PEER_UDP)));
    TELL("connect", join(fd, mapped("peer", PEER_UDP)));
}

CASE(udp, six, "an IPv6 address without a route") {
    int fd = udp6();
    COUNT("sendto", send_text(fd, "hello", six("2001:db8::80", 53)));
    TELL("connect", join(fd, six("2001:db8::80", 53)));
    say_names(fd);
}

CASE(udp, six_on_four, "an IPv6 address on an IPv4 socket") {
    int fd = udp();
    COUNT("sendto", send_text(fd, "hello", mapped("peer", PEER_UDP)));
    TELL("connect", join(fd, mapped("peer", PEER_UDP)));
}
