/* Looks names and addresses up as its arguments say and prints the answers. */
#include <arpa/inet.h>
#include <errno.h>
#include <locale.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define UNUSUAL 117

static const char *text(int family, const void *ip) {
    static char out[INET6_ADDRSTRLEN];
    return inet_ntop(family, ip, out, sizeof out) ? out : "?";
}

static int family_of(const char *word) {
    return !strcmp(word, "v4") ? AF_INET : !strcmp(word, "v6") ? AF_INET6 : AF_UNSPEC;
}

/* gai NODE SERVICE FAMILY FLAGS: flags are letters, `-` for hints that are NULL. */
static void gai(char **word) {
    struct addrinfo hints = {.ai_family = family_of(word[3]), .ai_socktype = SOCK_STREAM}, *list = NULL;
    for (const char *flag = word[4]; *flag; flag++) {
        if (*flag == 'c') hints.ai_flags |= AI_CANONNAME;
        if (*flag == 'm') hints.ai_flags |= AI_V4MAPPED;
        if (*flag == 'a') hints.ai_flags |= AI_ALL;
        if (*flag == 'g') hints.ai_flags |= AI_ADDRCONFIG;
        if (*flag == 'n') hints.ai_flags |= AI_NUMERICHOST;
        if (*flag == 'x') hints.ai_flags |= 0x40000000;
        if (*flag == 'p') hints.ai_flags |= AI_PASSIVE;
        if (*flag == 's') hints.ai_flags |= AI_NUMERICSERV;
        if (*flag == 'i') hints.ai_flags |= AI_IDN;
        if (*flag == 'I') hints.ai_flags |= AI_CANONIDN;
        if (*flag == 'l') setlocale(LC_ALL, "C.UTF-8");
        if (*flag == 't') hints.ai_socktype = 0;
        if (*flag == 'T') hints.ai_protocol = IPPROTO_TCP, hints.ai_socktype = 0;
        if (*flag == 'd') hints.ai_socktype = SOCK_DGRAM;
        if (*flag == 'r') hints.ai_socktype = SOCK_RAW, hints.ai_protocol = IPPROTO_ICMP;
        if (*flag == 'w') hints.ai_socktype = 77;
        if (*flag == 'W') hints.ai_family = AF_UNIX;
    }
    const char *service = strcmp(word[2], "-") ? word[2] : NULL;
    errno = UNUSUAL;
    const char *node = strcmp(word[1], "-") ? word[1] : NULL;
    int code = getaddrinfo(node, service, word[4][0] == '-' ? NULL : &hints, &list);
    /* The C library itself changes errno when it reads files for an answer of its own. */
    if (code == 0 && errno != UNUSUAL && strcmp(word[1], "localhost")) printf("dirty ");
    printf("gai=%d", code);
    if (code == EAI_SYSTEM) printf(" errno=%d", errno);
    for (struct addrinfo *entry = list; entry; entry = entry->ai_next) {
        struct sockaddr_in *v4 = (void *)entry->ai_addr;
        struct sockaddr_in6 *v6 = (void *)entry->ai_addr;
        const void *ip = entry->ai_family == AF_INET ? (void *)&v4->sin_addr : (void *)&v6->sin6_addr;
        printf(" %s:%d/%d", text(entry->ai_family, ip), ntohs(v4->sin_port), entry->ai_socktype);
        if (hints.ai_protocol) printf("/%d", entry->ai_protocol);
        if (entry->ai_flags != (word[4][0] == '-' ? AI_V4MAPPED | AI_ADDRCONFIG : hints.ai_flags)) printf("!");
        if (entry->ai_family == AF_INET6 && v6->sin6_scope_id) printf("%%%u", v6->sin6_scope_id);
        if (entry->ai_canonname) printf("(%s)", entry->ai_canonname);
    }
    if (list) freeaddrinfo(list);
    printf("\n");
}

static void show(const struct hostent *host, int problem) {
    if (!host) {
        printf("h_errno=%d\n", problem);
        return;
    }
    printf("%s aliases=%d", host->h_name, host->h_aliases[0] != NULL);
    for (char **alias = host->h_aliases; *alias; alias++) printf("(%s)", *alias);
    printf(" length=%d", host->h_length);
    for (char **ip = host->h_addr_list; *ip; ip++) printf(" %s", text(host->h_addrtype, *ip));
    printf("\n");
}

static void show_r(int code, struct hostent *result, int problem) {
    printf("code=%d ", code);
    show(result, problem);
}

int main(int count, char **word) {
    const char *op = word[1];
    struct hostent place, *result = &place;
    static char buffer[16384];
    int problem = 0;
    unsigned char ip[16];
    int v6 = count > 2 && strchr(word[2], ':');
    inet_pton(v6 ? AF_INET6 : AF_INET, count > 2 ? word[2] : "", ip);
    if (!strcmp(op, "gai")) gai(word + 1);
    else if (!strcmp(op, "name")) result = gethostbyname(word[2]), show(result, h_errno);
    else if (!strcmp(op, "name2")) result = gethostbyname2(word[2], family_of(word[3])), show(result, h_errno);
    else if (!strcmp(op, "name_r")) {
        int code = gethostbyname_r(word[2], &place, buffer + 1, atoi(word[3]), &result, &problem);
        show_r(code, result, problem);
    } else if (!strcmp(op, "name2_r")) {
        int code = gethostbyname2_r(word[2], family_of(word[3]), &place, buffer, sizeof buffer, &result, &problem);
        show_r(code, result, problem);
    } else if (!strcmp(op, "addr")) result = gethostbyaddr(ip, v6 ? 16 : 4, v6 ? AF_INET6 : AF_INET), show(result, h_errno);
    else if (!strcmp(op, "addr_r")) {
        int family = v6 ? AF_INET6 : AF_INET;
        int code = gethostbyaddr_r(ip, v6 ? 16 : 4, family, &place, buffer, atoi(word[3]), &result, &problem);
        show_r(code, result, problem);
    } else if (!strcmp(op, "entries")) {
        sethostent(0);
        while ((result = gethostent())) show(result, h_errno);
        sethostent(0);
        int code, room = 1;
        while ((code = gethostent_r(&place, buffer, room, &result, &problem)) != ENOENT) {
            if (code == ERANGE) room = sizeof buffer;
            else show_r(code, result, problem);
        }
        printf("end=%d\n", result == NULL);
        endhostent();
    } else if (!strcmp(op, "info")) {
        struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(80)};
        struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = htons(80)};
        char host[256] = "", service[64] = "";
        memcpy(&v4.sin_addr, ip, 4);
        memcpy(&six.sin6_addr, ip, 16);
        int flags = atoi(word[3]), room = atoi(word[4]);
        int code = v6 ? getnameinfo((void *)&six, sizeof six, host, room, service, sizeof service, flags)
                      : getnameinfo((void *)&v4, sizeof v4, host, room, service, sizeof service, flags);
        printf("info=%d %s %s\n", code, host, service);
    } else return 98;
    return 0;
}
