/* Functions inside which the C library opens directories and files by itself, with the path that is the argument. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <glob.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static void globs(const char *pattern, int flags) {
    glob_t found = {0};
    int result = glob(pattern, flags, NULL, &found);
    printf("glob %d", result);
    for (size_t i = 0; !result && i < found.gl_pathc; i++) printf(" %s", found.gl_pathv[i]);
    printf("%s\n", found.gl_flags & GLOB_ALTDIRFUNC ? " changed" : "");
    if (!result) globfree(&found);
}

static int action;

static int visit(const char *path, const struct stat *about, int kind, struct FTW *level) {
    char here[4096] = "";
    if (action & FTW_CHDIR && !getcwd(here, sizeof here)) strcpy(here, "?");
    printf("%d %s base=%d level=%d %o %s\n", kind, path, level->base, level->level, about->st_mode & S_IFMT, here);
    return action & FTW_ACTIONRETVAL && strstr(path, "skip") ? FTW_SKIP_SUBTREE : 0;
}

static int visit_shortly(const char *path, const struct stat *about, int kind) {
    printf("%d %s %lld\n", kind, path, (long long)about->st_size);
    return strstr(path, "stop") ? 7 : 0;
}

static void made(const char *what, int result) {
    if (result < 0) printf("%s errno=%d\n", what, errno);
    else printf("%s made\n", what);
}

static void temporaries(const char *folder) {
    char path[4096];
#define TRY(what, suffix, call) \
    do { \
        snprintf(path, sizeof path, "%s/a-XXXXXX%s", folder, suffix); \
        made(what, call); \
        if (strstr(path, "XXXXXX")) printf("unchanged\n"); \
    } while (0)
    TRY("mkstemp", "", mkstemp(path));
    TRY("mkostemp", "", mkostemp(path, O_CLOEXEC));
    TRY("mkstemps", ".txt", mkstemps(path, 4));
    TRY("mkostemps", ".txt", mkostemps(path, 4, O_APPEND));
    TRY("mkdtemp", "", mkdtemp(path) ? 0 : -1);
    snprintf(path, sizeof path, "%s/a-XXXXX", folder);
    made("bad", mkstemp(path));
}

static void spawned(char **word) {
    pid_t child;
    int status = 0, error = posix_spawn(&child, word[0], NULL, NULL, word, environ);
    if (error) printf("posix_spawn %d\n", error);
    else waitpid(child, &status, 0), printf("status %d\n", WEXITSTATUS(status));
    error = posix_spawnp(&child, word[0], NULL, NULL, word, environ);
    if (error) printf("posix_spawnp %d\n", error);
    else waitpid(child, &status, 0), printf("status %d\n", WEXITSTATUS(status));
}

static void loads(const char *path) {
    void *library = dlopen(path, RTLD_NOW);
    int (*answer)(void) = library ? (int (*)(void))dlsym(library, "answer") : NULL;
    if (answer) printf("answer %d\n", answer());
    else printf("%s\n", dlerror());
}

int main(int count, char **word) {
    const char *op = count > 2 ? word[1] : "";
    setvbuf(stdout, NULL, _IONBF, 0);
    if (!strcmp(op, "glob")) globs(word[2], count > 3 ? atoi(word[3]) : 0);
    else if (!strcmp(op, "nftw")) action = atoi(word[3]), printf("nftw %d\n", nftw(word[2], visit, 5, action));
    else if (!strcmp(op, "ftw")) printf("ftw %d\n", ftw(word[2], visit_shortly, 5));
    else if (!strcmp(op, "temporaries")) temporaries(word[2]);
    else if (!strcmp(op, "execv")) execv(word[2], word + 2), printf("errno=%d\n", errno);
    else if (!strcmp(op, "execvp")) execvp(word[2], word + 2), printf("errno=%d\n", errno);
    else if (!strcmp(op, "spawn")) spawned(word + 2);
    else if (!strcmp(op, "dlopen")) loads(word[2]);
    else return 98;
    return 0;
}
