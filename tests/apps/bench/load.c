// The load of `cargo xtask bench outgoing`, run once under `mirror exec` and once against a port-forward, and, with
// http.c, of `cargo xtask bench incoming`.
// Reads one command per line and answers each with one line: numbers, or "error" and a reason.
// Usage: load                 each function says its command; times in microseconds unless said otherwise
//        load serve PORT      echoes every TCP connection, one descriptor for each; prints "ready" and the port
#define _GNU_SOURCE
#include "load.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    REQUEST = 64,
    PATIENCE_S = 30,
    UDP_PATIENCE_S = 1,
    MAX_STREAMS = 64,
    OPENERS = 16,
    // Go's HTTP server reads a body that its handler left, if it is shorter than 256 KiB: so small posts to any
    // path make it a sink.
    POST = 192 * 1024,
};

static char reason[256];

// Keeps the first reason of a command; threads may race for it, and any of theirs will do.
int failed(const char *what) {
    if (reason[0] == 0)
        snprintf(reason, sizeof reason, "%s: %s", what, strerror(errno));
    return -1;
}

double now_us(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1e6 + time.tv_nsec / 1e3;
}

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

void print_percentiles(double *samples, int count) {
    qsort(samples, count, sizeof *samples, compare);
    printf("%.1f %.1f\n", samples[count / 2], samples[(int)(count * 0.99)]);
}

static struct sockaddr_in address_of(const char *host, int port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    inet_pton(AF_INET, host, &address.sin_addr);
    return address;
}

int connect_to(const char *host, int port, int type) {
    struct sockaddr_in address = address_of(host, port);
    int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return failed("socket");
    struct timeval patience = {.tv_sec = type == SOCK_DGRAM ? UDP_PATIENCE_S : PATIENCE_S};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    if (type == SOCK_STREAM)
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    if (connect(fd, (struct sockaddr *)&address, sizeof address) != 0) {
        failed("connect");
        close(fd);
        return -1;
    }
    return fd;
}

int send_all(int fd, const void *bytes, size_t length) {
    for (size_t sent = 0; sent < length;) {
        ssize_t count = send(fd, (const char *)bytes + sent, length - sent, MSG_NOSIGNAL);
        if (count < 0)
            return failed("send");
        sent += count;
    }
    return 0;
}

static int receive_all(int fd, void *bytes, size_t length) {
    for (size_t got = 0; got < length;) {
        ssize_t count = recv(fd, (char *)bytes + got, length - got, 0);
        if (count == 0)
            errno = ECONNRESET;
        if (count <= 0)
            return failed("receive");
        got += count;
    }
    return 0;
}

static int echo(int fd, size_t length) {
    char request[REQUEST], reply[REQUEST];
    memset(request, 'x', length);
    return send_all(fd, request, length) || receive_all(fd, reply, length) ? -1 : 0;
}

// connect HOST PORT COUNT: p50 and p99 from nothing to the first byte that came back.
// greet HOST PORT COUNT: the same with a server that speaks first.
static int measure_connect(const char *host, int port, int count, bool greeted) {
    double *samples = calloc(count, sizeof *samples);
    for (int index = 0; index < count; index++) {
        double began = now_us();
        int fd = connect_to(host, port, SOCK_STREAM);
        char first;
        if (fd < 0 || (greeted ? receive_all(fd, &first, 1) : echo(fd, 1)) != 0)
            return -1;
        samples[index] = now_us() - began;
        close(fd);
    }
    print_percentiles(samples, count);
    free(samples);
    return 0;
}

// request HOST PORT COUNT, udp HOST PORT COUNT: p50 and p99 of small echoes on one socket.
static int measure_requests(const char *host, int port, int count, int type) {
    double *samples = calloc(count, sizeof *samples);
    int fd = connect_to(host, port, type);
    if (fd < 0 || echo(fd, REQUEST) != 0)
        return -1;
    for (int index = 0; index < count; index++) {
        double began = now_us();
        if (echo(fd, REQUEST) != 0)
            return -1;
        samples[index] = now_us() - began;
    }
    close(fd);
    print_percentiles(samples, count);
    free(samples);
    return 0;
}

