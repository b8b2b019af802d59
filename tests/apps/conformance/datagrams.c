/* UDP: the calls, their options and their edges. */
#include "conformance.h"

#include <netinet/udp.h>

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
    COUNT("recvfrom", recvfrom(server, text, sizeof text, 0, &from.any, &from.length));
    say("%s from %s", text, shown(&from, from.length));
    COUNT("answer", sendto(server, "back", 4, 0, &from.any, from.length));
    say_received(fd);
}

CASE(udp, own_address_itself, "a socket that sends to itself by the pod's address") {
    int fd = udp();
    TELL("bind", tie(fd, at("0.0.0.0", own_port(56))));
    COUNT("sendto", send_text(fd, "hello", at("pod", own_port(56))));
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
