/* Carries out a list of operations on datagrams, one word each with its arguments, and prints what came of
 * them. Numbers after `=` are errno values, 0 for success; `dirty` is a success that changed errno. After the
 * word `raw`, calls are made through `syscall`. */
#include <arpa/inet.h>
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#define UNUSUAL 117
#define MOST 1024

ssize_t __recvfrom_chk(int, void *, size_t, size_t, int, struct sockaddr *, socklen_t *);

static int fd = -1, raw;
static struct sockaddr_storage far;
static socklen_t far_length;
static char text[70000];

static void address(const char *ip, int port) {
    struct sockaddr_in *v4 = (void *)&far;
    struct sockaddr_in6 *v6 = (void *)&far;
    memset(&far, 0, sizeof far);
    if (inet_pton(AF_INET, ip, &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons(port);
        far_length = sizeof *v4;
    } else if (inet_pton(AF_INET6, ip, &v6->sin6_addr) == 1) {
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons(port);
        far_length = sizeof *v6;
    } else exit(99);
}

static void show_name(const void *name, socklen_t length) {
    char ip[INET6_ADDRSTRLEN];
    const struct sockaddr_in *v4 = name;
    const struct sockaddr_in6 *v6 = name;
    if (length == 0) printf("-");
    else if (v4->sin_family == AF_INET) printf("%s:%d/%u", inet_ntop(AF_INET, &v4->sin_addr, ip, sizeof ip), ntohs(v4->sin_port), length);
    else if (v4->sin_family == AF_INET6) printf("[%s]:%d/%u", inet_ntop(AF_INET6, &v6->sin6_addr, ip, sizeof ip), ntohs(v6->sin6_port), length);
    else printf("family %d/%u", v4->sin_family, length);
}

static void show(const char *what, long result) {
    if (result >= 0 && errno != UNUSUAL) printf("dirty ");
    printf("%s=%d\n", what, result < 0 ? errno : 0);
}

/* Where the parts of a message are. */
struct message {
    struct iovec data;
    struct sockaddr_storage name;
    char control[256];
};

static void prepare(struct msghdr *header, struct message *message, char *data, size_t length) {
    memset(header, 0, sizeof *header);
    message->data = (struct iovec){data, length};
    header->msg_iov = &message->data;
    header->msg_iovlen = 1;
    header->msg_name = &message->name;
    header->msg_namelen = sizeof message->name;
}

static void show_received(const char *what, long result, const char *data, const void *name, socklen_t length) {
    if (result < 0) {
        show(what, result);
        return;
    }
    if (errno != UNUSUAL) printf("dirty ");
    printf("%s=%.*s ", what, result > 20 ? 20 : (int)result, data);
    show_name(name, length);
    printf("\n");
}

static ssize_t do_sendto(const void *data, size_t length, int flags) {
    errno = UNUSUAL;
    if (raw) return syscall(SYS_sendto, fd, data, length, flags, &far, far_length);
    return sendto(fd, data, length, flags, (void *)&far, far_length);
}

static ssize_t do_recvfrom(void *data, size_t length, int flags, void *name, socklen_t *name_length) {
    errno = UNUSUAL;
    if (raw) return syscall(SYS_recvfrom, fd, data, length, flags, name, name_length);
    return recvfrom(fd, data, length, flags, name, name_length);
}

static ssize_t do_recvmsg(struct msghdr *header, int flags) {
    errno = UNUSUAL;
    return raw ? syscall(SYS_recvmsg, fd, header, flags) : recvmsg(fd, header, flags);
}

static ssize_t do_sendmsg(struct msghdr *header, int flags) {
    errno = UNUSUAL;
    return raw ? syscall(SYS_sendmsg, fd, header, flags) : sendmsg(fd, header, flags);
}

static void receive(const char *what, int flags, size_t size, socklen_t room) {
    unsigned char name[128];
    memset(name, 0xee, sizeof name);
    socklen_t length = room;
    ssize_t got = do_recvfrom(text, size, flags, name, &length);
    if (room >= 16) show_received(what, got, text, name, length);
    else {
        if (errno != UNUSUAL) printf("dirty ");
        printf("%s=%zd length=%u name=", what, got, length);
        for (int i = 0; i < 10; i++) printf("%02x", name[i]);
        printf("\n");
    }
}

static void receive_message(const char *what, int flags, socklen_t room) {
    struct message message;
    struct msghdr header;
    prepare(&header, &message, text, sizeof text);
    memset(&message.name, 0xee, sizeof message.name);
    header.msg_namelen = room;
    ssize_t got = do_recvmsg(&header, flags);
    if (room >= 16) show_received(what, got, text, header.msg_name, header.msg_namelen);
    else printf("%s=%zd length=%u port=%d rest=%x\n", what, got, header.msg_namelen, ntohs(((struct sockaddr_in *)header.msg_name)->sin_port), ((unsigned char *)header.msg_name)[room]);
}

/* Sends `count` messages to ports from `port` on, two each. */
static void send_many(const char *ip, int port, int count) {
    static struct mmsghdr headers[MOST];
    static struct message messages[MOST];
    static char data[MOST][8];
    for (int i = 0; i < count; i++) {
        prepare(&headers[i].msg_hdr, &messages[i], data[i], sprintf(data[i], "m%d", i));
        address(ip, port + i / 2);
        memcpy(&messages[i].name, &far, sizeof far);
        headers[i].msg_hdr.msg_namelen = far_length;
        headers[i].msg_len = 7777;
    }
    errno = UNUSUAL;
    int sent = raw ? syscall(SYS_sendmmsg, fd, headers, count, 0) : sendmmsg(fd, headers, count, 0), wrong = 0;
    if (sent < 0) {
        show("sendmmsg", -1);
        return;
    }
    if (errno != UNUSUAL) printf("dirty ");
    for (int i = 0; i < count; i++) wrong += headers[i].msg_len != (i < sent ? strlen(data[i]) : 7777);
    printf("sendmmsg=%d wrong=%d\n", sent, wrong);
}

static void receive_many(int count, socklen_t room, int wait) {
    static struct mmsghdr headers[MOST];
    static struct message messages[MOST];
    static char data[MOST][8];
    for (int i = 0; i < count; i++) {
        prepare(&headers[i].msg_hdr, &messages[i], data[i], sizeof data[i]);
        headers[i].msg_hdr.msg_namelen = room;
        memset(&messages[i].name, 0xee, sizeof messages[i].name);
    }
    struct timespec limit = {5, 0};
    errno = UNUSUAL;
    int flags = wait ? 0 : MSG_WAITFORONE;
    int got = raw ? syscall(SYS_recvmmsg, fd, headers, count, flags, &limit) : recvmmsg(fd, headers, count, flags, &limit);
    if (got < 0) {
        show("recvmmsg", -1);
        return;
    }
    if (errno != UNUSUAL) printf("dirty ");
    printf("recvmmsg=%d", got);
    for (int i = 0; i < got; i++) {
        struct sockaddr_in *name = headers[i].msg_hdr.msg_name;
        printf(" %.*s@%d/%u", headers[i].msg_len, data[i], ntohs(name->sin_port), headers[i].msg_hdr.msg_namelen);
    }
    printf("\n");
}

/* Answers the sender with the control data that came, as QUIC libraries do. */
static void echo_with_source(int v6) {
    int one = 1;
    setsockopt(fd, v6 ? IPPROTO_IPV6 : IPPROTO_IP, v6 ? IPV6_RECVPKTINFO : IP_PKTINFO, &one, sizeof one);
    do_sendto("first", 5, 0);
    struct message message;
    struct msghdr header;
    prepare(&header, &message, text, sizeof text);
    header.msg_control = message.control;
    header.msg_controllen = sizeof message.control;
    ssize_t got = do_recvmsg(&header, 0);
    show_received("recvmsg", got, text, header.msg_name, header.msg_namelen);
    struct cmsghdr *control = CMSG_FIRSTHDR(&header);
    int found = control && control->cmsg_type == (v6 ? IPV6_PKTINFO : IP_PKTINFO);
    message.data.iov_len = got;
    show("echo", do_sendmsg(&header, 0));
    if (found && !v6) {
        /* The pod's own address, which this machine does not have. */
        struct in_pktinfo *info = (void *)CMSG_DATA(control);
        info->ipi_ifindex = 0;
        inet_pton(AF_INET, "10.244.0.9", &info->ipi_spec_dst);
        show("from the pod", do_sendmsg(&header, 0));
    }
    printf("source=%d\n", found);
}

static void big(size_t size) {
    static char sent[70000];
    for (size_t i = 0; i < size; i++) sent[i] = i * 7;
    ssize_t went = do_sendto(sent, size, 0);
    if (went < 0) {
        show("big", -1);
        return;
    }
    ssize_t got = recv(fd, text, sizeof text, 0);
    printf("big=%zd equal=%d\n", got, got == (ssize_t)size && !memcmp(sent, text, size));
}

/* Many peers on one socket, each asked twice. */
static void fill(int count) {
    int wrong = 0;
    for (int i = 0; i < 2 * count; i++) {
        char data[16];
        struct sockaddr_in name;
        socklen_t length = sizeof name;
        address("10.0.0.5", 1000 + i % count);
        int size = sprintf(data, "n%d", i);
        do_sendto(data, size, 0);
        ssize_t got = do_recvfrom(text, sizeof text, 0, &name, &length);
        wrong += got != size || memcmp(text, data, size) || ntohs(name.sin_port) != 1000 + i % count;
    }
    printf("wrong=%d\n", wrong);
}

static void *talk(void *number) {
    int own = socket(AF_INET, SOCK_DGRAM, 0);
    long wrong = 0;
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x0a000005)}, from;
    for (int i = 0; i < 200; i++) {
        char data[32];
        socklen_t length = sizeof from;
        to.sin_port = htons(2000 + (i % 5));
        int size = sprintf(data, "%p-%d", number, i);
        sendto(own, data, size, 0, (void *)&to, sizeof to);
        char got[64];
        ssize_t received = recvfrom(own, got, sizeof got, 0, (void *)&from, &length);
        wrong += received != size || memcmp(got, data, size) || from.sin_port != to.sin_port;
    }
    close(own);
    return (void *)wrong;
}