struct transfer {
    pthread_t thread;
    const char *host;
    int port;
    long long bytes;
    int result;
    atomic_bool *begun, *stop;
};

static void *download(void *argument) {
    struct transfer *transfer = argument;
    static _Thread_local char buffer[256 * 1024];
    transfer->result = -1;
    int fd = connect_to(transfer->host, transfer->port, SOCK_STREAM);
    if (fd < 0)
        return NULL;
    int length = snprintf(buffer, sizeof buffer, "GET /bytes/%lld HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n",
                          transfer->bytes);
    long long got = 0;
    if (send_all(fd, buffer, length) == 0) {
        ssize_t count;
        while ((count = recv(fd, buffer, sizeof buffer, 0)) > 0) {
            got += count;
            if (transfer->begun != NULL)
                atomic_store(transfer->begun, true);
            if (transfer->stop != NULL && atomic_load(transfer->stop))
                break;
        }
        if (count < 0)
            failed("receive");
    }
    close(fd);
    bool stopped = transfer->stop != NULL && atomic_load(transfer->stop);
    if (stopped || got >= transfer->bytes)
        transfer->result = 0;
    else if (reason[0] == 0)
        snprintf(reason, sizeof reason, "only %lld of %lld bytes came", got, transfer->bytes);
    return NULL;
}

static void *count_responses(void *argument) {
    struct transfer *transfer = argument;
    static const char status[] = "HTTP/1.1 200 OK";
    char buffer[4096];
    size_t matched = 0;
    for (long long awaited = transfer->bytes / POST; awaited > 0;) {
        ssize_t count = recv(transfer->result, buffer, sizeof buffer, 0);
        if (count <= 0) {
            failed("receive");
            return (void *)-1;
        }
        for (ssize_t index = 0; index < count; index++) {
            matched = buffer[index] == status[matched] ? matched + 1 : buffer[index] == status[0];
            if (status[matched] == 0) {
                matched = 0;
                awaited--;
            }
        }
    }
    return NULL;
}

static void *upload(void *argument) {
    struct transfer *transfer = argument;
    struct transfer reading = *transfer;
    transfer->result = -1;
    int fd = connect_to(transfer->host, transfer->port, SOCK_STREAM);
    if (fd < 0)
        return NULL;
    reading.result = fd;
    pthread_create(&reading.thread, NULL, count_responses, &reading);
    char *post = malloc(POST + 256);
    int head = sprintf(post, "POST /status/200 HTTP/1.1\r\nHost: bench\r\nContent-Length: %d\r\n\r\n", POST);
    memset(post + head, 'x', POST);
    int result = 0;
    for (long long left = transfer->bytes / POST; left > 0 && result == 0; left--)
        result = send_all(fd, post, head + POST);
    if (result != 0)
        shutdown(fd, SHUT_RDWR);
    void *read_result;
    pthread_join(reading.thread, &read_result);
    free(post);
    close(fd);
    transfer->result = result != 0 || read_result != NULL ? -1 : 0;
    return NULL;
}

// down|up HOST PORT STREAMS BYTES: MiB/s of all streams together; BYTES is their sum.
static int measure_bulk(void *(*work)(void *), const char *host, int port, int streams, long long bytes) {
    struct transfer transfers[MAX_STREAMS];
    if (streams < 1 || streams > MAX_STREAMS)
        return errno = EINVAL, failed("streams");
    double began = now_us();
    for (int index = 0; index < streams; index++) {
        transfers[index] = (struct transfer){.host = host, .port = port, .bytes = bytes / streams};
        pthread_create(&transfers[index].thread, NULL, work, &transfers[index]);
    }
    int result = 0;
    for (int index = 0; index < streams; index++) {
        pthread_join(transfers[index].thread, NULL);
        result |= transfers[index].result;
    }
    double seconds = (now_us() - began) / 1e6;
    if (result == 0)
        printf("%.2f\n", bytes / seconds / (1 << 20));
    return result;
}

