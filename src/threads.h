/* A small pool of worker threads that lives as long as the process. */
#ifndef CNN_EXT_THREADS_H
#define CNN_EXT_THREADS_H

#include <stddef.h>

enum { POOL_MAX_THREADS = 256 };

/* Works on one chunk. Chunks run in any order and on any thread, each exactly once. */
typedef void (*chunk_function)(void *context, ptrdiff_t chunk);

/* Run all chunks [0, n_chunks) on at most so many threads, and return when they are done. The caller works too; if the
 * pool is busy with another caller's chunks, or there are no threads, it works alone. Return 0, or -1 if it was
 * interrupted: chunks that had begun are then done, others not. */
int pool_run(chunk_function function, void *context, ptrdiff_t n_chunks, int most_threads);

/* The same for chunks that change what is not to be left half changed: not interrupted. */
void pool_run_to_the_end(chunk_function function, void *context, ptrdiff_t n_chunks, int most_threads);

/* Have `pool_run` call this function, in the calling thread, each 50 ms or a chunk later; -1 interrupts. */
void pool_ask_before_going_on(int (*function)(void));

/* Which of the threads of one call this is, in [0, most_threads): for a chunk's function that wants memory of its own.
 * */
int pool_thread(void);

/* How many threads may work on one call, the caller included: 1 to POOL_MAX_THREADS. Workers start when first needed.
 * */
void pool_set_threads(int n_threads);
int pool_get_threads(void);

/* What other modules need of the pool: there is one in a process, in the module that links threads.c. */
typedef struct {
    int (*run)(chunk_function function, void *context, ptrdiff_t n_chunks, int most_threads);
    void (*run_to_the_end)(chunk_function function, void *context, ptrdiff_t n_chunks, int most_threads);
    int (*thread)(void);
    int (*get_threads)(void);
} pool_functions;

extern const pool_functions pool;

#endif
