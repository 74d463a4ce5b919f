/* A small pool of worker threads that lives as long as the process. */
#ifndef CNN_EXT_THREADS_H
#define CNN_EXT_THREADS_H

#include <stddef.h>

enum { POOL_MAX_THREADS = 256 };

/* Works on one chunk. Chunks run in any order and on any thread, each exactly once. */
typedef void (*chunk_function)(void *context, ptrdiff_t chunk);

/* What other modules need of the pool: there is one in a process, in the module that links threads.c. */
typedef struct {
    /* Run all chunks [0, n_chunks) on at most so many threads, and return when they are done. The caller works too; if
     * the pool is busy with another caller's chunks, or there are no threads, it works alone. Return 0, or -1 if it was
     * interrupted: chunks that had begun are then done, others not. */
    int (*run)(chunk_function function, void *context, ptrdiff_t n_chunks, int most_threads);

    /* The same for chunks that change what is not to be left half changed: not interrupted. */
    void (*run_to_the_end)(chunk_function function, void *context, ptrdiff_t n_chunks, int most_threads);

    /* Which of the threads of one call this is, in [0, most_threads): for a chunk's function that wants memory of its
     * own. */
    int (*thread)(void);

    int (*get_threads)(void);
} pool_functions;

extern const pool_functions pool;

/* Have `run` call this function, in the calling thread, each 50 ms or a chunk later; -1 interrupts. */
void pool_ask_before_going_on(int (*function)(void));

/* How many threads may work on one call, the caller included: 1 to POOL_MAX_THREADS. Workers start when first needed.
 * Without threads of C11 and POSIX, as on Windows, all calls work alone. */
void pool_set_threads(int n_threads);

#endif
