/* Processes, descriptors and threads. */
#include "conformance.h"

#include <spawn.h>
#include <sys/resource.h>

extern char **environ;

/* What a started copy of this program does with the socket that it was given: `conformance child VERB FD NAME=VALUE…`. */
int be_child(int argc, char **argv) {
    int fd = argc > 1 ? atoi(argv[1]) : -1;
    if (argc < 2)
        return 2;
    if (strcmp(argv[0], "names") == 0) {
        say_names(fd);
    } else if (strcmp(argv[0], "echo") == 0) {
        say_names(fd);
        put(fd, "from a child\n");
        say("%s", line(fd));
    } else if (strcmp(argv[0], "connect") == 0) {
        int own = tcp();
        TELL("connect", join(own, at("echo", 80)));
        say_names(own);
    } else if (strcmp(argv[0], "udp") == 0) {
        char text[16] = "";
        set_timeout(fd, SO_RCVTIMEO, PATIENCE);
        COUNT("send", send(fd, "hello", 5, 0));
        COUNT("recv", recv(fd, text, sizeof text, 0));
        say("%s", text);
    }
    return 0;
}

/* The arguments of a child, with the parameters that it needs. */
static char **child_arguments(const char *verb, int fd) {
    static char number_text[16], echo_text[64], ports_text[64];
    static char *arguments[] = {NULL, "child", NULL, number_text, echo_text, ports_text, NULL};
    arguments[0] = (char *)program;
    arguments[2] = (char *)verb;
    snprintf(number_text, sizeof number_text, "%d", fd);
    snprintf(echo_text, sizeof echo_text, "echo=%s", param("echo"));
    snprintf(ports_text, sizeof ports_text, "ports=%s", param("ports"));
    return arguments;
}

static void say_exec(const char *verb, int fd, char **environment) {
    pid_t child = fork();
    if (child == 0) {
        execve(program, child_arguments(verb, fd), environment);
        _exit(127);
    }
    say_child(child);
}

CASE(process, fork, "a child uses its parent's connection") {
    int fd = peer("echo");
    pid_t child = fork();
    if (child == 0) {
        put(fd, "from a child\n");
        say("%s", line(fd));
        say_names(fd);
        _exit(0);
    }
    say_child(child);
    put(fd, "from the parent\n");
    say("%s", line(fd));
}

CASE(process, fork_connect, "a child connects its parent's socket") {
    int fd = tcp();
    pid_t child = fork();
    if (child == 0) {
        TELL("connect", join(fd, at("echo", 80)));
        _exit(0);
    }
    say_child(child);
    say_names(fd);
}

CASE(process, exec, "an executed program uses the connection") { say_exec("echo", peer("echo"), environ); }

CASE(process, exec_clean, "a program executed without an environment") {
    char *none[] = {NULL};
    say_exec("echo", peer("echo"), none);
}

CASE(process, exec_clean_connect, "a program executed without an environment connects") {
    char *none[] = {NULL};
    say_exec("connect", 0, none);
}

CASE(process, exec_udp, "an executed program uses a connected UDP socket") {
    int fd = udp();
    TELL("connect", join(fd, at("peer", PEER_UDP)));
    say_exec("udp", fd, environ);
}

CASE(process, exec_bound, "an executed program connects after its parent has") {
    int fd = tcp();
    TELL("connect", join(fd, at("echo", 80)));
    say_exec("connect", fd, environ);
    say_names(fd);
}

CASE(process, cloexec, "a descriptor with FD_CLOEXEC is gone") {
    int fd = peer("echo");
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    say_exec("names", fd, environ);
}

CASE(process, vfork, "vfork and exec") {
    int fd = peer("echo");
    char **arguments = child_arguments("echo", fd);
    pid_t child = vfork();
    if (child == 0) {
        execve(program, arguments, environ);
        _exit(127);
    }
    say_child(child);
}

CASE(process, spawn, "posix_spawn") {
    int fd = peer("echo");
    pid_t child;
    int error = posix_spawn(&child, program, NULL, NULL, child_arguments("echo", fd), environ);
    say_child(child);
    say("posix_spawn %s", error_name(error));
}

CASE(process, system, "system") {
    char command[512];
    char **arguments = child_arguments("connect", 0);
    snprintf(command, sizeof command, "exec %s child connect 0 %s %s", program, arguments[4], arguments[5]);
    say("exit %d", WEXITSTATUS(system(command)));
}

