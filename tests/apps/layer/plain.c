/* Says what a program that is not glibc's on this machine finds in its environment. */
#include <stdio.h>
#include <stdlib.h>

int main(void) {
    const char *preload = getenv("LD_PRELOAD");
    printf("preload=%s\n", preload ? preload : "-");
    return 0;
}
