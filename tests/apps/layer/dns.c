/* Asks name servers as its arguments say and prints what the resolver's functions return. */
#include <arpa/inet.h>
#include <arpa/nameser.h>
#include <dirent.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <pthread.h>
#include <resolv.h>
#include <sched.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define UNUSUAL 117
#define ROOM 70000
#define FILL 0xee

#if defined(__x86_64__)
#define OLDEST "GLIBC_2.2.5"
#else
#define OLDEST "GLIBC_2.17"
#endif

/* As programs call it that were built before glibc 2.34. */
int old_nquery(res_state state, const char *name, int class, int type, unsigned char *answer, int room);
__asm__(".symver old_nquery, __res_nquery@" OLDEST);

static int count_fds(void) {
    int count = 0;
    DIR *list = opendir("/proc/self/fd");
    while (readdir(list)) count++;
    closedir(list);
    return count;
}

static void *wait_in(void *name) {
    unsigned char answer[512];
    res_query(name, ns_c_in, ns_t_srv, answer, sizeof answer);
    return NULL;
}

/* Threads that wait for an answer end at once when they are cancelled, and leave nothing. */
static void cancels(char *name) {
    int before = count_fds(), wrong = 0;
    for (int i = 0; i < 100; i++) {
        pthread_t thread;
        void *result;
        pthread_create(&thread, NULL, wait_in, name);
        while (count_fds() == before) sched_yield();
        pthread_cancel(thread);
        pthread_join(thread, &result);
        wrong += result != PTHREAD_CANCELED;
    }
    printf("wrong=%d left=%d\n", wrong, count_fds() - before);
}

static void show(const char *what, int result, const struct __res_state *state) {
    char text[INET6_ADDRSTRLEN] = "";
    printf("%s=%d dirty=%d servers", what, result, errno != UNUSUAL);
    for (int i = 0; i < state->nscount; i++) {
        const struct sockaddr_in *v4 = &state->nsaddr_list[i];
        const struct sockaddr_in6 *v6 = state->_u._ext.nsaddrs[i];
        if (v4->sin_family) inet_ntop(AF_INET, &v4->sin_addr, text, sizeof text);
        else inet_ntop(AF_INET6, &v6->sin6_addr, text, sizeof text);
        printf(" %s:%d", text, ntohs(v4->sin_family ? v4->sin_port : v6->sin6_port));
    }
    printf(" search");
    for (int i = 0; state->dnsrch[i]; i++) printf(" %s", state->dnsrch[i]);
    printf(" ndots %d timeout %d attempts %d rotate %d\n", state->ndots, state->retrans, state->retry,
           (state->options & RES_ROTATE) != 0);
}

/* The states that are filled, before and after a look-up of `name`. */
static void settings(const char *name) {
    struct __res_state state = {0};
    struct addrinfo *list = NULL;
    unsigned char answer[512];
    errno = UNUSUAL;
    int result = res_ninit(&state);
    show("ninit", result, &state);
    res_nclose(&state);
    errno = UNUSUAL;
    show("init", res_init(), &_res);
    _res.options |= RES_ROTATE;
    errno = UNUSUAL;
    show("again", res_init(), &_res);
    if (getaddrinfo(name, NULL, NULL, &list) == 0) freeaddrinfo(list);
    errno = UNUSUAL;
    show("after", 0, &_res);
    res_query(name, ns_c_in, ns_t_a, answer, sizeof answer);
}

/* OP NAME [ROOM [DOMAIN]]: a question of class IN and type SRV. */
int main(int count, char **word) {
    static unsigned char answer[ROOM], question[600];
    static struct __res_state state;
    const char *op = word[1], *name = word[2], *domain = count > 4 ? word[4] : NULL;
    int room = count > 3 ? atoi(word[3]) : ROOM, n = -2;
    memset(answer, FILL, sizeof answer);
    int length = res_mkquery(ns_o_query, strlen(name) > 60 ? "x" : name, ns_c_in, ns_t_srv, NULL, 0, NULL, question, sizeof question);
    question[0] = 0x12, question[1] = 0x34;
    if (!strcmp(op, "layout")) {
        printf("%zu %zu ", offsetof(struct __res_state, nsaddr_list), offsetof(struct __res_state, dnsrch));
        printf("%zu %zu ", offsetof(struct __res_state, defdname), offsetof(struct __res_state, res_h_errno));
        printf("%zu %zu\n", offsetof(struct __res_state, _u._ext.nsaddrs), sizeof state);
        return 0;
    }
    if (!strcmp(op, "settings")) {
        settings(word[2]);
        return 0;
    }
    res_init();
    if (!strcmp(op, "cancels")) {
        cancels(word[2]);
        return 0;
    }
    h_errno = 0;
    errno = UNUSUAL;
    if (!strcmp(op, "query")) n = res_query(name, ns_c_in, ns_t_srv, answer, room);
    else if (!strcmp(op, "search")) n = res_search(name, ns_c_in, ns_t_srv, answer, room);
    else if (!strcmp(op, "querydomain")) n = res_querydomain(name, domain, ns_c_in, ns_t_srv, answer, room);
    else if (!strcmp(op, "send")) n = res_send(question, length, answer, room);
    else if (!strcmp(op, "long")) n = res_send(answer, 5000, answer, room);
    else if (!strcmp(op, "nquery")) n = res_nquery(&state, name, ns_c_in, ns_t_srv, answer, room);
    else if (!strcmp(op, "nsearch")) n = res_nsearch(&state, name, ns_c_in, ns_t_srv, answer, room);
    else if (!strcmp(op, "nquerydomain")) n = res_nquerydomain(&state, name, domain, ns_c_in, ns_t_srv, answer, room);
    else if (!strcmp(op, "nsend")) n = res_nsend(&state, question, length, answer, room);
    else if (!strcmp(op, "old")) n = old_nquery(&state, name, ns_c_in, ns_t_srv, answer, room);
    else return 98;
    int error = errno, problem = op[0] == 'n' || op[0] == 'o' ? state.res_h_errno : _res.res_h_errno;
    printf("n=%d", n);
    if (n >= 0) {
        int used = n < room ? n : room;
        printf(" id=%02x%02x cut=%d last=%02x", answer[0], answer[1], answer[2] >> 1 & 1, answer[used - 1]);
    }
    if (n >= 0 ? error != UNUSUAL : error != UNUSUAL && error != 0) printf(" errno=%d", error);
    printf(" h_errno=%d", h_errno);
    if (problem != h_errno) printf(" state=%d", problem);
    if (room < ROOM && answer[room] != FILL) printf(" beyond");
    printf("\n");
    return 0;
}
