/* The worker pool: each thread has its share of the chunks, and helps the others when it is through; waiting workers
 * spin for a fraction of a millisecond, then sleep.
 *
 * The shares are stretches, the same at each call: what a thread has computed of some images is still in its cache when
 * the next call works on them. A call opens a job, wakes the workers, takes chunks itself, and closes the job when none
 * is left: the share of a worker that does not come in time is taken by the others. A worker that comes late finds the
 * job closed and goes back to waiting, so a call never waits for a thread that the system has not scheduled yet.
 * `inside` counts the workers that may be looking at the job: a worker adds itself before it looks whether the job is
 * open, the caller closes it before it looks at the count. With sequentially consistent atomics one of the two sees the
 * other.
 *
 * After a fork the child has none of the workers: it forgets them and starts its own when it needs them.
 *
 * A call that takes long asks now and then, between two chunks of the calling thread, whether it should be given up.
 */
#define _GNU_SOURCE /* for signal masks and the coarse clock, under -std=c11 */

#include "threads.h"

#include <stdint.h>
#include <time.h>
#if defined(_WIN32)
#include <windows.h>
#endif

enum { ASK_MS = 50 };

static int (*interrupted)(void);

void pool_ask_before_going_on(int (*function)(void))
{
    interrupted = function;
}

static int64_t milliseconds(void)
{
#if defined(_WIN32)
    return (int64_t)GetTickCount64();
#else
    struct timespec now;
#if defined(CLOCK_MONOTONIC_COARSE)
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now); /* a few nanoseconds a call */
#else
    clock_gettime(CLOCK_MONOTONIC, &now);
#endif
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
#endif
}

/* Whether the call should be given up. `asked` is when it began, or was asked last. */
static int should_stop(int64_t *asked)
{
    const int64_t now = milliseconds();
    if (now - *asked < ASK_MS)
        return 0;
    *asked = now;
    return interrupted != NULL && interrupted();
}

static int run_alone(chunk_function function, void *context, ptrdiff_t n_chunks, int to_the_end)
{
    int64_t asked = milliseconds();
    for (ptrdiff_t chunk = 0; chunk < n_chunks; chunk++) {
        function(context, chunk);
        if (!to_the_end && should_stop(&asked))
            return -1;
    }
    return 0;
}

#if defined(_WIN32) || defined(__STDC_NO_ATOMICS__)

static int wanted_threads = 1;

static int run(chunk_function function, void *context, ptrdiff_t n_chunks, int most_threads, int to_the_end)
{
    (void)most_threads;
    return run_alone(function, context, n_chunks, to_the_end);
}

static int thread_of_call(void)
{
    return 0;
}

void pool_set_threads(int n_threads)
{
    wanted_threads = n_threads;
}

static int get_threads(void)
{
    return wanted_threads;
}

#else

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>

enum { SPIN_NS = 50000, YIELD_NS = 300000, SPINS_BEFORE_YIELD = 1000, SPINS_PER_LOOK = 16 };

static struct {
    chunk_function function;
    void *context;
    ptrdiff_t n_chunks;
    int n_threads;
    atomic_bool open;
    atomic_int inside;
} job;

static struct {
    _Alignas(64) atomic_ptrdiff_t next; /* a cache line each */
} shares[POOL_MAX_THREADS];

static atomic_int wanted_threads = 1;
static atomic_flag busy = ATOMIC_FLAG_INIT; /* held by the one caller that uses the pool */
static atomic_uint call_number;             /* what waiting workers watch */
static atomic_bool stopping;
static atomic_int n_sleeping;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t called = PTHREAD_COND_INITIALIZER;

static struct worker {
    pthread_t thread;
    unsigned first_call;
} workers[POOL_MAX_THREADS]; /* these three belong to whoever holds `busy` */
static int n_workers;
static int watching_forks;

static _Thread_local int this_thread; /* 0 for every caller, from 1 for the workers */

static void pause_briefly(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ __volatile__("yield");
#endif
}

static ptrdiff_t first_chunk(int share)
{
    return job.n_chunks * share / job.n_threads;
}

static void take_all_chunks(void)
{
    for (int share = 0; share < job.n_threads; share++)
        atomic_store_explicit(&shares[share].next, first_chunk(share + 1), memory_order_relaxed);
}

/* `asked` is NULL where nobody is to be asked. Return -1 if the call was given up. */
static int work_on_job(int64_t *asked)
{
    for (int i = 0; i < job.n_threads; i++) {
        const int share = (this_thread + i) % job.n_threads;
        const ptrdiff_t end = first_chunk(share + 1);
        ptrdiff_t chunk;
        while ((chunk = atomic_fetch_add_explicit(&shares[share].next, 1, memory_order_relaxed)) < end) {
            job.function(job.context, chunk);
            if (asked != NULL && should_stop(asked)) {
                take_all_chunks();
                return -1;
            }
        }
    }
    return 0;
}

static int64_t nanoseconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* Return when the call number is no longer `seen`. In a training step the next call is near, so a worker spins first,
 * then offers its processor to whoever else wants it, and sleeps only after that: to be woken takes longer than most
 * calls. */
