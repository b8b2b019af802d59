/* Programs that are rude to a library inside them, one per word. Remote addresses: port 80 is served, port 1
 * is refused, port 7 never answers. A line with `bad` is a failure. */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <netdb.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int count_fds(void) {
    int count = 0;
    DIR *list = opendir("/proc/self/fd");
    while (readdir(list)) count++;
    closedir(list);
    return count - 3;
}

static int dial_on(int fd, int port) {
    struct sockaddr_in far = {.sin_family = AF_INET, .sin_port = htons(port)};
    far.sin_addr.s_addr = htonl(0x0a000005);
    return connect(fd, (void *)&far, sizeof far) < 0 ? errno : 0;
}

static int dial(int port) {
    int fd = socket(AF_INET, SOCK_STREAM, 0), error = dial_on(fd, port);
    close(fd);
    return error;
}

static int look_up(const char *name) {
    struct addrinfo *list = NULL;
    int code = getaddrinfo(name, "80", NULL, &list);
    if (!code) freeaddrinfo(list);
    return code;
}

static void peer(int fd) {
    struct sockaddr_in far = {0};
    socklen_t length = sizeof far;
    int result = getpeername(fd, (void *)&far, &length);
    printf("peer=%d %s\n", result, inet_ntoa(far.sin_addr));
}

static void report(void) { printf("served=%d refused=%d name=%d\n", dial(80), dial(1), look_up("api")); }

/* Nothing of the library may be found, or appear, on the standard numbers. */
static void standard(void) {
    FILE *out = fdopen(dup(1), "w");
    int user = socket(AF_INET, SOCK_STREAM, 0);
    close(0), close(1), close(2);
    int error = dial_on(user, 80), code = look_up("api");
    struct sockaddr_in far;
    socklen_t length = sizeof far;
    getpeername(user, (void *)&far, &length);
    int first = open("/dev/null", O_RDONLY), second = open("/dev/null", O_RDONLY);
    fprintf(out, "connect=%d name=%d fds=%d,%d peer=%s\n", error, code, first, second, inet_ntoa(far.sin_addr));
    fclose(out);
}

static void closed(void) {
    for (int i = 0; i < 3; i++) {
        close_range(3, ~0U, 0);
        report();
    }
}

static void *dial_silent(void *result) {
    *(int *)result = dial_on(3, 7);
    return NULL;
}

/* While a request waits, its number is closed (`range`) or taken over (`dup`): both must stay the program's. */
static void taken(const char *how) {
    close_range(3, ~0U, 0);
    int error = -1, next = 4;
    char go;
    pthread_t thread;
    if (socket(AF_INET, SOCK_STREAM, 0) != 3) exit(95);
    pthread_create(&thread, NULL, dial_silent, &error);
    if (read(0, &go, 1) != 1) exit(96);
    if (!strcmp(how, "range")) close_range(4, ~0U, 0);
    for (; next < 20; next++) {
        if (!strcmp(how, "range") && open("/dev/null", O_RDONLY) != next) printf("bad number\n");
        if (strcmp(how, "range") && dup2(0, next) != next) printf("bad number\n");
    }
    printf("taken\n");
    fflush(stdout);
    pthread_join(thread, NULL);
    for (int fd = 4; fd < 20; fd++)
        if (fcntl(fd, F_GETFD) < 0) printf("bad: %d was closed\n", fd);
    printf("connect=%d\n", error);
}

static void *fork_often(void *failures) {
    for (int i = 0; i < 25; i++) {
        pid_t child = fork();
        if (child == 0) _exit(dial(80) || dial(1) != ECONNREFUSED || look_up("api"));
        int status = -1;
        waitpid(child, &status, 0);
        if (status || dial(80) || look_up("api")) __sync_fetch_and_add((int *)failures, 1);
    }
    return NULL;
}

static void forks(void) {
    pthread_t threads[8];
    int failures = 0;
    for (int i = 0; i < 8; i++) pthread_create(&threads[i], NULL, fork_often, &failures);
    for (int i = 0; i < 8; i++) pthread_join(threads[i], NULL);
    printf("failures=%d\n", failures);
}

static void full(const char *how) {
    struct rlimit limit = {64, strcmp(how, "hard") ? 128 : 64}, after;
    setrlimit(RLIMIT_NOFILE, &limit);
    int user = socket(AF_INET, SOCK_STREAM, 0);
    while (dup(1) >= 0) continue;
    int error = dial_on(user, 80), code = look_up("api"), last = errno;
    getrlimit(RLIMIT_NOFILE, &after);
    printf("connect=%d name=%d/%d limit=%d fds=%d\n", error, code, code == EAI_SYSTEM ? last : 0, (int)after.rlim_cur,
           dup(1));
    if (!error) peer(user);
}

