/* TCP: what travels. */
#include "conformance.h"

#include <sys/sendfile.h>

/* Reads the pattern to the end: how much, whether it is right, and the end. */
static void say_pattern(int fd) {
    static unsigned char buffer[65536];
    size_t length = 0, wrong = 0;
    ssize_t got;
    while ((got = recv(fd, buffer, sizeof buffer, 0)) > 0)
        for (ssize_t i = 0; i < got; i++)
            wrong += buffer[i] != pattern(length++);
    say("%zu bytes, %zu wrong, %s", length, wrong, got == 0 ? "end" : error_name(errno));
}

CASE(stream, peek, "MSG_PEEK") {
    int fd = peer("echo");
    char text[8] = "";
    put(fd, "abcdef");
    events(fd, POLLIN, PATIENCE);
    COUNT("peek", recv(fd, text, 3, MSG_PEEK));
    COUNT("recv", recv(fd, text, 3, 0));
    say("%.3s", text);
}

CASE(stream, wait_all, "MSG_WAITALL gathers what dribbles in") {
    int fd = peer("dribble");
    char text[16] = "";
    COUNT("recv", recv(fd, text, 7, MSG_WAITALL));
    say("%s", text);
    COUNT("more", recv(fd, text, 7, MSG_WAITALL));
}

CASE(stream, wait_all_end, "MSG_WAITALL at an end of stream") {
    int fd = peer("say 5");
    char text[16];
    COUNT("recv", recv(fd, text, 16, MSG_WAITALL));
}

CASE(stream, dont_wait, "MSG_DONTWAIT with nothing there") {
    int fd = peer("hold");
    char byte;
    COUNT("recv", recv(fd, &byte, 1, MSG_DONTWAIT));
    say("events %s", events(fd, POLLIN | POLLOUT, 0));
}

CASE(stream, truncate, "MSG_TRUNC throws away") {
    int fd = peer("echo");
    char text[8] = "";
    put(fd, "abcdef");
    events(fd, POLLIN, PATIENCE);
    COUNT("recv", recv(fd, NULL, 4, MSG_TRUNC | MSG_WAITALL));
    COUNT("recv", recv(fd, text, 2, MSG_WAITALL));
    say("%s", text);
}

CASE(stream, receive_timeout, "SO_RCVTIMEO with nothing there") {
    int fd = peer("hold");
    char byte;
    set_timeout(fd, SO_RCVTIMEO, MOMENT);
    COUNT("recv", recv(fd, &byte, 1, 0));
}

CASE(stream, nobody_reads, "a server that never reads fills the way up, and no more") {
    int fd = peer("hold");
    static char buffer[65536];
    size_t sent = 0;
    ssize_t went;
    set_timeout(fd, SO_SNDTIMEO, 2 * MOMENT);
    while (sent < 200 << 20 && (went = send(fd, buffer, sizeof buffer, MSG_NOSIGNAL)) > 0)
        sent += went;
    say("%s after a while, %s", error_name(errno), sent < 100 << 20 ? "bounded" : "without bound");
    say("events %s", events(fd, POLLOUT, 0));
}

CASE(stream, slow_server, "a server that reads late gets all") {
    int fd = peer("slow %s", tag());
    static char buffer[65536];
    fcntl(fd, F_SETFL, O_NONBLOCK);
    size_t sent = 0;
    ssize_t went;
    /* Until nothing goes for a while; then on, in whole. */
    do {
        while ((went = send(fd, buffer, sizeof buffer, MSG_NOSIGNAL)) > 0)
            sent += went;
    } while (sent < 100 << 20 && events(fd, POLLOUT, MOMENT)[0] == 'O');
    say("stopped %s", sent < 100 << 20 ? "some time" : "never");
    close(peer("go %s", tag()));
    fcntl(fd, F_SETFL, 0);
    shutdown(fd, SHUT_WR);
    size_t arrived = 0;
    sscanf(line(fd), "%zu", &arrived);
    say("%s", arrived == sent ? "all arrived" : "not all arrived");
}

CASE(stream, slow_client, "a client that reads late gets all") {
    int fd = peer("say 12000000");
    poll(NULL, 0, 2 * MOMENT);
    say_pattern(fd);
}

