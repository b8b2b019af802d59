/* What every case of the conformance program stands on.
 *
 * The program runs each case in a process of its own and prints one line for it: `family.case: what was seen`.
 * A case says what it sees with `say`, `TELL` and `COUNT`; the lines must be equal in the pod and under mirror, so
 * nothing is said that may differ between two runs in the pod: no times, no ports that the kernel chose. */
#ifndef CONFORMANCE_H
#define CONFORMANCE_H

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

/* One case. They stand in a section of their own, in the order of the sources. */
struct test {
    const char *name;
    const char *what;
    void (*run)(void);
};

#define CASE(family, name, what)                                                                                       \
    static void run_##family##_##name(void);                                                                           \
    __attribute__((used, section("cases"), aligned(8))) static const struct test test_##family##_##name = {            \
        #family "." #name, what, run_##family##_##name};                                                               \
    static void run_##family##_##name(void)

/* Ports of the peer: another pod, in which this program serves (serve.c). */
enum { PEER_TCP = 7100, PEER_UDP = 7101, PEER_CLOSED = 7102, PEER_UDP_OTHER = 7104 };

/* Milliseconds: for what must happen, and for what must not. */
enum { PATIENCE = 5000, MOMENT = 300 };

/* A socket address with its length. */
struct address {
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
        struct sockaddr_un un;
        struct sockaddr_storage storage;
    };
    socklen_t length;
};

/* Adds to the case's line. */
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* `ok` for 0, a number above it, else the name of errno. */
const char *result(long value);
/* A number from 0 on, else the name of errno. */
const char *number(long value);
const char *error_name(int error);
#define TELL(what, call) say("%s%s%s", what, *(what) ? " " : "", result(call))
#define COUNT(what, call) say("%s%s%s", what, *(what) ? " " : "", number(call))

/* What the test passed as `name=value`, such as the address of a Service. */
const char *param(const char *name);
/* A port that only this run binds, the `index`th. */
int own_port(int index);
/* The running case's name, with what keeps the two runs apart. */
const char *tag(void);
/* This program's file. */
extern const char *program;

/* `host` is the name of a parameter or numeric. */
struct address at(const char *host, int port);
struct address mapped(const char *host, int port);
struct address six(const char *text, int port);
struct address unix_path(const char *path);
/* `address:port`; ports that a kernel chose are `port`, a port of ours is `own+index`. */
const char *shown(const void *address, socklen_t length);
const char *local_name(int fd);
const char *peer_name(int fd);
void say_names(int fd);

int tcp(void);
int tcp_nonblocking(void);
int tcp6(void);
int udp(void);
int udp6(void);
int join(int fd, struct address to);
int tie(int fd, struct address to);
/* SO_ERROR by its name. */
const char *pending(int fd);
/* Waits for events and says which there are, such as `IN+HUP`, or `none`. */
const char *events(int fd, short wanted, int milliseconds);
const char *event_names(int events);
/* Sets a boolean or numeric option; reads one. */
int set(int fd, int level, int option, int value);
const char *get(int fd, int level, int option);
void set_timeout(int fd, int option, int milliseconds);

/* A connection to the peer's scripted server, to which `command` was sent (serve.c has them all). */
int peer(const char *command, ...) __attribute__((format(printf, 1, 2)));
/* Begins a connection of a non-blocking socket, and says how it has ended. */
void say_begun(int fd, struct address to);
void say_done(int fd);
/* Sends one datagram. */
long send_text(int fd, const char *text, struct address to);
/* Receives one datagram and says it with its sender. */
void say_received(int fd);
/* How the peer's connection with this case's tag ended. */
const char *report(void);
/* Sends all of it. */
void put(int fd, const char *text);
/* Up to the end of stream, or `text` and the error's name. */
const char *rest(int fd);
/* One line without its end. */
const char *line(int fd);
/* Waits for the end of a child and says how it came. */
void say_child(pid_t child);
/* Sum of bytes that both sides know how to make. */
unsigned char pattern(size_t position);
/* So many of them, allocated. */
unsigned char *made(size_t length);
/* Sends so many of them; how many went. */
size_t pour(int fd, size_t length);

/* Ignores SIGPIPE and counts it. */
void count_sigpipe(void);
extern volatile sig_atomic_t sigpipes;

/* serve.c: the peer. */
int serve(void);
/* process.c: what the program does when it was started by itself. */
int be_child(int argc, char **argv);

#endif