static void threads(int count) {
    pthread_t list[64];
    long wrong = 0;
    for (long i = 0; i < count; i++) pthread_create(&list[i], NULL, talk, (void *)i);
    for (int i = 0; i < count; i++) {
        void *some;
        pthread_join(list[i], &some);
        wrong += (long)some;
    }
    printf("wrong=%ld\n", wrong);
}

static volatile sig_atomic_t handled, refused;

static void on_signal(int number) {
    (void)number;
    int before = errno;
    refused += sendto(fd, "signal", 6, 0, (void *)&far, far_length) < 0;
    handled++;
    errno = before;
}

/* A handler sends inside malloc, and inside sending. */
static void handler(void) {
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    struct itimerval timer = {{0, 300}, {0, 300}}, none = {{0, 0}, {0, 0}};
    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &timer, NULL);
    int wrong = 0;
    while (handled < 500) {
        void *some[16];
        for (int i = 0; i < 16; i++) some[i] = malloc(i * 37 + 1);
        for (int i = 0; i < 16; i++) free(some[i]);
        wrong += sendto(fd, "main", 4, 0, (void *)&far, far_length) != 4;
        while (recv(fd, text, sizeof text, MSG_DONTWAIT) > 0) continue;
    }
    setitimer(ITIMER_REAL, &none, NULL);
    printf("wrong=%d refused=%d\n", wrong, (int)refused);
}

