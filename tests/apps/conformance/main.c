/* The conformance program: `conformance list`, `conformance serve [six=ADDRESS]`, or
 * `conformance run [name=value…] [case or family…]`, which runs each case in a process of its own. */
#include "conformance.h"

#include <grp.h>
#include <time.h>

extern const struct test __start_cases[], __stop_cases[];

enum { AT_ONCE = 12, LINE = 8192, LIMIT_SECONDS = 60 };

const char *program;
static char **parameters;
static int n_parameters;
static const char *current = "none";

const char *param(const char *name) {
    size_t length = strlen(name);
    for (int i = 0; i < n_parameters; i++)
        if (strncmp(parameters[i], name, length) == 0 && parameters[i][length] == '=')
            return parameters[i] + length + 1;
    return NULL;
}

const char *tag(void) {
    static char text[128];
    snprintf(text, sizeof text, "%s-%s", param("ports"), current);
    return text;
}

static bool wanted(const struct test *test, int argc, char **argv) {
    bool any = false;
    for (int i = 0; i < argc; i++) {
        if (strchr(argv[i], '='))
            continue;
        any = true;
        size_t length = strlen(argv[i]);
        if (strncmp(test->name, argv[i], length) == 0 && (test->name[length] == '\0' || test->name[length] == '.'))
            return true;
    }
    return !any && (strncmp(test->name, "long.", 5) != 0 || param("long"));
}

/* A started case, or one that has ended and waits for its turn to be printed. */
struct running {
    const struct test *test;
    pid_t pid;
    int output;
    time_t since;
    bool ended;
    size_t length;
    char text[LINE];
};

static void start(struct running *running, const struct test *test) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0)
        abort();
    *running = (struct running){.test = test, .output = ends[0], .since = time(NULL)};
    running->pid = fork();
    if (running->pid == 0) {
        setpgid(0, 0);
        close(ends[0]);
        dup2(ends[1], STDOUT_FILENO);
        close(ends[1]);
        current = test->name;
        test->run();
        _exit(0);
    }
    close(ends[1]);
}

static void add(struct running *running, const char *text) {
    running->length += snprintf(running->text + running->length, LINE - running->length, "%s%s",
                                running->length ? "; " : "", text);
}

/* Reads what there is; whether that was the end. */
static bool pump(struct running *running) {
    ssize_t got = read(running->output, running->text + running->length, LINE - 1 - running->length);
    if (got > 0)
        running->length += got;
    return got <= 0;
}

static void finish(struct running *running) {
    int status = 0;
    char text[64];
    if (time(NULL) - running->since >= LIMIT_SECONDS)
        add(running, "hung");
    /* Also whatever the case has started and left behind. */
    kill(-running->pid, SIGKILL);
    waitpid(running->pid, &status, 0);
    running->text[running->length] = '\0';
    if (WIFSIGNALED(status) && WTERMSIG(status) != SIGKILL) {
        snprintf(text, sizeof text, "crashed SIG%s", sigabbrev_np(WTERMSIG(status)));
        add(running, text);
    }
    for (char *c = running->text; *c; c++)
        if (*c == '\n')
            *c = ' ';
    close(running->output);
    running->ended = true;
}

/* Runs up to AT_ONCE cases at a time and prints their lines in the order of the table. */
static void run_all(int argc, char **argv) {
    size_t total = __stop_cases - __start_cases, started = 0, printed = 0;
    struct running *all = calloc(total, sizeof *all);
    for (;;) {
        struct pollfd wait[AT_ONCE];
        struct running *active[AT_ONCE];
        size_t count = 0;
        for (size_t i = printed; i < started; i++)
            if (all[i].test && !all[i].ended)
                active[count++] = &all[i];
        for (; started < total && count < AT_ONCE; started++) {
            if (!wanted(&__start_cases[started], argc, argv))
                continue;
            start(&all[started], &__start_cases[started]);
            active[count++] = &all[started];
        }
        if (count == 0)
            break;
        for (size_t i = 0; i < count; i++)
            wait[i] = (struct pollfd){.fd = active[i]->output, .events = POLLIN};
        poll(wait, count, 500);
        for (size_t i = 0; i < count; i++) {
            bool is_long = strncmp(active[i]->test->name, "long.", 5) == 0;
            bool late = !is_long && time(NULL) - active[i]->since >= LIMIT_SECONDS;
            if ((wait[i].revents && pump(active[i])) || late)
                finish(active[i]);
        }
        for (; printed < started && (!all[printed].test || all[printed].ended); printed++) {
            if (!all[printed].test)
                continue;
            const char *text = all[printed].text;
            printf("%s: %s\n", all[printed].test->name, strncmp(text, "; ", 2) == 0 ? text + 2 : text);
            fflush(stdout);
        }
    }
}

/* Root in the pod is an ordinary user here, as on the other side. */
static void become_nobody(char **argv) {
    enum { NOBODY = 65534 };
    if (geteuid() != 0)
        return;
    if (setgroups(0, NULL) != 0 || setgid(NOBODY) != 0 || setuid(NOBODY) != 0)
        abort();
    execv(argv[0], argv);
    abort();
}

int main(int argc, char **argv) {
    program = argv[0];
    parameters = argv + 2;
    n_parameters = argc - 2;
    if (argc < 2)
        return 2;
    if (strcmp(argv[1], "child") == 0)
        return be_child(argc - 2, argv + 2);
    if (strcmp(argv[1], "list") == 0) {
        for (const struct test *test = __start_cases; test < __stop_cases; test++)
            printf("%s: %s\n", test->name, test->what);
        return 0;
    }
    become_nobody(argv);
    if (strcmp(argv[1], "serve") == 0)
        return serve();
    if (strcmp(argv[1], "run") != 0)
        return 2;
    run_all(argc - 2, argv + 2);
    return 0;
}
