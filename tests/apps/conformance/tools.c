/* What cases use: addresses, sockets, waiting, and how results are told. */
#include "conformance.h"

#include <stdarg.h>

/* Results live until a few later ones have been made. */
static char *fresh(void) {
    enum { KEPT = 32, LENGTH = 4096 };
    static char kept[KEPT][LENGTH];
    static int next;
    return kept[next++ % KEPT];
}

void say(const char *format, ...) {
    /* Several processes may say something: main.c takes the first separator away. */
    char text[4096] = "; ";
    int length = 2;
    va_list values;
    va_start(values, format);
    length += vsnprintf(text + length, sizeof text - length, format, values);
    va_end(values);
    if (length > (int)sizeof text)
        length = sizeof text;
    if (write(STDOUT_FILENO, text, length) < 0)
        _exit(1);
}

const char *error_name(int error) {
    const char *name = error == 0 ? "none" : strerrorname_np(error);
    char *text = fresh();
    if (name)
        return name;
    snprintf(text, 64, "error %d", error);
    return text;
}

const char *number(long value) {
    if (value < 0)
        return error_name(errno);
    char *text = fresh();
    snprintf(text, 64, "%ld", value);
    return text;
}

const char *result(long value) { return value == 0 ? "ok" : number(value); }

int own_port(int index) { return atoi(param("ports")) + index; }

struct address at(const char *host, int port) {
    const char *known = param(host);
    struct address made = {.v4 = {.sin_family = AF_INET, .sin_port = htons(port)}, .length = sizeof made.v4};
    if (inet_pton(AF_INET, known ? known : host, &made.v4.sin_addr) != 1)
        say("no address of %s", host);
    return made;
}

struct address six(const char *text, int port) {
    struct address made = {.v6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)}, .length = sizeof made.v6};
    inet_pton(AF_INET6, text, &made.v6.sin6_addr);
    return made;
}

struct address mapped(const char *host, int port) {
    const char *known = param(host);
    char text[64];
    snprintf(text, sizeof text, "::ffff:%s", known ? known : host);
    return six(text, port);
}

struct address unix_path(const char *path) {
    struct address made = {.un = {.sun_family = AF_UNIX}};
    strncpy(made.un.sun_path, path, sizeof made.un.sun_path - 1);
    made.length = offsetof(struct sockaddr_un, sun_path) + strlen(made.un.sun_path) + 1;
    return made;
}

static const char *port_name(in_port_t network_order) {
    enum { OWN_PORTS = 400, FIRST_OF_KERNEL = 32768 };
    int port = ntohs(network_order), own = param("ports") ? own_port(0) : 0;
    char *text = fresh();
    if (port >= FIRST_OF_KERNEL)
        return "port";
    if (own && port >= own && port < own + OWN_PORTS)
        snprintf(text, 64, "own+%d", port - own);
    else
        snprintf(text, 64, "%d", port);
    return text;
}

const char *shown(const void *address, socklen_t length) {
    const struct address *any = address;
    char *text = fresh(), host[INET6_ADDRSTRLEN];
    if (length < sizeof(sa_family_t)) {
        snprintf(text, 64, "nothing");
    } else if (any->any.sa_family == AF_INET && length >= sizeof any->v4) {
        inet_ntop(AF_INET, &any->v4.sin_addr, host, sizeof host);
        snprintf(text, 128, "%s:%s", host, port_name(any->v4.sin_port));
    } else if (any->any.sa_family == AF_INET6 && length >= sizeof any->v6) {
        inet_ntop(AF_INET6, &any->v6.sin6_addr, host, sizeof host);
        snprintf(text, 128, "[%s]:%s%s", host, port_name(any->v6.sin6_port),
                 any->v6.sin6_scope_id || any->v6.sin6_flowinfo ? " with scope or flow" : "");
    } else {
        snprintf(text, 128, "family %d of %u bytes", any->any.sa_family, length);
    }
    return text;
}

typedef int (*name_of)(int, struct sockaddr *, socklen_t *);

static const char *named(name_of get_name, int fd) {
    struct address found = {.length = sizeof found.storage};
    if (get_name(fd, &found.any, &found.length) != 0)
        return error_name(errno);
    return shown(&found, found.length);
}

const char *local_name(int fd) { return named(getsockname, fd); }
const char *peer_name(int fd) { return named(getpeername, fd); }

void say_names(int fd) {
    say("local %s", local_name(fd));
    say("peer %s", peer_name(fd));
}

int tcp(void) { return socket(AF_INET, SOCK_STREAM, 0); }
int tcp_nonblocking(void) { return socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0); }
int tcp6(void) { return socket(AF_INET6, SOCK_STREAM, 0); }
int udp6(void) {
    int fd = socket(AF_INET6, SOCK_DGRAM, 0);
    set_timeout(fd, SO_RCVTIMEO, PATIENCE);
    return fd;
}
int udp(void) {
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    set_timeout(fd, SO_RCVTIMEO, PATIENCE);
    return fd;
}

