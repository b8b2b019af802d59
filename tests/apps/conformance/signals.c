/* Signals, and threads that are cancelled. */
#include "conformance.h"

#include <setjmp.h>

static volatile sig_atomic_t handled;
static int handler_fd, handler_outcome;
static sigjmp_buf jump;

static void count_signal(int signal) {
    (void)signal;
    handled++;
}

static void on(int signal, void (*handler)(int), int flags) {
    struct sigaction action = {.sa_handler = handler, .sa_flags = flags};
    sigaction(signal, &action, NULL);
}

static void alarm_in(int milliseconds, int then_each) {
    struct itimerval timer = {.it_value = {.tv_sec = milliseconds / 1000, .tv_usec = milliseconds % 1000 * 1000},
                              .it_interval = {.tv_usec = then_each * 1000}};
    setitimer(ITIMER_REAL, &timer, NULL);
}

CASE(signal, interrupts, "a signal without SA_RESTART ends a connect that waits") {
    int fd = tcp();
    on(SIGALRM, count_signal, 0);
    alarm_in(MOMENT, 0);
    TELL("connect", join(fd, at("hole", 80)));
    say("%d handled", handled);
    set_timeout(fd, SO_SNDTIMEO, MOMENT);
    TELL("again", join(fd, at("hole", 80)));
    say("error %s", pending(fd));
}

static void restart_once(int signal) {
    handled++;
    on(signal, count_signal, 0);
    alarm_in(MOMENT, 0);
}

CASE(signal, restarts, "a signal with SA_RESTART does not, the next one without does") {
    on(SIGALRM, restart_once, SA_RESTART);
    alarm_in(MOMENT, 0);
    TELL("connect", join(tcp(), at("hole", 80)));
    say("%d handled", handled);
}

CASE(signal, interrupts_timed, "a signal with SA_RESTART ends a connect that has a time limit") {
    int fd = tcp();
    set_timeout(fd, SO_SNDTIMEO, 4 * MOMENT);
    on(SIGALRM, count_signal, SA_RESTART);
    alarm_in(MOMENT, 0);
    TELL("connect", join(fd, at("hole", 80)));
    say("%d handled", handled);
}

CASE(signal, hail, "a connect under a hail of signals with SA_RESTART") {
    int good = 0;
    on(SIGALRM, count_signal, SA_RESTART);
    alarm_in(1, 1);
    for (int i = 0; i < 20; i++) {
        int fd = tcp();
        good += join(fd, at("echo", 80)) == 0;
        close(fd);
    }
    alarm_in(0, 0);
    say("%d of 20", good);
}

CASE(signal, hail_look_up, "getaddrinfo under a hail of signals with SA_RESTART") {
    int good = 0;
    struct addrinfo *list;
    on(SIGALRM, count_signal, SA_RESTART);
    alarm_in(2, 2);
    for (int i = 0; i < 20; i++)
        good += getaddrinfo("echo-server", "80", NULL, &list) == 0;
    alarm_in(0, 0);
    say("%d of 20", good);
}

static void connect_in_handler(int signal) {
    (void)signal;
    handler_outcome = join(handler_fd, at("echo", 80)) == 0 ? 0 : errno;
}

CASE(signal, inside_handler, "a signal handler connects") {
    handler_fd = tcp();
    on(SIGUSR1, connect_in_handler, 0);
    raise(SIGUSR1);
    say("connect %s", error_name(handler_outcome));
    say_names(handler_fd);
}

CASE(signal, inside_connect, "a handler connects while a connect waits") {
    int fd = tcp();
    handler_fd = tcp();
    on(SIGALRM, connect_in_handler, 0);
    alarm_in(MOMENT, 0);
    TELL("connect", join(fd, at("hole", 80)));
    say("inside %s", error_name(handler_outcome));
    say_names(handler_fd);
}

