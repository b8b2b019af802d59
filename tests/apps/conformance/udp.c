/* UDP: datagrams, whom they come from, and refusals. */
#include "conformance.h"

#include <linux/errqueue.h>
#include <netinet/udp.h>

static long send_text(int fd, const char *text, struct address to) {
    return sendto(fd, text, strlen(text), 0, &to.any, to.length);
}

/* Receives one datagram and says it with its sender. */
static void say_received(int fd) {
    static char text[70000];
    struct address from = {.length = sizeof from.storage};
    ssize_t got = recvfrom(fd, text, sizeof text - 1, 0, &from.any, &from.length);
    if (got < 0) {
        say("recvfrom %s", error_name(errno));
        return;
    }
    text[got] = '\0';
    say("'%.60s' from %s", text, shown(&from, from.length));
}

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

CASE(udp, peek, "MSG_PEEK names the sender too") {
    int fd = udp();
    char text[16] = "";
    struct address from = {.length = sizeof from.storage};
    send_text(fd, "hello", at("peer", PEER_UDP));
    COUNT("peek", recvfrom(fd, text, sizeof text, MSG_PEEK, &from.any, &from.length));
    say("%s from %s", text, shown(&from, from.length));
    say_received(fd);
}

CASE(udp, truncated, "a datagram that is longer than the buffer") {
    int fd = udp();
    char text[8] = "";
    struct iovec part = {text, 3};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    send_text(fd, "abcdef", at("peer", PEER_UDP));
    COUNT("recvmsg", recvmsg(fd, &message, 0));
    say("%s, truncated %d", text, (message.msg_flags & MSG_TRUNC) != 0);
    send_text(fd, "abcdef", at("peer", PEER_UDP));
    COUNT("recv", recv(fd, text, 3, MSG_TRUNC));
}

CASE(udp, name_cut, "room for half of the sender's address") {
    int fd = udp();
    char text[16];
    struct address from;
    memset(&from, 0xee, sizeof from);
    from.length = 6;
    send_text(fd, "hello", at("peer", PEER_UDP));
    COUNT("recvfrom", recvfrom(fd, text, sizeof text, 0, &from.any, &from.length));
    unsigned char *bytes = (unsigned char *)&from.v4;
    say("length %u, family %d, address %02x%02x..., next %02x", from.length, from.any.sa_family, bytes[4] != 0xee,
        bytes[5] != 0xee, bytes[6]);
}

CASE(udp, no_name, "recvfrom and recvmsg that do not ask for the sender") {
    int fd = udp();
    char text[16] = "";
    struct iovec part = {text, sizeof text};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    send_text(fd, "hello", at("peer", PEER_UDP));
    COUNT("recvfrom", recvfrom(fd, text, sizeof text, 0, NULL, NULL));
    send_text(fd, "hello", at("peer", PEER_UDP));
    COUNT("recvmsg", recvmsg(fd, &message, 0));
    say("%u bytes of a name", message.msg_namelen);
}

CASE(udp, bad_name, "recvfrom with bad places for the sender") {
    int fd = udp();
    char text[16];
    socklen_t length = 16;
    send_text(fd, "hello", at("peer", PEER_UDP));
    events(fd, POLLIN, PATIENCE);
    COUNT("address", recvfrom(fd, text, sizeof text, MSG_DONTWAIT, (void *)1, &length));
    struct address from = {.length = -1};
    send_text(fd, "hello", at("peer", PEER_UDP));
    events(fd, POLLIN, PATIENCE);
    COUNT("length", recvfrom(fd, text, sizeof text, MSG_DONTWAIT, &from.any, &from.length));
}

CASE(udp, messages, "sendmsg and recvmsg") {
    int fd = udp();
    char first[4] = "", second[8] = "";
    struct address to = at("peer", PEER_UDP), from = {.length = 0};
    struct iovec out[] = {{"abc", 3}, {"def", 3}}, in[] = {{first, 3}, {second, 7}};
    struct msghdr message = {.msg_name = &to.any, .msg_namelen = to.length, .msg_iov = out, .msg_iovlen = 2};
    COUNT("sendmsg", sendmsg(fd, &message, 0));
    message = (struct msghdr){.msg_name = &from.any, .msg_namelen = sizeof from.storage, .msg_iov = in, .msg_iovlen = 2};
    COUNT("recvmsg", recvmsg(fd, &message, 0));
    say("%s %s from %s, flags %d", first, second, shown(&from, message.msg_namelen), message.msg_flags);
}