static unsigned wait_for_call(unsigned seen)
{
    const int64_t began = nanoseconds();
    for (int64_t waited = 0; waited < YIELD_NS; waited = nanoseconds() - began)
        for (int spin = 0; spin < SPINS_PER_LOOK; spin++) {
            unsigned now = atomic_load(&call_number);
            if (now != seen)
                return now;
            if (waited < SPIN_NS)
                pause_briefly();
            else
                sched_yield();
        }
    pthread_mutex_lock(&mutex);
    atomic_fetch_add(&n_sleeping, 1);
    while (atomic_load(&call_number) == seen)
        pthread_cond_wait(&called, &mutex);
    atomic_fetch_sub(&n_sleeping, 1);
    pthread_mutex_unlock(&mutex);
    return atomic_load(&call_number);
}

static void *worker_main(void *worker)
{
    unsigned seen = ((struct worker *)worker)->first_call;
    this_thread = 1 + (int)((struct worker *)worker - workers);
    for (;;) {
        seen = wait_for_call(seen);
        if (atomic_load(&stopping))
            return NULL;
        atomic_fetch_add(&job.inside, 1);
        if (atomic_load(&job.open) && this_thread < job.n_threads)
            work_on_job(NULL);
        atomic_fetch_sub(&job.inside, 1);
    }
}

static void call_workers(void)
{
    atomic_fetch_add(&call_number, 1);
    if (atomic_load(&n_sleeping) > 0) {
        pthread_mutex_lock(&mutex);
        pthread_cond_broadcast(&called);
        pthread_mutex_unlock(&mutex);
    }
}

static void forget_workers(void)
{
    static const pthread_mutex_t new_mutex = PTHREAD_MUTEX_INITIALIZER;
    static const pthread_cond_t new_cond = PTHREAD_COND_INITIALIZER;
    mutex = new_mutex;
    called = new_cond;
    n_workers = 0;
    atomic_store(&n_sleeping, 0);
    atomic_store(&job.inside, 0);
    atomic_store(&job.open, 0);
    atomic_store(&stopping, 0);
    atomic_flag_clear(&busy);
}

/* Have n_wanted workers, or as many as the system gives. */
static void start_workers(int n_wanted)
{
    sigset_t most, before;
    if (!watching_forks) {
        if (pthread_atfork(NULL, NULL, forget_workers) != 0)
            return;
        watching_forks = 1;
    }
    /* Signals are for the threads of the program, but those that a thread raises by a fault of its own. */
    static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP};
    sigfillset(&most);
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++)
        sigdelset(&most, faults[i]);
    pthread_sigmask(SIG_SETMASK, &most, &before);
    while (n_workers < n_wanted) {
        struct worker *worker = &workers[n_workers];
        worker->first_call = atomic_load(&call_number);
        if (pthread_create(&worker->thread, NULL, worker_main, worker) != 0)
            break;
        n_workers++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

static void stop_workers(void)
{
    atomic_store(&stopping, 1);
    call_workers();
    while (n_workers > 0)
        pthread_join(workers[--n_workers].thread, NULL);
    atomic_store(&stopping, 0);
}

static int thread_of_call(void)
{
    return this_thread;
}

static int run(chunk_function function, void *context, ptrdiff_t n_chunks, int most_threads, int to_the_end)
{
    int n_threads = atomic_load(&wanted_threads);
    if (n_threads > most_threads)
        n_threads = most_threads;
    if (n_threads > n_chunks)
        n_threads = (int)n_chunks;
    if (n_chunks <= 1 || n_threads <= 1 || atomic_flag_test_and_set(&busy))
        return run_alone(function, context, n_chunks, to_the_end);
    int64_t asked = milliseconds();
    if (n_workers < n_threads - 1)
        start_workers(n_threads - 1);
    job.function = function;
    job.context = context;
    job.n_chunks = n_chunks;
    job.n_threads = n_threads;
    for (int share = 0; share < n_threads; share++)
        atomic_store_explicit(&shares[share].next, first_chunk(share), memory_order_relaxed);
    atomic_store(&job.open, 1);
    call_workers();
    const int result = work_on_job(to_the_end ? NULL : &asked);
    atomic_store(&job.open, 0);
    for (int spin = 0; atomic_load(&job.inside) > 0; spin++) {
        if (spin < SPINS_BEFORE_YIELD)
            pause_briefly();
        else
            sched_yield();
    }
    atomic_flag_clear(&busy);
    return result;
}

void pool_set_threads(int n_threads)
{
    atomic_store(&wanted_threads, n_threads);
    /* In the middle of a call, workers that are too many stay, without work. To wait for its end would be for ever if
     * this is the handler of a signal inside of it. */
    if (atomic_flag_test_and_set(&busy))
        return;
    if (n_workers > n_threads - 1)
        stop_workers();
    atomic_flag_clear(&busy);
}

static int get_threads(void)
{
    return atomic_load(&wanted_threads);
}

#endif

static int run_or_stop(chunk_function function, void *context, ptrdiff_t n_chunks, int most_threads)
{
    return run(function, context, n_chunks, most_threads, 0);
}

static void run_to_the_end(chunk_function function, void *context, ptrdiff_t n_chunks, int most_threads)
{
    run(function, context, n_chunks, most_threads, 1);
}

const pool_functions pool = {run_or_stop, run_to_the_end, thread_of_call, get_threads};