// beside HOST PORT COUNT BULK_PORT: like request, while a download runs.
static int measure_beside(const char *host, int port, int count, int bulk_port) {
    atomic_bool begun = false, stop = false;
    struct transfer transfer = {.host = host, .port = bulk_port, .bytes = 1LL << 40, .begun = &begun, .stop = &stop};
    pthread_create(&transfer.thread, NULL, download, &transfer);
    while (!atomic_load(&begun) && reason[0] == 0)
        usleep(1000);
    int result = measure_requests(host, port, count, SOCK_STREAM);
    atomic_store(&stop, true);
    pthread_join(transfer.thread, NULL);
    return result;
}

static int *held;
static int n_held;

struct opening {
    pthread_t thread;
    const char *host;
    int port, from, to;
};

static void *open_some(void *argument) {
    struct opening *opening = argument;
    for (int index = opening->from; index < opening->to; index++)
        held[index] = connect_to(opening->host, opening->port, SOCK_STREAM);
    return NULL;
}

static void print_held(double began, int open) {
    for (char *at = reason; *at != 0; at++)
        *at = *at == '\n' ? ' ' : *at;
    printf("%.3f %d %s\n", (now_us() - began) / 1e6, n_held - open, reason);
}

// open HOST PORT COUNT: seconds, failures and the first one's reason. The connections stay.
static int open_many(const char *host, int port, int count) {
    struct opening openings[OPENERS];
    free(held);
    held = calloc(count, sizeof *held);
    n_held = count;
    double began = now_us();
    for (int index = 0; index < OPENERS; index++) {
        int from = (long long)count * index / OPENERS, to = (long long)count * (index + 1) / OPENERS;
        openings[index] = (struct opening){.host = host, .port = port, .from = from, .to = to};
        pthread_create(&openings[index].thread, NULL, open_some, &openings[index]);
    }
    for (int index = 0; index < OPENERS; index++)
        pthread_join(openings[index].thread, NULL);
    int open = 0;
    for (int index = 0; index < n_held; index++)
        open += held[index] >= 0;
    print_held(began, open);
    return 0;
}

// echo: writes to every open connection, then reads from each: seconds, failures, reason.
static int echo_many(void) {
    char request[REQUEST] = {0};
    double began = now_us();
    for (int index = 0; index < n_held; index++) {
        if (held[index] >= 0 && send_all(held[index], request, sizeof request) != 0) {
            close(held[index]);
            held[index] = -1;
        }
    }
    int answered = 0;
    for (int index = 0; index < n_held; index++)
        answered += held[index] >= 0 && receive_all(held[index], request, sizeof request) == 0;
    print_held(began, answered);
    return 0;
}

// close: ends what open has opened.
static int close_many(void) {
    for (int index = 0; index < n_held; index++)
        if (held[index] >= 0)
            close(held[index]);
    n_held = 0;
    printf("0\n");
    return 0;
}

// Nanoseconds of the thread's own time: other programs do not count.
static double own_ns(void) {
    struct timespec time;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return time.tv_sec * 1e9 + time.tv_nsec;
}

// local COUNT: nanoseconds of a connect and of a sendto whose arguments alone say that they are local: the
// fastest of several runs, since caches that others have emptied do count.
static int measure_local(int count) {
    enum { RUNS = 20 };
    struct sockaddr_in loopback = address_of("127.0.0.1", 9);
    const struct sockaddr *address = (struct sockaddr *)&loopback;
    double connecting = 1e9, sending = 1e9;
    for (int run = 0; run < RUNS; run++) {
        double began = own_ns();
        for (int index = 0; index < count; index++)
            connect(-1, address, sizeof loopback);
        double between = own_ns();
        for (int index = 0; index < count; index++)
            sendto(-1, "x", 1, 0, address, sizeof loopback);
        double ended = own_ns();
        connecting = between - began < connecting ? between - began : connecting;
        sending = ended - between < sending ? ended - between : sending;
    }
    printf("%.2f %.2f\n", connecting / count, sending / count);
    return 0;
}

