/* Prints the host's name as each function says it, with rooms of the given sizes. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

int __gethostname_chk(char *, size_t, size_t);

int main(int count, char **word) {
    struct utsname names;
    if (uname(&names)) return 97;
    printf("uname=%s sysname=%s\n", names.nodename, names.sysname);
    for (int i = 1; i < count; i++) {
        char room[128];
        size_t size = atoi(word[i]);
        memset(room, '#', sizeof room);
        errno = 117;
        int result = i % 2 ? gethostname(room, size) : __gethostname_chk(room, size, sizeof room);
        int error = errno;
        printf("%zu: %d errno=%d ", size, result, error);
        for (size_t at = 0; at < size + 2 && at < sizeof room; at++) putchar(room[at] ? room[at] : '0');
        printf("\n");
    }
    return 0;
}
