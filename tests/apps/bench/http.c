// Requests over HTTP/1.1: one at a time, large ones, and at a fixed rate. Tagged ones have the header `X-Bench: mine`.
#define _GNU_SOURCE
#include "load.h"
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    HEAD = 4096,
    BULK = 256 * 1024,
    // Connections of a fixed rate.
    CONNECTIONS = 32,
    // Without any answer for so long, what is awaited is lost.
    PATIENCE_US = 5 * 1000 * 1000,
};

static int request_of(char *text, const char *method, const char *path, long long length, bool tagged) {
    int count = sprintf(text, "%s %s HTTP/1.1\r\nHost: bench\r\n%s", method, path, tagged ? "X-Bench: mine\r\n" : "");
    if (length > 0)
        count += sprintf(text + count, "Content-Length: %lld\r\n", length);
    return count + sprintf(text + count, "\r\n");
}

// Reads one answer with a Content-Length to its end: its length with the head. Keeps the body's first byte.
static long long read_answer(int fd, char *first) {
    static char buffer[BULK];
    size_t got = 0;
    char *body = NULL;
    while (body == NULL && got < HEAD) {
        ssize_t count = recv(fd, buffer + got, HEAD - got, 0);
        if (count == 0)
            errno = ECONNRESET;
        if (count <= 0)
            return failed("receive");
        got += count;
        buffer[got] = 0;
        body = strstr(buffer, "\r\n\r\n");
    }
    char *length = body == NULL ? NULL : strcasestr(buffer, "\r\nContent-Length: ");
    if (length == NULL || strncmp(buffer, "HTTP/1.1 200", 12) != 0) {
        errno = EBADMSG;
        return failed("answer");
    }
    long long whole = body + 4 - buffer + atoll(length + 18);
    bool is_first = body[4] == 0;
    *first = body[4];
    for (long long left = whole - (long long)got; left > 0;) {
        ssize_t count = recv(fd, buffer, left < BULK ? left : BULK, 0);
        if (count == 0)
            errno = ECONNRESET;
        if (count <= 0)
            return failed("receive");
        *first = is_first ? buffer[0] : *first;
        is_first = false;
        left -= count;
    }
    return whole;
}

static long long ask(int fd, const char *path, bool tagged, char *first) {
    char text[HEAD];
    int count = request_of(text, "GET", path, 0, tagged);
    return send_all(fd, text, count) != 0 ? -1 : read_answer(fd, first);
}

// get HOST PORT COUNT TAGGED: p50 and p99 of small requests on one connection.
// new HOST PORT COUNT TAGGED: the same with a connection for each.
int measure_gets(const char *host, int port, int count, bool tagged, bool fresh) {
    double *samples = calloc(count, sizeof *samples);
    char first;
    int fd = fresh ? -1 : connect_to(host, port, SOCK_STREAM);
    if (!fresh && (fd < 0 || ask(fd, "/", tagged, &first) < 0))
        return -1;
    for (int index = 0; index < count; index++) {
        double began = now_us();
        if (fresh)
            fd = connect_to(host, port, SOCK_STREAM);
        if (fd < 0 || ask(fd, "/", tagged, &first) < 0)
            return -1;
        samples[index] = now_us() - began;
        if (fresh)
            close(fd);
    }
    if (!fresh)
        close(fd);
    print_percentiles(samples, count);
    free(samples);
    return 0;
}

// who HOST PORT TAGGED: the number of the server that answers.
int tell_who(const char *host, int port, bool tagged) {
    char first = 0;
    int fd = connect_to(host, port, SOCK_STREAM);
    if (fd < 0 || ask(fd, "/", tagged, &first) < 0)
        return -1;
    close(fd);
    printf("%c\n", first);
    return 0;
}

// pull|push HOST PORT BYTES TAGGED: MiB/s of one large answer or request.
int measure_transfer(const char *host, int port, long long bytes, bool tagged, bool up) {
    static char chunk[BULK];
    char text[HEAD], path[64], first;
    int fd = connect_to(host, port, SOCK_STREAM);
    if (fd < 0)
        return -1;
    double began = now_us();
    sprintf(path, up ? "/" : "/bytes/%lld", bytes);
    if (send_all(fd, text, request_of(text, up ? "POST" : "GET", path, up ? bytes : 0, tagged)) != 0)
        return -1;
    for (long long left = up ? bytes : 0; left > 0; left -= left < BULK ? left : BULK)
        if (send_all(fd, chunk, left < BULK ? left : BULK) != 0)
            return -1;
    if (read_answer(fd, &first) < 0)
        return -1;
    close(fd);
    printf("%.2f\n", bytes / ((now_us() - began) / 1e6) / (1 << 20));
    return 0;
}