static sigjmp_buf back;
static volatile sig_atomic_t handled, nested_error = -1;

static void jump(int number) { siglongjmp(back, number); }

static void nested(int number) {
    (void)number;
    nested_error = dial(1);
    handled++;
}

static void handle(int number, void (*handler)(int), int flags) {
    struct sigaction action = {.sa_handler = handler, .sa_flags = flags};
    sigaction(number, &action, NULL);
}

static void timer(long first, long interval) {
    struct itimerval when = {{0, interval}, {0, first}};
    setitimer(ITIMER_REAL, &when, NULL);
}

static void use_alternate_stack(void) {
    stack_t stack = {.ss_sp = malloc(65536), .ss_size = 65536};
    sigaltstack(&stack, NULL);
}

static void jumps(int flags) {
    int user = socket(AF_INET, SOCK_STREAM, 0), before = count_fds(), most = 0;
    if (flags & SA_ONSTACK) use_alternate_stack();
    handle(SIGALRM, jump, flags);
    for (volatile int i = 0; i < 1000; i++) {
        if (!sigsetjmp(back, 1)) {
            timer(500, 0);
            dial_on(user, 7);
            printf("bad: came back\n");
        } else if (i % 100 == 0 && count_fds() - before > most) most = count_fds() - before;
    }
    int served = dial(80), left = count_fds() - before;
    printf("served=%d most=%d left=%d\n", served, most, left);
}

/* A handler asks too while a request waits, which must survive that. */
static void handlers(int flags) {
    if (flags & SA_ONSTACK) use_alternate_stack();
    handle(SIGALRM, nested, SA_RESTART | flags);
    timer(20000, 20000);
    int error = dial(9);
    timer(0, 0);
    printf("connect=%d nested=%d handled=%d\n", error, nested_error, handled > 0);
}

/* The next alarm is set by the last: where a handler takes longer than its interval, nothing else would ever run. */
static void nested_again(int number) {
    nested(number);
    if (handled < 500) timer(300, 0);
}

/* Handlers run inside malloc. */
static void inside_malloc(void) {
    handle(SIGALRM, nested_again, SA_RESTART);
    timer(300, 0);
    while (handled < 500) {
        void *some[64];
        for (int i = 0; i < 64; i++) some[i] = malloc(i * 37 + 1);
        for (int i = 0; i < 64; i++) free(some[i]);
    }
    printf("nested=%d\n", nested_error);
}

static void *wait_in(void *what) {
    int number = *(int *)what;
    if (number < 0) look_up("silent");
    else dial_on(number, 7);
    return NULL;
}

static void cancels(void) {
    int user = socket(AF_INET, SOCK_STREAM, 0), before = count_fds(), wrong = 0;
    for (int i = 0; i < 100; i++) {
        int what = i % 2 ? user : -1;
        pthread_t thread;
        void *result;
        pthread_create(&thread, NULL, wait_in, &what);
        while (count_fds() == before) sched_yield();
        pthread_cancel(thread);
        pthread_join(thread, &result);
        wrong += result != PTHREAD_CANCELED;
    }
    printf("wrong=%d served=%d left=%d\n", wrong, dial(80), count_fds() - before);
}

static void *dial_one(void *port) { return (void *)(long)dial(*(int *)port); }

static void many(void) {
    static int ports[64] = {7};
    pthread_t threads[64];
    long wrong = 0;
    for (int i = 0; i < 64; i++) {
        if (i) ports[i] = 80;
        pthread_create(&threads[i], NULL, dial_one, &ports[i]);
    }
    for (int i = 1; i < 64; i++) {
        void *error;
        pthread_join(threads[i], &error);
        wrong += error != NULL;
    }
    printf("wrong=%ld\n", wrong);
    exit(0);
}

static long resident(void) {
    long size = 0, pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (fscanf(file, "%ld %ld", &size, &pages) != 2) exit(97);
    fclose(file);
    return pages * 4;
}

static void bounded(void) {
    struct sockaddr_in own;
    struct sockaddr_in near = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof own;
    int user = socket(AF_INET, SOCK_STREAM, 0);
    for (int i = 0; i < 100; i++) dial_on(user, 1), look_up("api");
    long memory = resident();
    int before = count_fds();
    for (int i = 0; i < 100000; i++) {
        connect(user, (void *)&near, sizeof near);
        getsockname(user, (void *)&own, &length);
        if (i % 25 == 0) dial_on(user, 1), look_up("api"), gethostbyname("api");
    }
    printf("fds=%d memory=%s\n", count_fds() - before, resident() - memory < 512 ? "flat" : "bad");
}