int join(int fd, struct address to) { return connect(fd, &to.any, to.length); }
int tie(int fd, struct address to) { return bind(fd, &to.any, to.length); }

const char *pending(int fd) {
    int error = 0;
    socklen_t length = sizeof error;
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) != 0)
        error = errno;
    return error_name(error);
}

const char *event_names(int events) {
    static const struct {
        int bit;
        const char *name;
    } bits[] = {{POLLIN, "IN"},   {POLLPRI, "PRI"}, {POLLOUT, "OUT"},  {POLLERR, "ERR"},
                {POLLHUP, "HUP"}, {POLLNVAL, "NVAL"}, {POLLRDHUP, "RDHUP"}};
    char *text = fresh();
    int length = 0;
    text[0] = '\0';
    for (size_t i = 0; i < sizeof bits / sizeof *bits; i++)
        if (events & bits[i].bit)
            length += snprintf(text + length, 64 - length, "%s%s", length ? "+" : "", bits[i].name);
    return length ? text : "none";
}

const char *events(int fd, short wanted, int milliseconds) {
    struct pollfd wait = {.fd = fd, .events = wanted};
    if (poll(&wait, 1, milliseconds) < 0)
        return error_name(errno);
    return event_names(wait.revents);
}

int set(int fd, int level, int option, int value) { return setsockopt(fd, level, option, &value, sizeof value); }

const char *get(int fd, int level, int option) {
    int value = 0;
    socklen_t length = sizeof value;
    return number(getsockopt(fd, level, option, &value, &length) == 0 ? value : -1);
}

void set_timeout(int fd, int option, int milliseconds) {
    struct timeval limit = {.tv_sec = milliseconds / 1000, .tv_usec = milliseconds % 1000 * 1000};
    setsockopt(fd, SOL_SOCKET, option, &limit, sizeof limit);
}

void put(int fd, const char *text) {
    size_t length = strlen(text);
    while (length > 0) {
        ssize_t sent = send(fd, text, length, MSG_NOSIGNAL);
        if (sent < 0) {
            say("send %s", error_name(errno));
            return;
        }
        text += sent, length -= sent;
    }
}

int peer(const char *command, ...) {
    char text[256];
    va_list values;
    va_start(values, command);
    vsnprintf(text, sizeof text - 1, command, values);
    va_end(values);
    strcat(text, "\n");
    int fd = tcp();
    set_timeout(fd, SO_RCVTIMEO, PATIENCE);
    if (join(fd, at("peer", PEER_TCP)) != 0) {
        say("connect to the peer %s", error_name(errno));
        _exit(0);
    }
    put(fd, text);
    return fd;
}

const char *rest(int fd) {
    char *text = fresh();
    size_t length = 0;
    for (;;) {
        ssize_t got = recv(fd, text + length, 2000 - length, 0);
        if (got > 0) {
            length += got;
            continue;
        }
        if (got < 0)
            length += snprintf(text + length, 64, "(%s)", error_name(errno));
        if (length > 0 && text[length - 1] == '\n')
            length--;
        text[length] = '\0';
        return text;
    }
}

const char *line(int fd) {
    char *text = fresh();
    size_t length = 0;
    while (length < 1000) {
        ssize_t got = recv(fd, text + length, 1, 0);
        if (got <= 0) {
            snprintf(text + length, 64, "(%s)", got == 0 ? "end" : error_name(errno));
            return text;
        }
        if (text[length] == '\n')
            break;
        length++;
    }
    text[length] = '\0';
    return text;
}

long send_text(int fd, const char *text, struct address to) {
    return sendto(fd, text, strlen(text), 0, &to.any, to.length);
}

/* Receives one datagram and says it with its sender. */
void say_received(int fd) {
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

const char *report(void) {
    int fd = peer("report %s", tag());
    const char *text = line(fd);
    close(fd);
    return text;
}

void say_child(pid_t child) {
    int status;
    if (waitpid(child, &status, 0) != child)
        say("wait %s", error_name(errno));
    else if (WIFSIGNALED(status))
        say("ended by SIG%s", sigabbrev_np(WTERMSIG(status)));
    else
        say("exit %d", WEXITSTATUS(status));
}

void say_begun(int fd, struct address to) {
    TELL("connect", join(fd, to));
}

void say_done(int fd) {
    say("error %s", pending(fd));
    say_names(fd);
}

unsigned char pattern(size_t position) { return position * 7 + position / 251; }

unsigned char *made(size_t length) {
    unsigned char *data = malloc(length);
    for (size_t i = 0; i < length; i++)
        data[i] = pattern(i);
    return data;
}

size_t pour(int fd, size_t length) {
    unsigned char *data = made(length);
    size_t sent = 0;
    while (sent < length) {
        ssize_t went = send(fd, data + sent, length - sent, MSG_NOSIGNAL);
        if (went < 0)
            break;
        sent += went;
    }
    free(data);
    return sent;
}

volatile sig_atomic_t sigpipes;

static void count_one(int signal) {
    (void)signal;
    sigpipes++;
}

void count_sigpipe(void) { signal(SIGPIPE, count_one); }
