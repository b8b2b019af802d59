/* The peer: a server in another pod, whose behaviour each client chooses by its first line or datagram. */
#include "conformance.h"

/* How connections ended that the client wants to ask about later. */
struct ending {
    struct ending *next;
    char tag[128];
    char text[128];
};

static struct ending *endings;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;

static void remember(const char *tag, const char *text) {
    struct ending *ending = calloc(1, sizeof *ending);
    snprintf(ending->tag, sizeof ending->tag, "%s", tag);
    snprintf(ending->text, sizeof ending->text, "%s", text);
    pthread_mutex_lock(&lock);
    ending->next = endings;
    endings = ending;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

static const char *recall(const char *tag, int seconds) {
    struct timespec limit;
    clock_gettime(CLOCK_REALTIME, &limit);
    limit.tv_sec += seconds;
    const char *text = NULL;
    pthread_mutex_lock(&lock);
    do {
        for (struct ending *ending = endings; ending && !text; ending = ending->next)
            if (strcmp(ending->tag, tag) == 0)
                text = ending->text;
    } while (!text && pthread_cond_timedwait(&changed, &lock, &limit) == 0);
    pthread_mutex_unlock(&lock);
    return text ? text : "still open";
}

/* Where the peer serves: IPv4, or the IPv6 address that it was told. */
static struct address everywhere(int port) {
    return param("six") ? six(param("six"), port) : at("0.0.0.0", port);
}

/* The client's address and port, which is as it is: the client knows its own. */
static int write_client(char *text, size_t room, const struct address *from) {
    char host[64];
    bool is_six = from->any.sa_family == AF_INET6;
    const void *bytes = is_six ? (const void *)&from->v6.sin6_addr : &from->v4.sin_addr;
    inet_ntop(from->any.sa_family, bytes, host, sizeof host);
    return snprintf(text, room, "%s %d", host, ntohs(is_six ? from->v6.sin6_port : from->v4.sin_port));
}

/* Reads to the end: `N bytes, sum S, end` or an error's name in place of the end. */
static void drain(int fd, char *text, size_t room) {
    unsigned char buffer[65536];
    size_t length = 0;
    unsigned long sum = 0;
    ssize_t got;
    while ((got = recv(fd, buffer, sizeof buffer, 0)) > 0)
        for (ssize_t i = 0; i < got; i++)
            sum += buffer[i] * (++length % 1021);
    snprintf(text, room, "%zu bytes, sum %lu, %s", length, sum, got == 0 ? "end" : error_name(errno));
}

static void reset(int fd) {
    struct linger at_once = {.l_onoff = 1};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
}

static void send_pattern(int fd, size_t length) {
    unsigned char buffer[65536];
    for (size_t sent = 0; sent < length;) {
        size_t part = length - sent < sizeof buffer ? length - sent : sizeof buffer;
        for (size_t i = 0; i < part; i++)
            buffer[i] = pattern(sent + i);
        ssize_t went = send(fd, buffer, part, MSG_NOSIGNAL);
        if (went <= 0)
            return;
        sent += went;
    }
}

static void echo(int fd) {
    char buffer[65536];
    ssize_t got;
    while ((got = recv(fd, buffer, sizeof buffer, 0)) > 0)
        for (ssize_t sent = 0, went; sent < got; sent += went)
            if ((went = send(fd, buffer + sent, got - sent, MSG_NOSIGNAL)) <= 0)
                return;
}

/* Waits until the client has done something, without reading it. */
static void await_client(int fd) {
    struct pollfd wait = {.fd = fd, .events = POLLIN};
    poll(&wait, 1, PATIENCE);
}

static void obey(int fd, const char *verb, const char *word) {
    char text[256];
    if (strcmp(verb, "echo") == 0) {
        echo(fd);
    } else if (strcmp(verb, "who") == 0) {
        struct address from = {.length = sizeof from.storage};
        getpeername(fd, &from.any, &from.length);
        write_client(text, sizeof text, &from);
        dprintf(fd, "%s\n", text);
    } else if (strcmp(verb, "count") == 0) {
        drain(fd, text, sizeof text);
        dprintf(fd, "%s\n", text);
    } else if (strcmp(verb, "sink") == 0) {
        drain(fd, text, sizeof text);
        remember(word, text);
    } else if (strcmp(verb, "say") == 0) {
        send_pattern(fd, atol(word));
    } else if (strcmp(verb, "sayhold") == 0) {
        put(fd, "hello\n");
        drain(fd, text, sizeof text);
        remember(word, text);
    } else if (strcmp(verb, "half") == 0) {
        put(fd, "half\n");
        shutdown(fd, SHUT_WR);
        drain(fd, text, sizeof text);
        remember(word, text);
    } else if (strcmp(verb, "deaf") == 0) {
        /* Reads no more, and does not mind what comes. */
        put(fd, "deaf\n");
        shutdown(fd, SHUT_RD);
        drain(fd, text, sizeof text);
    } else if (strcmp(verb, "reset") == 0) {
        reset(fd);
    } else if (strcmp(verb, "sayreset") == 0) {
        put(fd, "last\n");
        /* Reset only when the client has got it. */
        await_client(fd);
        reset(fd);
    } else if (strcmp(verb, "unread") == 0) {
        /* Closing with something unread makes the kernel reset. */
        put(fd, "ready\n");
        await_client(fd);
    } else if (strcmp(verb, "hold") == 0) {
        struct pollfd wait = {.fd = fd};
        poll(&wait, 1, 30000);
    } else if (strcmp(verb, "slow") == 0) {
        /* Reads only when told to by another connection. */
        recall(word, 30);
        drain(fd, text, sizeof text);
        dprintf(fd, "%s\n", text);
    } else if (strcmp(verb, "go") == 0) {
        remember(word, "went");
    } else if (strcmp(verb, "dribble") == 0) {
        for (const char *c = "dribble"; *c; c++) {
            send(fd, c, 1, MSG_NOSIGNAL);
            char one;
            struct pollfd wait = {.fd = fd, .events = POLLIN};
            if (poll(&wait, 1, 20) > 0 && recv(fd, &one, 1, MSG_DONTWAIT) == 0)
                return;
        }
    } else if (strcmp(verb, "urgent") == 0) {
        put(fd, "a");
        send(fd, "b", 1, MSG_OOB | MSG_NOSIGNAL);
        put(fd, "c");
        drain(fd, text, sizeof text);
    } else if (strcmp(verb, "report") == 0) {
        dprintf(fd, "%s\n", recall(word, 4));
    }
}

static void *converse(void *argument) {
    int fd = (int)(intptr_t)argument;
    char text[256] = "", verb[32] = "", word[192] = "";
    for (size_t length = 0; length < sizeof text - 1; length++)
        if (recv(fd, text + length, 1, 0) != 1 || text[length] == '\n')
            break;
    sscanf(text, "%31s %191s", verb, word);
    obey(fd, verb, word);
    close(fd);
    return NULL;
}

static void reply(int fd, const void *data, size_t length, const struct address *to) {
    sendto(fd, data, length, 0, &to->any, to->length);
}

static void *answer_datagrams(void *argument) {
    static char data[70000];
    struct address usual = everywhere(PEER_UDP), second = everywhere(PEER_UDP_OTHER);
    int fd = socket(usual.any.sa_family, SOCK_DGRAM, 0), other = socket(usual.any.sa_family, SOCK_DGRAM, 0);
    (void)argument;
    if (tie(fd, usual) != 0 || tie(other, second) != 0)
        abort();
    for (;;) {
        struct address from = {.length = sizeof from.storage};
        ssize_t got = recvfrom(fd, data, sizeof data - 1, 0, &from.any, &from.length);
        if (got < 0)
            continue;
        data[got] = '\0';
        char text[128];
        if (strncmp(data, "who", 3) == 0) {
            reply(fd, text, write_client(text, sizeof text, &from), &from);
        } else if (strncmp(data, "other", 5) == 0) {
            reply(other, "from another port", 17, &from);
        } else if (strncmp(data, "twice", 5) == 0) {
            reply(fd, "one", 3, &from);
            reply(other, "two", 3, &from);
        } else if (strncmp(data, "zero", 4) == 0) {
            reply(fd, "", 0, &from);
        } else if (strncmp(data, "size", 4) == 0) {
            unsigned long sum = 0;
            for (ssize_t i = 0; i < got; i++)
                sum += (unsigned char)data[i] * ((i + 1) % 1021);
            reply(fd, text, snprintf(text, sizeof text, "%zd bytes, sum %lu", got, sum), &from);
        } else if (strncmp(data, "big ", 4) == 0) {
            size_t length = atol(data + 4);
            for (size_t i = 0; i < length && i < sizeof data; i++)
                data[i] = pattern(i);
            reply(fd, data, length, &from);
        } else if (strncmp(data, "silent", 6) != 0) {
            reply(fd, data, got, &from);
        }
    }
}

/* The server ends with whoever started it: his end of standard input is closed then. */
static void *await_end(void *argument) {
    char bytes[64];
    (void)argument;
    while (read(STDIN_FILENO, bytes, sizeof bytes) > 0)
        ;
    exit(0);
}

int serve(void) {
    struct address here = everywhere(PEER_TCP);
    int listener = socket(here.any.sa_family, SOCK_STREAM, 0);
    pthread_t thread;
    pthread_attr_t small;
    signal(SIGPIPE, SIG_IGN);
    set(listener, SOL_SOCKET, SO_REUSEADDR, 1);
    if (tie(listener, here) != 0 || listen(listener, 512) != 0)
        abort();
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 512 * 1024);
    pthread_attr_setdetachstate(&small, PTHREAD_CREATE_DETACHED);
    pthread_create(&thread, &small, answer_datagrams, NULL);
    pthread_create(&thread, &small, await_end, NULL);
    say("ready\n");
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (fd >= 0)
            pthread_create(&thread, &small, converse, (void *)(intptr_t)fd);
    }
}