CASE(process, popen, "popen") {
    char command[512], text[512] = "";
    char **arguments = child_arguments("connect", 0);
    snprintf(command, sizeof command, "exec %s child connect 0 %s %s", program, arguments[4], arguments[5]);
    FILE *output = popen(command, "r");
    if (output && fgets(text, sizeof text, output))
        say("%s", text + 2);
    TELL("pclose", pclose(output));
}

CASE(process, clean_shell, "a shell without an environment") {
    char command[512];
    char **arguments = child_arguments("connect", 0);
    snprintf(command, sizeof command, "env -i %s child connect 0 %s %s", program, arguments[4], arguments[5]);
    say("exit %d", WEXITSTATUS(system(command)));
}

CASE(process, duplicates, "dup, dup2, dup3 and F_DUPFD") {
    int fd = peer("echo"), copies[] = {dup(fd), dup2(fd, 60), dup3(fd, 61, O_CLOEXEC), fcntl(fd, F_DUPFD_CLOEXEC, 70)};
    close(fd);
    for (size_t i = 0; i < 4; i++)
        say("peer %s", peer_name(copies[i]));
    say("local %s", local_name(copies[3]));
    put(copies[0], "still open\n");
    say("%s", line(copies[3]));
}

static void pass(int over, int fd) {
    union {
        char room[CMSG_SPACE(sizeof(int))];
        struct cmsghdr header;
    } control = {.header = {.cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS}};
    struct iovec part = {"x", 1};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = &control,
                             .msg_controllen = sizeof control};
    memcpy(CMSG_DATA(&control.header), &fd, sizeof fd);
    if (sendmsg(over, &message, 0) != 1)
        say("sendmsg %s", error_name(errno));
}

static int receive_descriptor(int over) {
    union {
        char room[CMSG_SPACE(sizeof(int))];
        struct cmsghdr header;
    } control;
    char byte;
    struct iovec part = {&byte, 1};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = &control,
                             .msg_controllen = sizeof control};
    int fd = -1;
    if (recvmsg(over, &message, 0) == 1 && CMSG_FIRSTHDR(&message))
        memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof fd);
    return fd;
}