CASE(stream, large_up, "8 MB to the server") {
    int fd = peer("count");
    COUNT("sent", pour(fd, 8000000));
    shutdown(fd, SHUT_WR);
    say("%s", rest(fd));
}

CASE(stream, large_down, "8 MB from the server") { say_pattern(peer("say 8000000")); }

static void *pour_all(void *argument) {
    int fd = *(int *)argument;
    pour(fd, 5000000);
    shutdown(fd, SHUT_WR);
    return NULL;
}

CASE(stream, duplex, "5 MB both ways at once") {
    int fd = peer("echo");
    pthread_t thread;
    pthread_create(&thread, NULL, pour_all, &fd);
    say_pattern(fd);
    pthread_join(thread, NULL);
}

CASE(stream, small_writes, "a thousand writes of one byte") {
    int fd = peer("echo"), one = 1;
    set(fd, IPPROTO_TCP, TCP_NODELAY, one);
    for (size_t i = 0; i < 1000; i++) {
        unsigned char byte = pattern(i);
        if (write(fd, &byte, 1) != 1)
            say("write %s", error_name(errno));
    }
    shutdown(fd, SHUT_WR);
    say_pattern(fd);
}

CASE(stream, vectors, "writev and readv") {
    int fd = peer("echo");
    char first[4] = "", second[4] = "";
    struct iovec out[] = {{"abc", 3}, {"", 0}, {"def", 3}}, in[] = {{first, 3}, {second, 3}};
    COUNT("writev", writev(fd, out, 3));
    shutdown(fd, SHUT_WR);
    poll(NULL, 0, 0);
    set(fd, SOL_SOCKET, SO_RCVLOWAT, 6);
    COUNT("readv", readv(fd, in, 2));
    say("%s %s", first, second);
}

CASE(stream, messages, "sendmsg and recvmsg, which names nobody") {
    int fd = peer("echo");
    char text[16] = "";
    struct address from = {.length = sizeof from.storage};
    struct iovec out[] = {{"abc", 3}, {"def", 3}}, in = {text, 6};
    struct msghdr message = {.msg_iov = out, .msg_iovlen = 2};
    COUNT("sendmsg", sendmsg(fd, &message, 0));
    message = (struct msghdr){.msg_name = &from.any, .msg_namelen = from.length, .msg_iov = &in, .msg_iovlen = 1};
    COUNT("recvmsg", recvmsg(fd, &message, MSG_WAITALL));
    say("%s from %u bytes, flags %d", text, message.msg_namelen, message.msg_flags);
}

CASE(stream, received_from, "recvfrom names nobody, and sendto ignores its address") {
    int fd = peer("echo");
    char text[16] = "";
    struct address from = {.length = sizeof from.storage}, to = at("echo", 80);
    COUNT("sendto", sendto(fd, "abc", 3, 0, &to.any, to.length));
    COUNT("recvfrom", recvfrom(fd, text, 3, MSG_WAITALL, &from.any, &from.length));
    say("%s from %u bytes", text, from.length);
}

CASE(stream, sendfile, "sendfile") {
    int fd = peer("count"), file = memfd_create("x", 0);
    unsigned char *data = made(300000);
    COUNT("file", write(file, data, 300000));
    off_t offset = 0;
    while (offset < 300000 && sendfile(fd, file, &offset, 300000 - offset) > 0)
        ;
    say("offset %ld", (long)offset);
    shutdown(fd, SHUT_WR);
    say("%s", rest(fd));
}

CASE(stream, splice, "splice into and out of a connection") {
    int fd = peer("echo"), ends[2];
    char text[8] = "";
    TELL("pipe", pipe(ends));
    COUNT("write", write(ends[1], "abcdef", 6));
    COUNT("in", splice(ends[0], NULL, fd, NULL, 6, 0));
    events(fd, POLLIN, PATIENCE);
    COUNT("out", splice(fd, NULL, ends[1], NULL, 6, 0));
    COUNT("read", read(ends[0], text, 6));
    say("%s", text);
}

