/* TCP: binding before connecting, fast open, socket options, names, and the calls' other forms. */
#include "conformance.h"

/* The port as the peer sees it, against what getsockname says. */
static void say_seen(int fd) {
    char host[64], seen[64];
    int port;
    struct address own = {.length = sizeof own.storage};
    getsockname(fd, &own.any, &own.length);
    put(fd, "who\n");
    if (sscanf(line(fd), "%63s %d", host, &port) != 2) {
        say("the peer says nothing");
        return;
    }
    inet_ntop(AF_INET, &own.v4.sin_addr, seen, sizeof seen);
    say("the peer sees %s", strcmp(host, seen) == 0 ? "that address" : host);
    say("%s", ntohs(own.v4.sin_port) == port ? "that port" : "another port");
}

static void bind_and_connect(struct address own) {
    int fd = tcp();
    set(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    TELL("bind", tie(fd, own));
    say("local %s", local_name(fd));
    TELL("connect", join(fd, at("peer", PEER_TCP)));
    say_names(fd);
    say_seen(fd);
}

CASE(bind, any_port, "bound to port 0") {
    int fd = tcp();
    struct address before = {.length = sizeof before.storage}, after = before;
    TELL("bind", tie(fd, at("0.0.0.0", 0)));
    say("local %s", local_name(fd));
    getsockname(fd, &before.any, &before.length);
    TELL("connect", join(fd, at("peer", PEER_TCP)));
    getsockname(fd, &after.any, &after.length);
    say("%s", before.v4.sin_port == after.v4.sin_port ? "the same port" : "another port");
    say_names(fd);
    say_seen(fd);
}

CASE(bind, unbound, "not bound: the address and port that the peer sees") {
    int fd = tcp();
    TELL("connect", join(fd, at("peer", PEER_TCP)));
    say_seen(fd);
}

CASE(bind, fixed_port, "bound to a port") { bind_and_connect(at("0.0.0.0", own_port(10))); }

CASE(bind, pod_address, "bound to the pod's own address") { bind_and_connect(at("pod", 0)); }

CASE(bind, pod_address_and_port, "bound to the pod's own address and a port") {
    bind_and_connect(at("pod", own_port(11)));
}

CASE(bind, pod_address_listen, "a listener on the pod's own address") {
    int fd = tcp();
    TELL("bind", tie(fd, at("pod", own_port(12))));
    TELL("listen", listen(fd, 1));
    say("local %s", local_name(fd));
}

CASE(bind, pod_address_reached, "a listener on the pod's own address, and a client of the same program") {
    int listener = tcp(), fd = tcp();
    struct address from = {.length = sizeof from.storage};
    TELL("bind", tie(listener, at("pod", own_port(18))));
    TELL("listen", listen(listener, 1));
    set_timeout(fd, SO_SNDTIMEO, PATIENCE);
    TELL("connect", join(fd, at("pod", own_port(18))));
    say_names(fd);
    int other = accept4(listener, &from.any, &from.length, SOCK_CLOEXEC);
    say("accepted from %s", shown(&from, from.length));
    say_names(other);
    put(other, "hello\n");
    say("%s", line(fd));
}

CASE(bind, pod_address_beside, "the same port of all of the pod's addresses, one by one") {
    TELL("loopback", tie(tcp(), at("127.0.0.1", own_port(19))));
    TELL("pod", tie(tcp(), at("pod", own_port(19))));
    TELL("pod again", tie(tcp(), at("pod", own_port(19))));
    TELL("all", tie(tcp(), at("0.0.0.0", own_port(19))));
}

CASE(bind, after_refusal, "a refused socket is bound, and connects") {
    int fd = tcp();
    TELL("connect", join(fd, at("peer", PEER_CLOSED)));
    TELL("bind", tie(fd, at("0.0.0.0", own_port(20))));
    TELL("connect", join(fd, at("peer", PEER_TCP)));
    say_names(fd);
    say_seen(fd);
}

CASE(bind, six_any, "an IPv6 socket bound to a port, connected to a v4-mapped address") {
    int fd = tcp6();
    set(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    TELL("bind", tie(fd, six("::", own_port(13))));
    say("local %s", local_name(fd));
    TELL("connect", join(fd, mapped("echo", 80)));
    say_names(fd);
}

CASE(bind, loopback, "bound to loopback, then a remote address") {
    int fd = tcp();
    TELL("bind", tie(fd, at("127.0.0.1", 0)));
    TELL("connect", join(fd, at("echo", 80)));
    say("peer %s", peer_name(fd));
}

CASE(bind, nobodys_address, "bound to an address that nobody has") {
    TELL("bind", tie(tcp(), at("192.0.2.1", 0)));
}

CASE(bind, low_port, "bound to port 81 as an ordinary user") {
    int fd = tcp();
    TELL("bind", tie(fd, at("0.0.0.0", 81)));
}

CASE(bind, twice, "bound twice, and a port that is in use") {
    int fd = tcp(), other = tcp();
    TELL("bind", tie(fd, at("0.0.0.0", own_port(14))));
    TELL("again", tie(fd, at("0.0.0.0", own_port(15))));
    TELL("in use", tie(other, at("0.0.0.0", own_port(14))));
}

CASE(bind, no_port_yet, "IP_BIND_ADDRESS_NO_PORT") {
    int fd = tcp();
    TELL("option", set(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1));
    TELL("bind", tie(fd, at("0.0.0.0", 0)));
    say("local %s", local_name(fd));
    TELL("connect", join(fd, at("peer", PEER_TCP)));
    say_names(fd);
}

CASE(bind, after_connect, "bind on a connected socket") {
    int fd = tcp();
    TELL("connect", join(fd, at("echo", 80)));
    TELL("bind", tie(fd, at("0.0.0.0", own_port(16))));
    TELL("listen", listen(fd, 1));
}

CASE(bind, two_from_one_port, "two connections from one port to different peers") {
    int first = tcp(), second = tcp();
    set(first, SOL_SOCKET, SO_REUSEADDR, 1), set(second, SOL_SOCKET, SO_REUSEADDR, 1);
    TELL("bind", tie(first, at("0.0.0.0", own_port(17))));
    TELL("bind", tie(second, at("0.0.0.0", own_port(17))));
    TELL("connect", join(first, at("peer", PEER_TCP)));
    TELL("connect", join(second, at("echo", 80)));
    say_names(first);
    say_names(second);
}

CASE(fastopen, sendto, "MSG_FASTOPEN with sendto") {
    int fd = tcp();
    struct address to = at("peer", PEER_TCP);
    COUNT("sendto", sendto(fd, "count\nabc", 9, MSG_FASTOPEN, &to.any, to.length));
    say_names(fd);
    shutdown(fd, SHUT_WR);
    say("%s", rest(fd));
}

CASE(fastopen, sendmsg, "MSG_FASTOPEN with sendmsg") {
    int fd = tcp();
    struct address to = at("peer", PEER_TCP);
    struct iovec parts[] = {{"count\n", 6}, {"abc", 3}};
    struct msghdr message = {.msg_name = &to.any, .msg_namelen = to.length, .msg_iov = parts, .msg_iovlen = 2};
    COUNT("sendmsg", sendmsg(fd, &message, MSG_FASTOPEN));
    say_names(fd);
    shutdown(fd, SHUT_WR);
    say("%s", rest(fd));
}

CASE(fastopen, nonblocking, "MSG_FASTOPEN without blocking") {
    int fd = tcp_nonblocking();
    struct address to = at("peer", PEER_TCP);
    COUNT("sendto", sendto(fd, "who\n", 4, MSG_FASTOPEN, &to.any, to.length));
    say("events %s", events(fd, POLLOUT, PATIENCE));
    say("error %s", pending(fd));
    say("peer %s", peer_name(fd));
}

CASE(fastopen, refused, "MSG_FASTOPEN to a closed port") {
    int fd = tcp();
    struct address to = at("peer", PEER_CLOSED);
    COUNT("sendto", sendto(fd, "x", 1, MSG_FASTOPEN | MSG_NOSIGNAL, &to.any, to.length));
    say("error %s", pending(fd));
}

CASE(fastopen, connected, "MSG_FASTOPEN on a connected socket") {
    int fd = tcp();
    struct address to = at("peer", PEER_TCP);
    TELL("connect", join(fd, to));
    COUNT("sendto", sendto(fd, "x", 1, MSG_FASTOPEN, &to.any, to.length));
}

CASE(fastopen, no_address, "MSG_FASTOPEN without an address") {
    COUNT("send", send(tcp(), "x", 1, MSG_FASTOPEN | MSG_NOSIGNAL));
}

CASE(fastopen, option, "TCP_FASTOPEN_CONNECT") {
    int fd = tcp();
    TELL("option", set(fd, IPPROTO_TCP, TCP_FASTOPEN_CONNECT, 1));
    TELL("connect", join(fd, at("peer", PEER_TCP)));
    say("peer %s", peer_name(fd));
    COUNT("send", send(fd, "count\nabc", 9, 0));
    shutdown(fd, SHUT_WR);
    say("%s", rest(fd));
}

CASE(names, cut, "getsockname and getpeername with small buffers") {
    int fd = tcp();
    join(fd, at("echo", 80));
    for (socklen_t room = 0; room <= 20; room += 4) {
        struct address found;
        memset(&found, 0xee, sizeof found);
        found.length = room;
        getpeername(fd, &found.any, &found.length);
        say("room %u: length %u, family %d, next %02x", room, found.length,
            room >= 2 ? found.any.sa_family : -1, ((unsigned char *)&found)[room]);
    }
}

CASE(names, errors, "getsockname and getpeername with bad arguments") {
    int fd = tcp();
    struct address found = {.length = -1};
    socklen_t length = 16;
    join(fd, at("echo", 80));
    TELL("negative length", getpeername(fd, &found.any, &found.length));
    TELL("no length", getpeername(fd, &found.any, NULL));
    TELL("no address", getpeername(fd, NULL, &length));
    TELL("bad address", getsockname(fd, (void *)1, &length));
    TELL("no descriptor", getpeername(-1, &found.any, &length));
    TELL("no socket", getsockname(open("/dev/null", O_RDONLY), &found.any, &length));
    length = 0;
    TELL("no address and no room", getpeername(fd, NULL, &length));
    say("length %u", length);
}

CASE(names, six_cut, "getpeername of a v4-mapped address into room for IPv4") {
    int fd = tcp6();
    struct address found = {.length = 16};
    join(fd, mapped("echo", 80));
    TELL("getpeername", getpeername(fd, &found.any, &found.length));
    say("length %u, family %d, port %d", found.length, found.any.sa_family, ntohs(found.v6.sin6_port));
}

CASE(names, option, "SO_PEERNAME says what getpeername says") {
    int fd = tcp();
    struct address found = {.length = sizeof found.storage};
    join(fd, at("echo", 80));
    TELL("getsockopt", getsockopt(fd, SOL_SOCKET, 28, &found.storage, &found.length));
    say("%s", shown(&found, found.length));
}

CASE(names, accepted, "accept and accept4 name the far end") {
    int listener = tcp();
    struct address to = {.length = sizeof to.storage}, from = to;
    tie(listener, at("127.0.0.1", 0));
    listen(listener, 4);
    getsockname(listener, &to.any, &to.length);
    join(tcp(), to), join(tcp(), to);
    TELL("accept", accept(listener, &from.any, &from.length) < 0 ? -1 : 0);
    say("%s", shown(&from, from.length));
    from.length = sizeof from.storage;
    TELL("accept4", accept4(listener, &from.any, &from.length, SOCK_CLOEXEC) < 0 ? -1 : 0);
    say("%s", shown(&from, from.length));
}

CASE(names, after_end, "names after the far end has closed, and after a reset") {
    int fd = peer("say 3");
    rest(fd);
    say_names(fd);
    fd = peer("reset");
    rest(fd);
    say("peer %s", peer_name(fd));
}

CASE(names, after_shutdown, "names after shutdown") {
    int fd = peer("echo");
    shutdown(fd, SHUT_RDWR);
    say("local %s", local_name(fd));
}

CASE(form, syscall, "connect, getpeername and getsockname by syscall()") {
    int fd = syscall(SYS_socket, AF_INET, SOCK_STREAM, 0);
    struct address to = at("echo", 80), found = {.length = sizeof found.storage};
    TELL("connect", syscall(SYS_connect, fd, &to, to.length));
    TELL("getpeername", syscall(SYS_getpeername, fd, &found, &found.length));
    say("%s", shown(&found, found.length));
    found.length = sizeof found.storage;
    TELL("getsockname", syscall(SYS_getsockname, fd, &found, &found.length));
    say("%s", shown(&found, found.length));
    TELL("again", syscall(SYS_connect, fd, &to, to.length));
    to = at("peer", PEER_CLOSED);
    TELL("refused", syscall(SYS_connect, tcp(), &to, to.length));
}

CASE(form, internal, "the C library's second name of connect") {
    extern int __connect(int, const struct sockaddr *, socklen_t);
    int fd = tcp();
    struct address to = at("echo", 80);
    TELL("__connect", __connect(fd, &to.any, to.length));
    say_names(fd);
}

CASE(form, flags, "descriptor flags stay") {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    join(fd, at("echo", 80));
    events(fd, POLLOUT, PATIENCE);
    say("nonblocking %d", (fcntl(fd, F_GETFL) & O_NONBLOCK) != 0);
    say("cloexec %d", fcntl(fd, F_GETFD));
    fd = tcp();
    join(fd, at("echo", 80));
    say("nonblocking %d", (fcntl(fd, F_GETFL) & O_NONBLOCK) != 0);
    say("cloexec %d", fcntl(fd, F_GETFD));
}

CASE(form, kind, "SO_TYPE, SO_DOMAIN, SO_PROTOCOL and SO_ACCEPTCONN") {
    int fd = tcp();
    join(fd, at("echo", 80));
    say("type %s", get(fd, SOL_SOCKET, SO_TYPE));
    say("domain %s", get(fd, SOL_SOCKET, SO_DOMAIN));
    say("protocol %s", get(fd, SOL_SOCKET, SO_PROTOCOL));
    say("listening %s", get(fd, SOL_SOCKET, SO_ACCEPTCONN));
}

CASE(form, errno_kept, "calls that succeed leave errno alone") {
    int fd = tcp();
    struct address found = {.length = sizeof found.storage};
    struct addrinfo *list;
    errno = EXDEV;
    join(fd, at("echo", 80));
    say("connect %s", error_name(errno));
    getpeername(fd, &found.any, &found.length);
    say("getpeername %s", error_name(errno));
    getsockname(fd, &found.any, &found.length);
    say("getsockname %s", error_name(errno));
    TELL("numeric", getaddrinfo("10.0.0.1", "80", NULL, &list));
}

static void keep_option(int level, int option, int value) {
    int fd = tcp();
    TELL("set", set(fd, level, option, value));
    TELL("connect", join(fd, at("echo", 80)));
    say("is %s", get(fd, level, option));
}

CASE(option, keepalive, "SO_KEEPALIVE stays") { keep_option(SOL_SOCKET, SO_KEEPALIVE, 1); }
CASE(option, nodelay, "TCP_NODELAY stays") { keep_option(IPPROTO_TCP, TCP_NODELAY, 1); }
CASE(option, receive_buffer, "SO_RCVBUF stays") { keep_option(SOL_SOCKET, SO_RCVBUF, 20000); }
CASE(option, send_buffer, "SO_SNDBUF stays") { keep_option(SOL_SOCKET, SO_SNDBUF, 20000); }
CASE(option, type_of_service, "IP_TOS stays") { keep_option(IPPROTO_IP, IP_TOS, 0x10); }
CASE(option, time_to_live, "IP_TTL stays") { keep_option(IPPROTO_IP, IP_TTL, 33); }
CASE(option, reuse_address, "SO_REUSEADDR stays") { keep_option(SOL_SOCKET, SO_REUSEADDR, 1); }
CASE(option, reuse_port, "SO_REUSEPORT stays") { keep_option(SOL_SOCKET, SO_REUSEPORT, 1); }
CASE(option, priority, "SO_PRIORITY stays") { keep_option(SOL_SOCKET, SO_PRIORITY, 3); }
CASE(option, keep_idle, "TCP_KEEPIDLE stays") { keep_option(IPPROTO_TCP, TCP_KEEPIDLE, 77); }
CASE(option, keep_interval, "TCP_KEEPINTVL stays") { keep_option(IPPROTO_TCP, TCP_KEEPINTVL, 7); }
CASE(option, keep_count, "TCP_KEEPCNT stays") { keep_option(IPPROTO_TCP, TCP_KEEPCNT, 5); }
CASE(option, user_timeout, "TCP_USER_TIMEOUT stays") { keep_option(IPPROTO_TCP, TCP_USER_TIMEOUT, 12345); }
CASE(option, low_water, "SO_RCVLOWAT stays") { keep_option(SOL_SOCKET, SO_RCVLOWAT, 9); }
CASE(option, out_of_band_inline, "SO_OOBINLINE stays") { keep_option(SOL_SOCKET, SO_OOBINLINE, 1); }
CASE(option, syn_count, "TCP_SYNCNT stays") { keep_option(IPPROTO_TCP, TCP_SYNCNT, 2); }
CASE(option, defaults, "options that nobody has set") {
    int fd = tcp();
    join(fd, at("echo", 80));
    say("keepalive %s", get(fd, SOL_SOCKET, SO_KEEPALIVE));
    say("nodelay %s", get(fd, IPPROTO_TCP, TCP_NODELAY));
    say("tos %s", get(fd, IPPROTO_IP, IP_TOS));
    say("ttl %s", get(fd, IPPROTO_IP, IP_TTL));
    say("cork %s", get(fd, IPPROTO_TCP, TCP_CORK));
    say("user timeout %s", get(fd, IPPROTO_TCP, TCP_USER_TIMEOUT));
    say("defer %s", get(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT));
    say("reuse %s", get(fd, SOL_SOCKET, SO_REUSEADDR));
    say("route %s", get(fd, SOL_SOCKET, SO_DONTROUTE));
    say("mark %s", get(fd, SOL_SOCKET, SO_MARK));
    say("device %s", get(fd, SOL_SOCKET, SO_BINDTOIFINDEX));
    say("bind without port %s", get(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT));
    say("free bind %s", get(fd, IPPROTO_IP, IP_FREEBIND));
}

CASE(option, linger, "SO_LINGER stays") {
    int fd = tcp();
    struct linger linger = {.l_onoff = 1, .l_linger = 3};
    socklen_t length = sizeof linger;
    TELL("set", setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger));
    join(fd, at("echo", 80));
    linger = (struct linger){0};
    getsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, &length);
    say("on %d seconds %d", linger.l_onoff, linger.l_linger);
}

