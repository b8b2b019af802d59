/* TCP: destinations of every kind, and many at once. */
#include "conformance.h"

CASE(connect, mapped, "a v4-mapped address on an IPv6 socket") {
    int fd = tcp6();
    say_names(fd);
    TELL("connect", join(fd, mapped("echo", 80)));
    say_names(fd);
}

CASE(connect, mapped_nonblocking, "the same without blocking") {
    int fd = socket(AF_INET6, SOCK_STREAM | SOCK_NONBLOCK, 0);
    TELL("connect", join(fd, mapped("echo", 80)));
    say("events %s", events(fd, POLLOUT, PATIENCE));
    say_done(fd);
}

CASE(connect, mapped_refused, "a v4-mapped address that refuses") {
    int fd = tcp6();
    TELL("connect", join(fd, mapped("peer", PEER_CLOSED)));
    say("peer %s", peer_name(fd));
}

CASE(connect, mapped_v6only, "a v4-mapped address on a socket with IPV6_V6ONLY") {
    int fd = tcp6();
    set(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
    TELL("connect", join(fd, mapped("echo", 80)));
    say("error %s", pending(fd));
}

CASE(connect, six, "an IPv6 address without a route") {
    int fd = tcp6();
    TELL("connect", join(fd, six("2001:db8::80", 80)));
    say("error %s", pending(fd));
    say("peer %s", peer_name(fd));
}

CASE(connect, six_nonblocking, "the same without blocking") {
    int fd = socket(AF_INET6, SOCK_STREAM | SOCK_NONBLOCK, 0);
    TELL("connect", join(fd, six("2001:db8::80", 80)));
    say("events %s", events(fd, POLLOUT, 0));
}

CASE(connect, six_v6only, "the same with IPV6_V6ONLY") {
    int fd = tcp6();
    set(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
    TELL("connect", join(fd, six("2001:db8::80", 80)));
}

CASE(connect, link_local, "a link-local address without a scope") {
    TELL("connect", join(tcp6(), six("fe80::1", 80)));
}

CASE(connect, four_on_six, "an IPv4 address on an IPv6 socket") { TELL("connect", join(tcp6(), at("echo", 80))); }

CASE(connect, four_on_six_long, "an IPv4 address with the length of an IPv6 one on an IPv6 socket") {
    struct address to = at("echo", 80);
    to.length = sizeof to.v6;
    TELL("connect", join(tcp6(), to));
}

CASE(connect, six_on_four, "an IPv6 address on an IPv4 socket") { TELL("connect", join(tcp(), mapped("echo", 80))); }

CASE(connect, unix_on_four, "a Unix address on an IPv4 socket") { TELL("connect", join(tcp(), unix_path("/tmp/x"))); }

CASE(connect, length_short, "addresses that are too short") {
    for (socklen_t length = 0; length < 16; length += 3) {
        struct address to = at("echo", 80);
        to.length = length;
        char text[32];
        snprintf(text, sizeof text, "%u bytes", length);
        TELL(text, join(tcp(), to));
    }
}

CASE(connect, length_short_six, "IPv6 addresses that are too short, and one without the scope") {
    for (socklen_t length = 20; length <= 28; length += 4) {
        struct address to = mapped("echo", 80);
        to.length = length;
        char text[32];
        snprintf(text, sizeof text, "%u bytes", length);
        TELL(text, join(tcp6(), to));
    }
}

CASE(connect, length_long, "addresses that are too long") {
    static char large[256];
    struct address to = at("echo", 80);
    memcpy(large, &to.v4, sizeof to.v4);
    TELL("128 bytes", connect(tcp(), (void *)large, 128));
    TELL("129 bytes", connect(tcp(), (void *)large, 129));
    TELL("negative", connect(tcp(), (void *)large, -1));
}

CASE(connect, bad_pointer, "addresses that are none") {
    char *page = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    munmap(page + 4096, 4096);
    struct address to = at("echo", 80);
    TELL("null", connect(tcp(), NULL, 16));
    TELL("one", connect(tcp(), (void *)1, 16));
    memcpy(page + 4088, &to.v4, 8);
    TELL("over the edge", connect(tcp(), (void *)(page + 4088), 16));
    memcpy(page + 4080, &to.v4, 16);
    TELL("at the edge", connect(tcp(), (void *)(page + 4080), 16));
}

CASE(connect, bad_descriptor, "descriptors that are no sockets") {
    int ends[2];
    TELL("-1", join(-1, at("echo", 80)));
    TELL("9999", join(9999, at("echo", 80)));
    TELL("file", join(open("/dev/null", O_RDWR), at("echo", 80)));
    TELL("pipe", pipe(ends));
    TELL("pipe", join(ends[0], at("echo", 80)));
    TELL("path", join(open("/", O_PATH), at("echo", 80)));
    TELL("epoll", join(epoll_create1(0), at("echo", 80)));
}

CASE(connect, listening, "a listening socket") {
    int fd = tcp();
    TELL("listen", listen(fd, 1));
    TELL("connect", join(fd, at("echo", 80)));
    say("peer %s", peer_name(fd));
}

CASE(connect, port_zero, "port 0") {
    int fd = tcp();
    set_timeout(fd, SO_SNDTIMEO, PATIENCE);
    TELL("connect", join(fd, at("peer", 0)));
}

CASE(connect, broadcast, "broadcast and multicast addresses") {
    TELL("all", join(tcp(), at("255.255.255.255", 80)));
    TELL("multicast", join(tcp(), at("224.0.0.1", 80)));
    struct address subnet = at("pod", 80);
    ((unsigned char *)&subnet.v4.sin_addr)[3] = 255;
    TELL("subnet", join(tcp(), subnet));
}

CASE(connect, any_address, "0.0.0.0 means this host") {
    int listener = tcp(), fd = tcp();
    tie(listener, at("127.0.0.1", 0));
    struct address to = {.length = sizeof to.storage};
    TELL("listen", listen(listener, 1));
    getsockname(listener, &to.any, &to.length);
    to.v4.sin_addr.s_addr = 0;
    TELL("connect", join(fd, to));
    say_names(fd);
}

CASE(connect, loopback, "a listener of the program on loopback") {
    int listener = tcp(), fd = tcp();
    struct address to = {.length = sizeof to.storage};
    tie(listener, at("127.0.0.1", 0));
    TELL("listen", listen(listener, 1));
    getsockname(listener, &to.any, &to.length);
    TELL("connect", join(fd, to));
    say_names(fd);
    int other = accept(listener, &to.any, &to.length);
    say("accepted from %s", shown(&to, to.length));
    say_names(other);
}

CASE(connect, loopback_refused, "a closed port of loopback") { TELL("connect", join(tcp(), at("127.0.0.1", 1))); }

CASE(connect, loopback_six, "a listener of the program on ::1") {
    int listener = tcp6(), fd = tcp6();
    struct address to = {.length = sizeof to.storage};
    TELL("bind", tie(listener, six("::1", 0)));
    TELL("listen", listen(listener, 1));
    getsockname(listener, &to.any, &to.length);
    TELL("connect", join(fd, to));
    say_names(fd);
}

CASE(connect, own_address_listener, "the pod's own address, on whose port the program listens") {
    int listener = tcp(), fd = tcp();
    struct address from = {.length = sizeof from.storage};
    set(listener, SOL_SOCKET, SO_REUSEADDR, 1);
    TELL("bind", tie(listener, at("0.0.0.0", own_port(1))));
    TELL("listen", listen(listener, 1));
    set_timeout(fd, SO_SNDTIMEO, PATIENCE);
    TELL("connect", join(fd, at("pod", own_port(1))));
    say_names(fd);
    int other = accept(listener, &from.any, &from.length);
    say("accepted from %s", shown(&from, from.length));
    say_names(other);
}

CASE(connect, own_address_refused, "the pod's own address, on whose port nobody listens") {
    TELL("connect", join(tcp(), at("pod", own_port(2))));
}

CASE(connect, own_address_served, "the pod's own address, on whose port the target itself listens") {
    int fd = tcp();
    TELL("connect", join(fd, at("pod", 8080)));
    say_names(fd);
}

CASE(connect, own_service, "a Service whose pod is the target") {
    int fd = tcp();
    TELL("connect", join(fd, at("debian", 8080)));
    say_names(fd);
}

CASE(connect, outside, "an address outside of the cluster") {
    int fd = tcp();
    TELL("connect", join(fd, at("outside", 80)));
    say_names(fd);
}

CASE(connect, mptcp, "a multipath TCP socket") {
    int fd = socket(AF_INET, SOCK_STREAM, IPPROTO_MPTCP);
    TELL("socket", fd < 0 ? -1 : 0);
    TELL("connect", join(fd, at("echo", 80)));
    say_names(fd);
}

CASE(connect, bound_to_interface, "a socket bound to eth0") {
    int fd = tcp();
    TELL("option", setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, "eth0", 5));
    set_timeout(fd, SO_SNDTIMEO, MOMENT);
    TELL("connect", join(fd, at("echo", 80)));
}

static void *shut_down_soon(void *argument) {
    int fd = *(int *)argument;
    poll(NULL, 0, MOMENT);
    shutdown(fd, SHUT_RDWR);
    return NULL;
}

CASE(connect, shut_down_meanwhile, "another thread shuts a socket down that is being connected") {
    int fd = tcp();
    pthread_t thread;
    set_timeout(fd, SO_SNDTIMEO, PATIENCE / 2);
    pthread_create(&thread, NULL, shut_down_soon, &fd);
    int outcome = join(fd, at("hole", 80)), error = errno;
    pthread_join(thread, NULL);
    errno = error;
    TELL("connect", outcome);
}

static void *connect_slowly(void *argument) {
    (void)argument;
    int fd = tcp();
    set_timeout(fd, SO_SNDTIMEO, 2 * MOMENT);
    join(fd, at("hole", 80));
    return NULL;
}

CASE(connect, beside_slow_ones, "connections beside eight that nobody answers") {
    pthread_t threads[8];
    struct timespec before, after;
    for (int i = 0; i < 8; i++)
        pthread_create(&threads[i], NULL, connect_slowly, NULL);
    clock_gettime(CLOCK_MONOTONIC, &before);
    TELL("connect", join(tcp(), at("echo", 80)));
    clock_gettime(CLOCK_MONOTONIC, &after);
    say("%s", after.tv_sec - before.tv_sec < 2 ? "at once" : "late");
    for (int i = 0; i < 8; i++)
        pthread_join(threads[i], NULL);
}

CASE(connect, hundred_at_once, "a hundred non-blocking connections at once") {
    enum { MANY = 100 };
    int fds[MANY], begun = 0, done = 0, named = 0;
    char service[64];
    snprintf(service, sizeof service, "%s:7000", param("echo"));
    for (int i = 0; i < MANY; i++) {
        fds[i] = tcp_nonblocking();
        int outcome = join(fds[i], at("echo", 7000));
        begun += outcome == 0 || errno == EINPROGRESS;
    }
    for (int i = 0; i < MANY; i++) {
        done += strcmp(events(fds[i], POLLOUT, PATIENCE), "OUT") == 0 && strcmp(pending(fds[i]), "none") == 0;
        named += strcmp(peer_name(fds[i]), service) == 0;
    }
    say("%d begun", begun);
    say("%d done", done);
    say("%d named", named);
}

CASE(connect, before_use, "what a socket that was never connected says") {
    int fd = tcp();
    char byte;
    say("events %s", events(fd, POLLIN | POLLOUT | POLLRDHUP, 0));
    COUNT("recv", recv(fd, &byte, 1, 0));
    COUNT("send", send(fd, "x", 1, MSG_NOSIGNAL));
    TELL("shutdown", shutdown(fd, SHUT_WR));
    say_names(fd);
}