CASE(stream, queued, "FIONREAD and TIOCOUTQ") {
    int fd = peer("echo"), count = -1;
    put(fd, "abcde");
    char byte;
    set(fd, SOL_SOCKET, SO_RCVLOWAT, 5);
    say("events %s", events(fd, POLLIN, PATIENCE));
    TELL("FIONREAD", ioctl(fd, FIONREAD, &count));
    say("%d bytes", count);
    COUNT("recv", recv(fd, &byte, 1, 0));
    ioctl(fd, FIONREAD, &count);
    say("%d bytes", count);
    TELL("TIOCOUTQ", ioctl(fd, TIOCOUTQ, &count));
    say("%d bytes", count);
}

CASE(stream, cork, "TCP_CORK and MSG_MORE") {
    int fd = peer("count");
    set(fd, IPPROTO_TCP, TCP_CORK, 1);
    put(fd, "abc");
    COUNT("more", send(fd, "def", 3, MSG_MORE));
    set(fd, IPPROTO_TCP, TCP_CORK, 0);
    put(fd, "ghi");
    shutdown(fd, SHUT_WR);
    say("%s", rest(fd));
}

CASE(stream, urgent_received, "urgent data that the server sends") {
    int fd = peer("urgent");
    char text[8] = "";
    say("events %s", events(fd, POLLPRI, PATIENCE));
    COUNT("recv", recv(fd, text, 1, MSG_OOB));
    COUNT("first", recv(fd, text, 1, 0));
    COUNT("second", recv(fd, text + 1, 1, 0));
    say("%s", text);
}

CASE(stream, urgent_inline, "urgent data with SO_OOBINLINE") {
    int fd = peer("urgent");
    char text[8] = "";
    set(fd, SOL_SOCKET, SO_OOBINLINE, 1);
    for (size_t length = 0; length < 3; length++)
        if (recv(fd, text + length, 1, 0) != 1)
            break;
    say("%s", text);
}

CASE(stream, urgent_around, "what surrounds urgent data arrives without it") {
    for (int i = 0; i < 5; i++) {
        int fd = peer("urgent");
        char text[8] = "";
        for (size_t length = 0; length < 2; length++)
            if (recv(fd, text + length, 1, 0) != 1)
                break;
        say("%s", text);
    }
}

CASE(stream, urgent_sent, "urgent data that the client sends is not in the server's stream") {
    int fd = peer("count");
    put(fd, "a");
    COUNT("urgent", send(fd, "b", 1, MSG_OOB));
    put(fd, "c");
    shutdown(fd, SHUT_WR);
    say("%s", rest(fd));
}

CASE(stream, buffered, "a FILE on a connection, and a server that speaks first") {
    int fd = tcp();
    TELL("connect", join(fd, at("echo", 7002)));
    set_timeout(fd, SO_RCVTIMEO, PATIENCE);
    FILE *file = fdopen(fd, "r+");
    char text[64] = "";
    say("%s", fgets(text, sizeof text, file) ? "a line" : "none");
}

CASE(stream, http, "an HTTP request to the test server") {
    int fd = tcp();
    char *text;
    TELL("connect", join(fd, at("echo", 80)));
    set_timeout(fd, SO_RCVTIMEO, PATIENCE);
    put(fd, "GET /status/204 HTTP/1.1\r\nHost: echo-server\r\nConnection: close\r\n\r\n");
    text = (char *)rest(fd);
    say("%.*s", (int)strcspn(text, "\r"), text);
}

CASE(stream, edge_triggered, "edge-triggered epoll tells each arrival once") {
    int fd = peer("echo"), epoll = epoll_create1(0);
    char text[8];
    struct epoll_event event = {.events = EPOLLIN | EPOLLET};
    fcntl(fd, F_SETFL, O_NONBLOCK);
    epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
    COUNT("nothing", epoll_wait(epoll, &event, 1, 0));
    put(fd, "x");
    COUNT("one", epoll_wait(epoll, &event, 1, PATIENCE));
    COUNT("not again", epoll_wait(epoll, &event, 1, 0));
    put(fd, "y");
    COUNT("another", epoll_wait(epoll, &event, 1, PATIENCE));
    poll(NULL, 0, 50);
    COUNT("recv", recv(fd, text, 8, 0));
    COUNT("recv", recv(fd, text, 8, 0));
}
