// What the two files of the load program share.
#pragma once
#include <stdbool.h>
#include <stddef.h>

// Keeps the first reason of a command, and returns -1.
int failed(const char *what);
double now_us(void);
// Prints the p50 and the p99.
void print_percentiles(double *samples, int count);
// A connection with no delay and some patience; type is SOCK_STREAM or SOCK_DGRAM.
int connect_to(const char *host, int port, int type);
int send_all(int fd, const void *bytes, size_t length);

// The commands of http.c.
int measure_gets(const char *host, int port, int count, bool tagged, bool fresh);
int measure_transfer(const char *host, int port, long long bytes, bool tagged, bool up);
int measure_rate(const char *host, int port, int per_second, int seconds, bool tagged);
int tell_who(const char *host, int port, bool tagged);
