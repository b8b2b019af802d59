/* A library with one function. */
int answer(void) { return 42; }