// The connections of a fixed rate: those that wait for a request, in the order of their last answer, and the others.
struct line {
    int fd;
    double due;
    long long awaited;
};

struct rate {
    int epoll, n_free, n_done, n_lost;
    struct line lines[CONNECTIONS], *free_lines[CONNECTIONS];
    long long answer;
    double *samples;
};

static int open_line(struct rate *rate, struct line *line, const char *host, int port) {
    line->fd = connect_to(host, port, SOCK_STREAM);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = line};
    if (line->fd < 0 || epoll_ctl(rate->epoll, EPOLL_CTL_ADD, line->fd, &event) != 0)
        return failed("open a connection");
    line->awaited = 0;
    rate->free_lines[rate->n_free++] = line;
    return 0;
}

// Reads what has come on a line; a broken one is replaced, and what it awaited is lost.
static int hear(struct rate *rate, struct line *line, const char *host, int port) {
    char buffer[HEAD];
    ssize_t count = recv(line->fd, buffer, sizeof buffer, MSG_DONTWAIT);
    if (count < 0 && errno == EAGAIN)
        return 0;
    if (count > 0 && count <= line->awaited) {
        line->awaited -= count;
        if (line->awaited == 0) {
            rate->samples[rate->n_done++] = now_us() - line->due;
            rate->free_lines[rate->n_free++] = line;
        }
        return 0;
    }
    rate->n_lost += line->awaited > 0;
    for (int index = 0; index < rate->n_free; index++)
        if (rate->free_lines[index] == line)
            rate->free_lines[index] = rate->free_lines[--rate->n_free];
    close(line->fd);
    return open_line(rate, line, host, port);
}

// rate HOST PORT PER_SECOND SECONDS TAGGED: p50, p99 and how many were lost. Each request counts from the moment at
// which it was due, whether or not a connection was free.
int measure_rate(const char *host, int port, int per_second, int seconds, bool tagged) {
    struct rate rate = {.epoll = epoll_create1(EPOLL_CLOEXEC), .samples = calloc(per_second, seconds * sizeof(double))};
    int total = per_second * seconds, next = 0;
    char text[HEAD], first;
    for (int index = 0; index < CONNECTIONS; index++) {
        if (open_line(&rate, &rate.lines[index], host, port) != 0)
            return -1;
        rate.answer = ask(rate.lines[index].fd, "/", tagged, &first);
        if (rate.answer < 0)
            return -1;
    }
    int length = request_of(text, "GET", "/", 0, tagged);
    double began = now_us(), heard = began, step = 1e6 / per_second;
    while (rate.n_done + rate.n_lost < total) {
        double now = now_us(), due = began + next * step;
        if (next < total && due <= now && rate.n_free > 0) {
            struct line *line = rate.free_lines[0];
            memmove(rate.free_lines, rate.free_lines + 1, --rate.n_free * sizeof line);
            line->due = due;
            line->awaited = rate.answer;
            next++;
            if (send_all(line->fd, text, length) != 0 && hear(&rate, line, host, port) != 0)
                return -1;
            continue;
        }
        bool waits_for_time = next < total && rate.n_free > 0;
        double until = waits_for_time ? due : heard + PATIENCE_US;
        if (!waits_for_time && now >= until)
            break;
        double left = until > now ? until - now : 0;
        struct timespec timeout = {.tv_sec = left / 1e6, .tv_nsec = (int64_t)(left * 1e3) % 1000000000};
        struct epoll_event events[CONNECTIONS];
        int count = epoll_pwait2(rate.epoll, events, CONNECTIONS, &timeout, NULL);
        for (int index = 0; index < count; index++) {
            heard = now_us();
            if (hear(&rate, events[index].data.ptr, host, port) != 0)
                return -1;
        }
    }
    for (int index = 0; index < CONNECTIONS; index++)
        close(rate.lines[index].fd);
    close(rate.epoll);
    printf("%d ", total - rate.n_done);
    print_percentiles(rate.samples, rate.n_done);
    free(rate.samples);
    return 0;
}