static void bad(void) {
    char *page = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    mprotect(page + 4096, 4096, PROT_NONE);
    void *places[] = {NULL, (void *)8, page + 4096, page + 4096 - 8};
    struct sockaddr_in name;
    socklen_t length = sizeof name;
    for (int i = 1; i < 4; i++) {
        struct msghdr header = {.msg_name = places[i], .msg_namelen = 16};
        printf("%d %d %d %d ", sendto(fd, "x", 1, 0, places[i], 16) < 0 ? errno : 0, sendmsg(fd, places[i], 0) < 0 ? errno : 0,
               sendmsg(fd, &header, 0) < 0 ? errno : 0, sendmmsg(fd, places[i], 2, 0) < 0 ? errno : 0);
        printf("%d %d\n", recvmsg(fd, places[i], MSG_DONTWAIT) < 0 ? errno : 0, recvmmsg(fd, places[i], 2, MSG_DONTWAIT, NULL) < 0 ? errno : 0);
    }
    for (int i = 0; i < 4; i++) {
        do_sendto("back", 4, 0);
        struct pollfd entry = {fd, POLLIN, 0};
        poll(&entry, 1, 5000);
        length = sizeof name;
        void *to = i < 2 ? (void *)&name : places[i];
        long got = recvfrom(fd, text, sizeof text, MSG_DONTWAIT, to, i < 2 ? places[i] : &length);
        printf("%ld/%d ", got, got < 0 ? errno : 0);
    }
    printf("\nsmall=%d closed=%d file=%d\n", sendto(fd, "x", 1, 0, (void *)&far, 8) < 0 ? errno : 0,
           sendto(-1, "x", 1, 0, (void *)&far, far_length) < 0 ? errno : 0, sendto(1, "x", 1, 0, (void *)&far, far_length) < 0 ? errno : 0);
}