static void drop_rights(const char *root) {
    int user = socket(AF_INET, SOCK_STREAM, 0);
    if (chroot(root) || chdir("/") || setgroups(0, NULL) || setgid(65534) || setuid(65534)) exit(94);
    printf("connect=%d name=%d\n", dial_on(user, 80), look_up("api"));
    peer(user);
}

static void fault(void) {
    int user = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    errno = 0;
    int error = dial_on(user, 80);
    printf("connect=%d name=%d\n", error, look_up("api"));
}

/* The least of many batches: what disturbs the others is not the call's. */
/* All of the calls are for figures; whether anybody is asked a few of them tell. */
#define PER_CALL(what, calls, call) \
    do { \
        struct timespec from, to; \
        long count = getenv("BENCH") ? calls : calls / 1000 + 1, best = 1000000000, batches = count / 1000 + 1; \
        for (int batch = 0; batch < batches; batch++) { \
            clock_gettime(CLOCK_MONOTONIC, &from); \
            for (int i = 0; i < count / batches; i++) call; \
            clock_gettime(CLOCK_MONOTONIC, &to); \
            long each = ((to.tv_sec - from.tv_sec) * 1000000000 + to.tv_nsec - from.tv_nsec) / (count / batches); \
            if (each < best) best = each; \
        } \
        printf("%s %ld ns\n", what, best); \
    } while (0)

static void bench(int local_only) {
    struct sockaddr_in own, near = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof own;
    int udp = socket(AF_INET, SOCK_DGRAM, 0), tcp = socket(AF_INET, SOCK_STREAM, 0), served;
    near.sin_port = htons(9);
    PER_CALL("connect of a bad descriptor", 1000000, connect(-1, (void *)&near, sizeof near));
    PER_CALL("connect of UDP to loopback", 300000, connect(udp, (void *)&near, sizeof near));
    PER_CALL("getpeername of UDP", 1000000, getpeername(udp, (void *)&own, &length));
    PER_CALL("getsockname of TCP", 1000000, getsockname(tcp, (void *)&own, &length));
    PER_CALL("sendto of a bad descriptor", 1000000, sendto(-1, "", 1, 0, (void *)&near, sizeof near));
    PER_CALL("sendto of UDP to loopback", 300000, sendto(udp, "", 1, 0, (void *)&near, sizeof near));
    PER_CALL("recvfrom of UDP, empty", 1000000, recvfrom(udp, &own, 1, MSG_DONTWAIT, (void *)&own, &length));
    PER_CALL("recvfrom of a bad descriptor", 1000000, recvfrom(-1, &own, 1, 0, (void *)&own, &length));
    PER_CALL("getppid by number", 1000000, syscall(SYS_getppid));
    if (local_only) return;
    PER_CALL("remote connect, refused", 300, dial_on(tcp, 1));
    served = socket(AF_INET, SOCK_STREAM, 0);
    if (dial_on(served, 80) == 0) PER_CALL("getpeername of a session's socket", 300, getpeername(served, (void *)&own, &length));
    PER_CALL("getaddrinfo", 300, look_up("api"));
}

int main(int count, char **word) {
    setvbuf(stdout, NULL, _IOLBF, 0);
    const char *what = count > 1 ? word[1] : "", *more = count > 2 ? word[2] : "";
    if (!strcmp(what, "standard")) standard();
    else if (!strcmp(what, "closed")) closed();
    else if (!strcmp(what, "taken")) taken(more);
    else if (!strcmp(what, "forks")) forks();
    else if (!strcmp(what, "full")) full(more);
    else if (!strcmp(what, "jumps")) jumps(strcmp(more, "alternate") ? 0 : SA_ONSTACK);
    else if (!strcmp(what, "handlers")) handlers(strcmp(more, "alternate") ? 0 : SA_ONSTACK);
    else if (!strcmp(what, "malloc")) inside_malloc();
    else if (!strcmp(what, "cancels")) cancels();
    else if (!strcmp(what, "many")) many();
    else if (!strcmp(what, "bounded")) bounded();
    else if (!strcmp(what, "chroot")) drop_rights(more);
    else if (!strcmp(what, "fault")) fault();
    else if (!strcmp(what, "bench")) bench(!strcmp(more, "local"));
    else return 98;
    return 0;
}
