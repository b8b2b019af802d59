/* Looks names up by getaddrinfo_a and prints how that ends. The name `silent` is never answered. */
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM};
static struct gaicb requests[4];
static struct gaicb *list[4];
static sem_t notified;
static pthread_t main_thread;

static void show(const char *what) {
    printf("%s", what);
    for (int i = 0; i < 4; i++) {
        if (!list[i]) continue;
        printf(" %d", gai_error(list[i]));
        if (gai_error(list[i]) == 0) {
            struct sockaddr_in *address = (void *)list[i]->ar_result->ai_addr;
            printf("=%s:%d", inet_ntoa(address->sin_addr), ntohs(address->sin_port));
        }
    }
    printf("\n");
}

static void prepare(const char *first, const char *second) {
    const char *names[4] = {first, NULL, second, "10.0.0.9"};
    memset(requests, 0, sizeof requests);
    for (int i = 0; i < 4; i++) {
        requests[i].ar_name = names[i], requests[i].ar_service = "80", requests[i].ar_request = &hints;
        list[i] = names[i] ? &requests[i] : NULL;
    }
}

static void all_done(void) {
    int code;
    while ((code = gai_suspend((const struct gaicb **)list, 4, NULL)) == 0) {}
    printf("suspend=%d\n", code);
}

static void called(union sigval value) {
    printf("thread=%d value=%d\n", !pthread_equal(pthread_self(), main_thread), value.sival_int);
    sem_post(&notified);
}

int main(void) {
    setvbuf(stdout, NULL, _IOLBF, 0);
    main_thread = pthread_self();
    sem_init(&notified, 0, 0);
    prepare("api", "nowhere");
    printf("wait=%d\n", getaddrinfo_a(GAI_WAIT, list, 4, NULL));
    show("waited");
    printf("cancel=%d\n", gai_cancel(&requests[0]));

    prepare("api", "nowhere");
    printf("nowait=%d\n", getaddrinfo_a(GAI_NOWAIT, list, 4, NULL));
    all_done();
    show("suspended");

    sigset_t set;
    siginfo_t info;
    sigemptyset(&set), sigaddset(&set, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    struct sigevent by_signal = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1, .sigev_value.sival_int = 42};
    prepare("api", "nowhere");
    printf("nowait=%d\n", getaddrinfo_a(GAI_NOWAIT, list, 4, &by_signal));
    sigwaitinfo(&set, &info);
    printf("signal=%d code=%d own=%d value=%d\n", info.si_signo == SIGUSR1, info.si_code, info.si_pid == getpid(), info.si_value.sival_int);
    show("signalled");

    struct sigevent by_thread = {.sigev_notify = SIGEV_THREAD, .sigev_notify_function = called, .sigev_value.sival_int = 43};
    prepare("api", "nowhere");
    printf("nowait=%d\n", getaddrinfo_a(GAI_NOWAIT, list, 4, &by_thread));
    sem_wait(&notified);
    show("called");

    struct timespec soon = {.tv_nsec = 20000000};
    prepare("silent", "api");
    printf("nowait=%d\n", getaddrinfo_a(GAI_NOWAIT, list, 4, NULL));
    printf("suspend=%d cancel=%d error=%d\n", gai_suspend((const struct gaicb **)list, 1, &soon), gai_cancel(&requests[0]), gai_error(&requests[0]));
    printf("mode=%d empty=%d\n", getaddrinfo_a(7, list, 4, NULL), getaddrinfo_a(GAI_WAIT, list, 0, NULL));
    _exit(0);
}