CASE(udp, many_messages, "sendmmsg to two peers and recvmmsg") {
    int fd = udp(), received = 0;
    struct address to[] = {at("peer", PEER_UDP), at("echo", 7001), at("peer", PEER_UDP)}, from[3];
    char *texts[] = {"one", "two", "three"}, got[3][16] = {""};
    struct iovec out[3], in[3];
    struct mmsghdr messages[3] = {0};
    for (int i = 0; i < 3; i++) {
        out[i] = (struct iovec){texts[i], strlen(texts[i])};
        messages[i].msg_hdr = (struct msghdr){
            .msg_name = &to[i].any, .msg_namelen = to[i].length, .msg_iov = &out[i], .msg_iovlen = 1};
    }
    COUNT("sendmmsg", sendmmsg(fd, messages, 3, 0));
    say("lengths %u %u %u", messages[0].msg_len, messages[1].msg_len, messages[2].msg_len);
    while (received < 3) {
        for (int i = received; i < 3; i++) {
            in[i] = (struct iovec){got[i], 15};
            messages[i].msg_hdr = (struct msghdr){
                .msg_name = &from[i].any, .msg_namelen = sizeof from[i].storage, .msg_iov = &in[i], .msg_iovlen = 1};
        }
        int n = recvmmsg(fd, messages + received, 3 - received, MSG_WAITFORONE, NULL);
        if (n <= 0) {
            say("recvmmsg %s", error_name(errno));
            return;
        }
        received += n;
    }
    for (int text = 0; text < 3; text++)
        for (int i = 0; i < 3; i++)
            if (strcmp(got[i], texts[text]) == 0)
                say("'%s' from %s", got[i], shown(&from[i], messages[i].msg_hdr.msg_namelen));
}

CASE(udp, many_messages_cut, "sendmmsg stops at the first that fails") {
    static char large[65508];
    int fd = udp();
    struct address to = at("peer", PEER_UDP);
    struct iovec out[] = {{"one", 3}, {large, sizeof large}, {"three", 5}};
    struct mmsghdr messages[3] = {0};
    for (int i = 0; i < 3; i++)
        messages[i].msg_hdr =
            (struct msghdr){.msg_name = &to.any, .msg_namelen = to.length, .msg_iov = &out[i], .msg_iovlen = 1};
    COUNT("sendmmsg", sendmmsg(fd, messages, 3, 0));
    COUNT("the second", sendmmsg(fd, messages + 1, 2, 0));
    say_received(fd);
}

CASE(udp, many_received_timeout, "recvmmsg with a time limit") {
    int fd = udp();
    char text[16];
    struct iovec in = {text, 15};
    struct mmsghdr message = {.msg_hdr = {.msg_iov = &in, .msg_iovlen = 1}};
    struct timespec limit = {.tv_nsec = 1000};
    set_timeout(fd, SO_RCVTIMEO, MOMENT);
    COUNT("recvmmsg", recvmmsg(fd, &message, 1, 0, &limit));
}

static struct cmsghdr *received_control(int fd, int level, int type, char *control, size_t room) {
    char text[16];
    struct iovec part = {text, sizeof text};
    static struct msghdr message;
    message = (struct msghdr){.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = room};
    COUNT("recvmsg", recvmsg(fd, &message, 0));
    for (struct cmsghdr *one = CMSG_FIRSTHDR(&message); one; one = CMSG_NXTHDR(&message, one))
        if (one->cmsg_level == level && one->cmsg_type == type)
            return one;
    return NULL;
}

CASE(udp, packet_info, "IP_PKTINFO names the address that the datagram came to") {
    int fd = udp();
    char control[256], address[64] = "none";
    TELL("option", set(fd, IPPROTO_IP, IP_PKTINFO, 1));
    send_text(fd, "hello", at("peer", PEER_UDP));
    struct cmsghdr *found = received_control(fd, IPPROTO_IP, IP_PKTINFO, control, sizeof control);
    if (found)
        inet_ntop(AF_INET, &((struct in_pktinfo *)CMSG_DATA(found))->ipi_addr, address, sizeof address);
    say("%s", address);
}

CASE(udp, timestamp, "SO_TIMESTAMP") {
    int fd = udp();
    char control[256];
    TELL("option", set(fd, SOL_SOCKET, SO_TIMESTAMP, 1));
    send_text(fd, "hello", at("peer", PEER_UDP));
    say("%s", received_control(fd, SOL_SOCKET, SO_TIMESTAMP, control, sizeof control) ? "there" : "missing");
}

CASE(udp, segments, "UDP_SEGMENT sends several datagrams at once") {
    static char data[3000];
    int fd = udp(), wrong = 0;
    struct address to = at("peer", PEER_UDP);
    memset(data, 'x', sizeof data);
    TELL("option", set(fd, IPPROTO_UDP, UDP_SEGMENT, 1200));
    COUNT("sendto", sendto(fd, data, sizeof data, 0, &to.any, to.length));
    for (int i = 0; i < 3; i++) {
        char text[3000];
        ssize_t got = recv(fd, text, sizeof text, 0);
        wrong += got != (i < 2 ? 1200 : 600);
    }
    say("%d of 3 have another length", wrong);
}