static int count_fds(void) {
    int count = 0;
    DIR *list = opendir("/proc/self/fd");
    while (readdir(list)) count++;
    closedir(list);
    return count - 3;
}

static void *wait_in(void *what) {
    struct sockaddr_in silent = {.sin_family = AF_INET, .sin_port = htons(7), .sin_addr.s_addr = htonl(0x0a000005)}, name;
    socklen_t length = sizeof name;
    struct iovec data = {"x", 1};
    struct mmsghdr message = {.msg_hdr = {&silent, sizeof silent, &data, 1}};
    switch (*(int *)what) {
    case 0: sendto(fd, "x", 1, 0, (void *)&silent, sizeof silent); break;
    case 1: sendmsg(fd, &message.msg_hdr, 0); break;
    case 2: sendmmsg(fd, &message, 1, 0); break;
    case 3: connect(fd, (void *)&silent, sizeof silent); break;
    case 4: recvfrom(fd, text, 1, 0, (void *)&name, &length); break;
    case 5: recvmsg(fd, &message.msg_hdr, 0); break;
    case 6: recvmmsg(fd, &message, 1, 0, NULL); break;
    case 7: message.msg_hdr.msg_namelen = 5, recvmsg(fd, &message.msg_hdr, 0); break;
    }
    return NULL;
}

/* Threads are cancelled while they wait for the host (0 to 3) or for a datagram. */
static void cancel(void) {
    int before = count_fds(), wrong = 0;
    for (int i = 0; i < 80; i++) {
        int what = i % 8;
        pthread_t thread;
        void *result;
        pthread_create(&thread, NULL, wait_in, &what);
        while (what < 4 && count_fds() == before) sched_yield();
        pthread_cancel(thread);
        pthread_join(thread, &result);
        wrong += result != PTHREAD_CANCELED;
    }
    printf("wrong=%d left=%d\n", wrong, count_fds() - before);
}

static void in_child(void) {
    pid_t child = fork();
    if (child == 0) {
        receive("child", 0, sizeof text, 128);
        do_sendto("again", 5, 0);
        _exit(0);
    }
    waitpid(child, NULL, 0);
}

static void name(const char *what, int (*call)(int, struct sockaddr *, socklen_t *)) {
    struct sockaddr_storage own;
    socklen_t length = sizeof own;
    errno = UNUSUAL;
    if (call(fd, (void *)&own, &length) < 0) {
        show(what, -1);
        return;
    }
    if (errno != UNUSUAL) printf("dirty ");
    printf("%s=", what);
    show_name(&own, length);
    printf("\n");
}

/* Whether the port that this machine's kernel knows is the same as at the last time. */
static void same_port(void) {
    static int last = -1;
    struct sockaddr_in own;
    socklen_t length = sizeof own;
    int (*unhooked)(int, void *, socklen_t *) = dlsym(dlopen("libc.so.6", RTLD_NOW), "getsockname");
    unhooked(fd, &own, &length);
    int port = ntohs(own.sin_port);
    printf("bound=%d same=%d\n", port != 0, port == last);
    last = port;
}