static int run(const char *command, const char *host, int port, long long a, long long b, long long c) {
    if (strcmp(command, "connect") == 0)
        return measure_connect(host, port, a, false);
    if (strcmp(command, "greet") == 0)
        return measure_connect(host, port, a, true);
    if (strcmp(command, "request") == 0)
        return measure_requests(host, port, a, SOCK_STREAM);
    if (strcmp(command, "udp") == 0)
        return measure_requests(host, port, a, SOCK_DGRAM);
    if (strcmp(command, "beside") == 0)
        return measure_beside(host, port, a, b);
    if (strcmp(command, "down") == 0)
        return measure_bulk(download, host, port, a, b);
    if (strcmp(command, "up") == 0)
        return measure_bulk(upload, host, port, a, b);
    if (strcmp(command, "open") == 0)
        return open_many(host, port, a);
    if (strcmp(command, "echo") == 0)
        return echo_many();
    if (strcmp(command, "close") == 0)
        return close_many();
    if (strcmp(command, "local") == 0)
        return measure_local(port);
    if (strcmp(command, "get") == 0)
        return measure_gets(host, port, a, b, false);
    if (strcmp(command, "new") == 0)
        return measure_gets(host, port, a, b, true);
    if (strcmp(command, "who") == 0)
        return tell_who(host, port, a);
    if (strcmp(command, "pull") == 0)
        return measure_transfer(host, port, a, b, false);
    if (strcmp(command, "push") == 0)
        return measure_transfer(host, port, a, b, true);
    if (strcmp(command, "rate") == 0)
        return measure_rate(host, port, a, b, c);
    errno = EINVAL;
    return failed("command");
}

static int serve(int port) {
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons(port)};
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), epoll = epoll_create1(0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    if (bind(listener, (struct sockaddr *)&any, sizeof any) != 0 || listen(listener, 4096) != 0) {
        perror("listen");
        return 1;
    }
    epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &(struct epoll_event){.events = EPOLLIN, .data.fd = listener});
    struct sockaddr_in own;
    getsockname(listener, (struct sockaddr *)&own, &(socklen_t){sizeof own});
    printf("ready %d\n", ntohs(own.sin_port));
    for (;;) {
        struct epoll_event events[256];
        int count = epoll_wait(epoll, events, 256, -1);
        for (int index = 0; index < count; index++) {
            int fd = events[index].data.fd;
            if (fd == listener) {
                int peer = accept(listener, NULL, NULL);
                if (peer >= 0)
                    epoll_ctl(epoll, EPOLL_CTL_ADD, peer, &(struct epoll_event){.events = EPOLLIN, .data.fd = peer});
                continue;
            }
            char buffer[REQUEST];
            ssize_t length = recv(fd, buffer, sizeof buffer, 0);
            if (length <= 0 || send(fd, buffer, length, MSG_NOSIGNAL) != length)
                close(fd);
        }
    }
}

int main(int argc, char **argv) {
    setvbuf(stdout, NULL, _IOLBF, 0);
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    if (argc == 3 && strcmp(argv[1], "serve") == 0)
        return serve(atoi(argv[2]));
    printf("ready\n");
    for (char line[256]; fgets(line, sizeof line, stdin) != NULL;) {
        char command[32] = "", host[64] = "";
        int port = 0;
        long long a = 0, b = 0, c = 0;
        sscanf(line, "%31s %63s %d %lld %lld %lld", command, host, &port, &a, &b, &c);
        reason[0] = 0;
        if (run(command, host, port, a, b, c) != 0)
            printf("error %s\n", reason);
    }
    return 0;
}