CASE(udp, segments_message, "UDP_SEGMENT as a control message") {
    static char data[2400];
    int fd = udp();
    struct address to = at("peer", PEER_UDP);
    union {
        char room[CMSG_SPACE(sizeof(uint16_t))];
        struct cmsghdr header;
    } control = {.header = {.cmsg_len = CMSG_LEN(2), .cmsg_level = IPPROTO_UDP, .cmsg_type = UDP_SEGMENT}};
    struct iovec part = {data, sizeof data};
    struct msghdr message = {.msg_name = &to.any, .msg_namelen = to.length, .msg_iov = &part, .msg_iovlen = 1,
                             .msg_control = &control, .msg_controllen = sizeof control};
    memset(data, 'x', sizeof data);
    *(uint16_t *)CMSG_DATA(&control.header) = 1200;
    COUNT("sendmsg", sendmsg(fd, &message, 0));
    COUNT("recv", recv(fd, data, sizeof data, 0));
    COUNT("recv", recv(fd, data, sizeof data, 0));
}

CASE(udp, broadcast, "a broadcast without SO_BROADCAST") {
    int fd = udp();
    COUNT("sendto", send_text(fd, "x", at("255.255.255.255", 9)));
    TELL("connect", join(fd, at("255.255.255.255", 9)));
}

CASE(udp, errors, "sends with bad arguments") {
    int fd = udp();
    struct address to = at("peer", PEER_UDP);
    COUNT("no address", send(fd, "x", 1, 0));
    COUNT("short address", sendto(fd, "x", 1, 0, &to.any, 8));
    COUNT("bad address", sendto(fd, "x", 1, 0, (void *)1, 16));
    COUNT("port 0", send_text(fd, "x", at("peer", 0)));
    COUNT("bad data", sendto(fd, (void *)1, 10, 0, &to.any, to.length));
    COUNT("urgent", sendto(fd, "x", 1, MSG_OOB, &to.any, to.length));
    COUNT("no descriptor", sendto(-1, "x", 1, 0, &to.any, to.length));
    COUNT("no socket", sendto(open("/dev/null", O_RDWR), "x", 1, 0, &to.any, to.length));
    to.any.sa_family = AF_UNIX;
    COUNT("wrong family", sendto(fd, "x", 1, 0, &to.any, to.length));
}

CASE(udp, unspecified_family, "sendto with AF_UNSPEC means IPv4") {
    int fd = udp();
    struct address to = at("peer", PEER_UDP);
    to.any.sa_family = AF_UNSPEC;
    COUNT("sendto", send_text(fd, "hello", to));
    say_received(fd);
}

CASE(udp, timeout, "SO_RCVTIMEO, MSG_DONTWAIT and O_NONBLOCK with nothing there") {
    int fd = udp();
    char byte;
    set_timeout(fd, SO_RCVTIMEO, MOMENT);
    join(fd, at("peer", PEER_UDP));
    COUNT("timeout", recv(fd, &byte, 1, 0));
    COUNT("dontwait", recv(fd, &byte, 1, MSG_DONTWAIT));
    fcntl(fd, F_SETFL, O_NONBLOCK);
    COUNT("nonblocking", recv(fd, &byte, 1, 0));
    say("events %s", events(fd, POLLIN | POLLOUT, 0));
}

CASE(udp, queued, "FIONREAD is the next datagram's length") {
    int fd = udp(), length = -1;
    send_text(fd, "hello", at("peer", PEER_UDP));
    say("events %s", events(fd, POLLIN, PATIENCE));
    TELL("FIONREAD", ioctl(fd, FIONREAD, &length));
    say("%d", length);
}

CASE(udp, burst, "fifty datagrams come back") {
    int fd = udp(), seen = 0;
    static bool have[50];
    join(fd, at("peer", PEER_UDP));
    for (int i = 0; i < 50; i++) {
        char text[8];
        if (send(fd, text, snprintf(text, sizeof text, "%d", i), 0) < 0)
            say("send %s", error_name(errno));
    }
    for (int i = 0; i < 50; i++) {
        char text[8] = "";
        if (recv(fd, text, 7, 0) < 0)
            break;
        seen += !have[atoi(text)];
        have[atoi(text)] = true;
    }
    say("%d", seen);
}

CASE(udp, shared, "a duplicate and a child use the same socket") {
    int fd = udp(), copy = dup(fd);
    join(fd, at("peer", PEER_UDP));
    close(fd);
    say_names(copy);
    pid_t child = fork();
    if (child == 0) {
        COUNT("send", send(copy, "hello", 5, 0));
        _exit(0);
    }
    say_child(child);
    say_received(copy);
}

