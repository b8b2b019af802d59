/* Listens and says who comes: `listeners WHERE HOW [PORT]`; with a port it tells its own name, too. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

static void show(const char *what, struct sockaddr_storage *name, socklen_t length) {
    char host[INET6_ADDRSTRLEN] = "";
    int is_six = name->ss_family == AF_INET6;
    const struct sockaddr_in *four = (void *)name;
    const struct sockaddr_in6 *six = (void *)name;
    inet_ntop(name->ss_family, is_six ? (const void *)&six->sin6_addr : &four->sin_addr, host, sizeof host);
    printf(is_six ? "%s=[%s]:%d/%u\n" : "%s=%s:%d/%u\n", what, host, ntohs(is_six ? six->sin6_port : four->sin_port), length);
}

int main(int argc, char **argv) {
    int is_six = strchr(argv[1], ':') != NULL, fd = socket(is_six ? AF_INET6 : AF_INET, SOCK_STREAM, 0);
    struct sockaddr_storage name = {.ss_family = is_six ? AF_INET6 : AF_INET};
    struct sockaddr_in *four = (void *)&name;
    struct sockaddr_in6 *six = (void *)&name;
    inet_pton(name.ss_family, argv[1], is_six ? (void *)&six->sin6_addr : &four->sin_addr);
    *(is_six ? &six->sin6_port : &four->sin_port) = htons(argc > 3 ? atoi(argv[3]) : 0);
    if (bind(fd, (void *)&name, is_six ? sizeof *six : sizeof *four) != 0)
        return 1;
    socklen_t length = sizeof name;
    if (argc > 3 && getsockname(fd, (void *)&name, &length) == 0)
        show("own", &name, length);
    long listens = strcmp(argv[2], "syscall") == 0 ? syscall(SYS_listen, fd, 5) : listen(fd, 5);
    printf("listen=%ld\n", listens);
    if (strcmp(argv[2], "nobody") == 0)
        return 0;
    length = sizeof name;
    int client = strcmp(argv[2], "accept4") == 0   ? accept4(fd, (void *)&name, &length, SOCK_CLOEXEC)
                 : strcmp(argv[2], "syscall") == 0 ? syscall(SYS_accept, fd, &name, &length)
                 : strcmp(argv[2], "nameless") == 0 ? accept(fd, NULL, NULL)
                                                    : accept(fd, (void *)&name, &length);
    if (client < 0)
        return 1;
    if (strcmp(argv[2], "nameless") != 0)
        show("accept", &name, length);
    length = sizeof name;
    getpeername(client, (void *)&name, &length);
    show("peer", &name, length);
    length = sizeof name;
    getsockname(client, (void *)&name, &length);
    show("local", &name, length);
    return 0;
}