static int step(char **word) {
    const char *op = word[0];
    int one = 1;
    errno = UNUSUAL;
    if (!strcmp(op, "udp4")) fd = socket(AF_INET, SOCK_DGRAM, 0);
    else if (!strcmp(op, "udp6")) fd = socket(AF_INET6, SOCK_DGRAM, 0);
    else if (!strcmp(op, "ping")) fd = socket(AF_INET, SOCK_DGRAM, IPPROTO_ICMP);
    else if (!strcmp(op, "raw")) raw = 1;
    else if (!strcmp(op, "nonblock")) fcntl(fd, F_SETFL, O_NONBLOCK);
    else if (!strcmp(op, "v6only")) setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one);
    else if (!strcmp(op, "noport")) setsockopt(fd, IPPROTO_IP, 24, &one, sizeof one);
    else if (!strcmp(op, "closeall")) close_range(fd + 1, ~0U, 0);
    else if (!strcmp(op, "recvfrom")) receive("recvfrom", 0, sizeof text, 128);
    else if (!strcmp(op, "recv4")) receive("recvfrom", 0, sizeof text, 16);
    else if (!strcmp(op, "peek")) receive("peek", MSG_PEEK, sizeof text, 128);
    else if (!strcmp(op, "trunc")) receive("trunc", MSG_TRUNC, 2, 128);
    else if (!strcmp(op, "cut")) receive("cut", 0, sizeof text, 6);
    else if (!strcmp(op, "none")) receive("none", 0, sizeof text, 0);
    else if (!strcmp(op, "nameless")) printf("nameless=%zd\n", do_recvfrom(text, sizeof text, 0, NULL, NULL));
    else if (!strcmp(op, "recv")) show("recv", recv(fd, text, sizeof text, 0));
    else if (!strcmp(op, "recvmsg")) receive_message("recvmsg", 0, 128);
    else if (!strcmp(op, "cutmsg")) receive_message("cutmsg", 0, 5);
    else if (!strcmp(op, "errqueue")) receive_message("errqueue", MSG_ERRQUEUE, 128);
    else if (!strcmp(op, "chk")) {
        struct sockaddr_storage from;
        socklen_t length = sizeof from;
        ssize_t got = __recvfrom_chk(fd, text, 100, sizeof text, 0, (void *)&from, &length);
        show_received("chk", got, text, &from, length);
    } else if (!strcmp(op, "names")) name("local", getsockname), name("peer", getpeername);
    else if (!strcmp(op, "port")) same_port();
    else if (!strcmp(op, "bad")) bad();
    else if (!strcmp(op, "child")) in_child();
    else if (!strcmp(op, "cancel")) cancel();
    else if (!strcmp(op, "handler")) handler();
    else if (!strcmp(op, "source4")) echo_with_source(0);
    else if (!strcmp(op, "source6")) echo_with_source(1);
    else if (!strcmp(op, "disconnect")) {
        struct sockaddr nowhere = {.sa_family = AF_UNSPEC};
        show("disconnect", connect(fd, &nowhere, sizeof nowhere));
    } else if (!strcmp(op, "empty")) show("empty", do_sendto("", 0, 0));
    else if (!strcmp(op, "recverr")) setsockopt(fd, IPPROTO_IP, IP_RECVERR, &one, sizeof one);
    else if (!strcmp(op, "send")) return show("send", send(fd, word[1], strlen(word[1]), 0)), 2;
    else if (!strcmp(op, "big")) return big(atoi(word[1])), 2;
    else if (!strcmp(op, "fill")) return fill(atoi(word[1])), 2;
    else if (!strcmp(op, "threads")) return threads(atoi(word[1])), 2;
    else if (!strcmp(op, "recvmmsg")) return receive_many(atoi(word[1]), 128, 1), 2;
    else if (!strcmp(op, "cutmmsg")) return receive_many(atoi(word[1]), 5, 0), 2;
    else if (!strcmp(op, "to")) return address(word[1], atoi(word[2])), 3;
    else if (!strcmp(op, "connect")) {
        address(word[1], atoi(word[2]));
        show("connect", connect(fd, (void *)&far, far_length));
        return 3;
    } else if (!strcmp(op, "bind")) {
        address(word[1], atoi(word[2]));
        show("bind", bind(fd, (void *)&far, far_length));
        return 3;
    } else if (!strcmp(op, "sendto")) {
        address(word[1], atoi(word[2]));
        show("sendto", do_sendto(word[3], strlen(word[3]), 0));
        return 4;
    } else if (!strcmp(op, "unspecified")) {
        /* As sendto, with an address that says no family. */
        address(word[1], atoi(word[2]));
        far.ss_family = AF_UNSPEC;
        show("unspecified", do_sendto(word[3], strlen(word[3]), 0));
        return 4;
    } else if (!strcmp(op, "sendmsg")) {
        struct msghdr header;
        struct message message;
        address(word[1], atoi(word[2]));
        prepare(&header, &message, word[3], strlen(word[3]));
        memcpy(&message.name, &far, sizeof far);
        header.msg_namelen = far_length;
        show("sendmsg", do_sendmsg(&header, 0));
        return 4;
    } else if (!strcmp(op, "sendmmsg")) return send_many(word[1], atoi(word[2]), atoi(word[3])), 4;
    else exit(98);
    return 1;
}

int main(int count, char **words) {
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (int at = 1; at < count;) at += step(words + at);
    return 0;
}