CASE(option, timeouts, "SO_RCVTIMEO and SO_SNDTIMEO stay") {
    int fd = tcp();
    struct timeval limit = {0};
    socklen_t length = sizeof limit;
    set_timeout(fd, SO_RCVTIMEO, 5000), set_timeout(fd, SO_SNDTIMEO, 6000);
    join(fd, at("echo", 80));
    getsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, &length);
    say("receive %ld", (long)limit.tv_sec);
    getsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, &length);
    say("send %ld", (long)limit.tv_sec);
}

CASE(option, congestion, "TCP_CONGESTION stays") {
    int fd = tcp();
    char name[16] = "";
    socklen_t length = sizeof name;
    TELL("set", setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "reno", 4));
    join(fd, at("echo", 80));
    getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, &length);
    say("%s", name);
}

CASE(option, path, "IP_MTU and TCP_MAXSEG of the path") {
    int fd = tcp();
    join(fd, at("echo", 80));
    say("mtu %s", get(fd, IPPROTO_IP, IP_MTU));
    say("segment %s", get(fd, IPPROTO_TCP, TCP_MAXSEG));
}

CASE(option, state, "the state of TCP_INFO") {
    int fd = tcp();
    struct tcp_info info = {0};
    socklen_t length = sizeof info;
    join(fd, at("echo", 80));
    TELL("getsockopt", getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length));
    say("state %d", info.tcpi_state);
}