CASE(signal, alternate_stack, "a handler on an alternate stack of 16 KiB connects") {
    enum { SIZE = 16 * 1024 };
    char *place = mmap(NULL, 2 * SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    mprotect(place, SIZE, PROT_NONE);
    stack_t stack = {.ss_sp = place + SIZE, .ss_size = SIZE};
    TELL("sigaltstack", sigaltstack(&stack, NULL));
    handler_fd = tcp();
    on(SIGUSR1, connect_in_handler, SA_ONSTACK);
    raise(SIGUSR1);
    say("connect %s", error_name(handler_outcome));
}

static void jump_out(int signal) {
    siglongjmp(jump, signal);
}

CASE(signal, jump_out, "a handler jumps out of a connect that waits") {
    on(SIGALRM, jump_out, 0);
    for (int i = 0; i < 2; i++) {
        if (sigsetjmp(jump, 1) == 0) {
            alarm_in(MOMENT, 0);
            TELL("connect", join(tcp(), at("hole", 80)));
        } else {
            say("jumped");
        }
    }
    int fd = tcp();
    TELL("then", join(fd, at("echo", 80)));
    say_names(fd);
}

CASE(signal, killed_connecting, "SIGALRM ends a process that connects") {
    pid_t child = fork();
    if (child == 0) {
        alarm_in(MOMENT, 0);
        TELL("connect", join(tcp(), at("hole", 80)));
        _exit(1);
    }
    say_child(child);
}

CASE(signal, mask, "the signal mask stays") {
    sigset_t before, after;
    sigemptyset(&before);
    sigaddset(&before, SIGUSR2);
    sigprocmask(SIG_SETMASK, &before, NULL);
    join(tcp(), at("echo", 80));
    join(tcp(), at("peer", PEER_CLOSED));
    sigprocmask(SIG_SETMASK, NULL, &after);
    int different = 0;
    for (int one = 1; one < 32; one++)
        different += sigismember(&before, one) != sigismember(&after, one);
    say("%d different", different);
}

static void *wait_in_connect(void *argument) {
    join(*(int *)argument, at("hole", 80));
    return NULL;
}

CASE(signal, cancelled, "a thread is cancelled while it connects, and the process goes on") {
    pthread_t thread;
    int fd = tcp(), other = tcp();
    void *outcome = NULL;
    pthread_create(&thread, NULL, wait_in_connect, &fd);
    poll(NULL, 0, MOMENT);
    TELL("cancel", pthread_cancel(thread));
    TELL("join", pthread_join(thread, &outcome));
    say("%s", outcome == PTHREAD_CANCELED ? "cancelled" : "not cancelled");
    TELL("then", join(other, at("echo", 80)));
    say_names(other);
}

static void *wait_in_recv(void *argument) {
    char byte;
    recv(*(int *)argument, &byte, 1, 0);
    return NULL;
}

CASE(signal, cancelled_receiving, "a thread is cancelled while it receives datagrams") {
    pthread_t thread;
    int fd = udp();
    void *outcome = NULL;
    join(fd, at("peer", PEER_UDP));
    pthread_create(&thread, NULL, wait_in_recv, &fd);
    poll(NULL, 0, MOMENT);
    TELL("cancel", pthread_cancel(thread));
    TELL("join", pthread_join(thread, &outcome));
    say("%s", outcome == PTHREAD_CANCELED ? "cancelled" : "not cancelled");
    COUNT("send", send(fd, "x", 1, 0));
    say("events %s", events(fd, POLLIN, PATIENCE));
}

CASE(signal, interrupts_recv, "a signal ends recv and recvfrom that wait") {
    int fd = peer("hold"), datagrams = udp();
    char byte;
    on(SIGALRM, count_signal, 0);
    set_timeout(fd, SO_RCVTIMEO, 0);
    set_timeout(datagrams, SO_RCVTIMEO, 0);
    alarm_in(MOMENT, 0);
    COUNT("recv", recv(fd, &byte, 1, 0));
    join(datagrams, at("peer", PEER_UDP));
    alarm_in(MOMENT, 0);
    COUNT("recvfrom", recvfrom(datagrams, &byte, 1, 0, NULL, NULL));
}