CASE(process, passed_connected, "a connected socket is passed to another process") {
    int pair[2];
    TELL("socketpair", socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
    pid_t child = fork();
    if (child == 0) {
        int fd = receive_descriptor(pair[1]);
        say_names(fd);
        put(fd, "passed\n");
        say("%s", line(fd));
        _exit(0);
    }
    int fd = peer("echo");
    pass(pair[0], fd);
    close(fd);
    say_child(child);
}

CASE(process, passed_unconnected, "a passed socket is connected by its receiver") {
    int pair[2], fd = tcp();
    TELL("socketpair", socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
    pid_t child = fork();
    if (child == 0) {
        TELL("connect", join(receive_descriptor(pair[1]), at("echo", 80)));
        _exit(0);
    }
    pass(pair[0], fd);
    say_child(child);
    say_names(fd);
}

static int count_descriptors(void) {
    int count = 0;
    for (int fd = 0; fd < 256; fd++)
        count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

CASE(process, no_more_descriptors, "no descriptor stays behind a connect or a look-up") {
    int before = count_descriptors();
    struct addrinfo *list;
    int fd = tcp();
    TELL("connect", join(fd, at("echo", 80)));
    say("%d more", count_descriptors() - before);
    TELL("getaddrinfo", getaddrinfo("echo-server", "80", NULL, &list));
    say("%d more", count_descriptors() - before);
    close(fd);
    fd = udp();
    send(fd, "x", 1, 0);
    join(fd, at("peer", PEER_UDP));
    say("%d more", count_descriptors() - before);
}

CASE(process, close_range, "closing everything, then connecting") {
    say("%s", close_range(3, ~0U, 0) == 0 ? "closed" : error_name(errno));
    int fd = tcp();
    TELL("connect", join(fd, at("echo", 80)));
    say_names(fd);
    say("lowest %d %d", fd, open("/dev/null", O_RDONLY));
}

CASE(process, descriptors_exhausted, "connecting with no free descriptor") {
    int fd = tcp();
    struct rlimit limit = {.rlim_cur = fd + 1, .rlim_max = fd + 1};
    TELL("limit", setrlimit(RLIMIT_NOFILE, &limit));
    COUNT("open", open("/dev/null", O_RDONLY));
    TELL("connect", join(fd, at("echo", 80)));
    say_names(fd);
}

CASE(process, descriptors_exhausted_refused, "a refusal with no free descriptor") {
    int fd = tcp();
    struct rlimit limit = {.rlim_cur = fd + 1, .rlim_max = fd + 1};
    TELL("limit", setrlimit(RLIMIT_NOFILE, &limit));
    TELL("connect", join(fd, at("peer", PEER_CLOSED)));
}

CASE(process, standard_closed, "without descriptors 0 to 2") {
    int out = fcntl(1, F_DUPFD, 10), outcomes[2], numbers[2];
    close(0);
    close(1);
    close(2);
    int fd = tcp();
    outcomes[0] = join(fd, at("echo", 80));
    outcomes[1] = join(tcp(), at("peer", PEER_CLOSED));
    numbers[0] = fd;
    numbers[1] = open("/dev/null", O_RDONLY);
    dup2(out, 1);
    say("connects %d %d", outcomes[0], outcomes[1]);
    say("descriptors %d %d", numbers[0], numbers[1]);
}

static void *connect_many(void *argument) {
    for (int i = 0; i < 10; i++) {
        int fd = tcp();
        *(int *)argument += join(fd, at("echo", 80)) == 0;
        close(fd);
    }
    return NULL;
}

CASE(process, threads, "eight threads make ten connections each") {
    pthread_t threads[8];
    int good[8] = {0}, sum = 0;
    for (int i = 0; i < 8; i++)
        pthread_create(&threads[i], NULL, connect_many, &good[i]);
    for (int i = 0; i < 8; i++) {
        pthread_join(threads[i], NULL);
        sum += good[i];
    }
    say("%d", sum);
}

static void *connect_once(void *argument) {
    int fd = *(int *)argument;
    return (void *)(intptr_t)(join(fd, at("echo", 80)) == 0 ? 0 : errno);
}

CASE(process, small_stack, "a thread with the smallest stack connects") {
    pthread_t thread;
    pthread_attr_t small;
    int fd = tcp();
    void *error;
    pthread_attr_init(&small);
    TELL("size", pthread_attr_setstacksize(&small, PTHREAD_STACK_MIN));
    TELL("create", pthread_create(&thread, &small, connect_once, &fd));
    pthread_join(thread, &error);
    say("connect %s", error_name((intptr_t)error));
}

static void *send_once(void *argument) {
    int fd = *(int *)argument;
    struct address to = at("peer", PEER_UDP), from = {.length = sizeof from.storage};
    char text[8];
    if (sendto(fd, "x", 1, 0, &to.any, to.length) != 1)
        return (void *)(intptr_t)errno;
    return (void *)(intptr_t)(recvfrom(fd, text, sizeof text, 0, &from.any, &from.length) == 1 ? 0 : errno);
}

CASE(process, small_stack_udp, "a thread with the smallest stack sends and receives a datagram") {
    pthread_t thread;
    pthread_attr_t small;
    int fd = udp();
    void *error;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, PTHREAD_STACK_MIN);
    TELL("create", pthread_create(&thread, &small, send_once, &fd));
    pthread_join(thread, &error);
    say("echo %s", error_name((intptr_t)error));
}

static void *look_up_once(void *argument) {
    struct addrinfo *list;
    *(int *)argument = getaddrinfo("echo-server", "80", NULL, &list);
    return NULL;
}

CASE(process, small_stack_name, "a thread with 64 KiB of stack looks a name up") {
    pthread_t thread;
    pthread_attr_t small;
    int code = -1;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 64 * 1024);
    TELL("create", pthread_create(&thread, &small, look_up_once, &code));
    pthread_join(thread, NULL);
    say("getaddrinfo %d", code);
}

CASE(process, daemon, "a daemon connects") {
    int ends[2];
    char text[256] = "";
    TELL("pipe", pipe(ends));
    pid_t child = fork();
    if (child == 0) {
        setsid();
        if (fork() != 0)
            _exit(0);
        int fd = tcp();
        int outcome = join(fd, at("echo", 80));
        dprintf(ends[1], "connect %s, peer %s", result(outcome), peer_name(fd));
        _exit(0);
    }
    say_child(child);
    struct pollfd wait = {.fd = ends[0], .events = POLLIN};
    poll(&wait, 1, PATIENCE);
    if (read(ends[0], text, sizeof text - 1) > 0)
        say("%s", text);
}