CASE(udp, shutdown, "shutdown on a connected and on an unconnected socket") {
    int fd = udp();
    char byte;
    TELL("unconnected", shutdown(fd, SHUT_RDWR));
    TELL("connect", join(fd, at("peer", PEER_UDP)));
    TELL("connected", shutdown(fd, SHUT_RDWR));
    COUNT("recv", recv(fd, &byte, 1, 0));
    COUNT("send", send(fd, "x", 1, MSG_NOSIGNAL));
}

CASE(udp, syscall, "sendto and recvfrom by syscall()") {
    int fd = udp();
    char text[16] = "";
    struct address to = at("peer", PEER_UDP), from = {.length = sizeof from.storage};
    COUNT("sendto", syscall(SYS_sendto, fd, "hello", 5, 0, &to, to.length));
    COUNT("recvfrom", syscall(SYS_recvfrom, fd, text, sizeof text, 0, &from, &from.length));
    say("%s from %s", text, shown(&from, from.length));
}

CASE(udp, loopback, "loopback stays the program's own") {
    int server = udp(), fd = udp();
    struct address to = {.length = sizeof to.storage};
    tie(server, at("127.0.0.1", 0));
    getsockname(server, &to.any, &to.length);
    COUNT("sendto", send_text(fd, "hello", to));
    say_received(server);
}

CASE(udp, own_address, "the pod's own address, on whose port the program listens") {
    int server = udp(), fd = udp();
    TELL("bind", tie(server, at("0.0.0.0", own_port(53))));
    COUNT("sendto", send_text(fd, "hello", at("pod", own_port(53))));
    set_timeout(server, SO_RCVTIMEO, 2 * MOMENT);
    say_received(server);
}

CASE(udp, own_address_answer, "the pod's own address: both ends are the program's") {
    int server = udp(), fd = udp();
    char text[16] = "";
    struct address from = {.length = sizeof from.storage};
    TELL("bind", tie(server, at("pod", own_port(55))));
    TELL("connect", join(fd, at("pod", own_port(55))));
    say_names(fd);
    COUNT("send", send(fd, "hello", 5, 0));
    set_timeout(server, SO_RCVTIMEO, 2 * MOMENT), set_timeout(fd, SO_RCVTIMEO, 2 * MOMENT);
    COUNT("recvfrom", recvfrom(server, text, sizeof text, 0, &from.any, &from.length));
    say("%s from %s", text, shown(&from, from.length));
    COUNT("answer", sendto(server, "back", 4, 0, &from.any, from.length));
    say_received(fd);
}

CASE(udp, own_address_itself, "a socket that sends to itself by the pod's address") {
    int fd = udp();
    TELL("bind", tie(fd, at("0.0.0.0", own_port(56))));
    COUNT("sendto", send_text(fd, "hello", at("pod", own_port(56))));
    set_timeout(fd, SO_RCVTIMEO, 2 * MOMENT);
    say_received(fd);
}

CASE(udp, own_address_refused, "the pod's own address, where nobody is") {
    int fd = udp();
    char byte;
    TELL("connect", join(fd, at("pod", own_port(57))));
    COUNT("send", send(fd, "x", 1, 0));
    set_timeout(fd, SO_RCVTIMEO, PATIENCE);
    COUNT("recv", recv(fd, &byte, 1, 0));
}

CASE(udp, connected_bound_later, "bind on a socket that has sent") {
    int fd = udp();
    send_text(fd, "hello", at("peer", PEER_UDP));
    say_received(fd);
    TELL("bind", tie(fd, at("0.0.0.0", own_port(54))));
}

CASE(udp, option, "options stay") {
    int fd = udp();
    set(fd, SOL_SOCKET, SO_RCVBUF, 30000);
    set(fd, IPPROTO_IP, IP_TOS, 0x10);
    join(fd, at("peer", PEER_UDP));
    say("buffer %s", get(fd, SOL_SOCKET, SO_RCVBUF));
    say("tos %s", get(fd, IPPROTO_IP, IP_TOS));
    say("type %s", get(fd, SOL_SOCKET, SO_TYPE));
}

CASE(udp, ping, "an ICMP echo by a datagram socket") {
    int fd = socket(AF_INET, SOCK_DGRAM, IPPROTO_ICMP);
    TELL("socket", fd < 0 ? -1 : 0);
    unsigned char request[8] = {8};
    struct address to = at("peer", 0);
    set_timeout(fd, SO_RCVTIMEO, MOMENT);
    COUNT("sendto", sendto(fd, request, sizeof request, 0, &to.any, to.length));
    COUNT("recv", recv(fd, request, sizeof request, 0));
}
