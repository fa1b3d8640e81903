/* -- threads ------------------------------------------------------------------------------------------------------------ */

/* One operator at work. Threads get the same job and different parts of it.
   numbers: values of counters that element-wise operators use
   more: how many frames a convolution makes beside this one; more_out, more_residual: theirs; `in` goes on with their sources
   first, rows: those of its output that a convolution makes, all if `rows` is 0 (see `strips.c`) */
typedef struct {
    const ef_stream *stream;
    const void *layer;
    float *out;
    const float *residual;
    const float *const *in;
    const float *numbers;
    int32_t more;
    float *const *more_out;
    const float *const *more_residual;
    int32_t first, rows;
} job;
typedef void (*kernel)(const job *, int part, int parts);

#ifndef EF_NO_THREADS
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

/* Between the jobs of a step, microseconds apart, workers look out for the next one; after EF_PATIENCE looks in vain they sleep, so
   that nothing is taken from the decoder between steps. A part belongs to whoever takes it first: where a worker does not get its
   processor, the caller does its part, too, and waits only for what was begun. */
enum { EF_PATIENCE = 4000, EF_LOOKS = 100, EF_PARTS = 2 * EF_MAX_THREADS };
#if defined(__x86_64__)
#define RELAX() __builtin_ia32_pause()
#else
#define RELAX() ((void)0)
#endif
typedef struct {
    pthread_mutex_t lock;
    pthread_cond_t work, done;
    pthread_t workers[EF_MAX_THREADS];
    _Atomic(kernel) run;
    _Atomic(const job *) job;
    atomic_uintptr_t ticket; /* EF_PARTS times the number of jobs so far, and how many parts of the last were taken */
    atomic_int left, sleeping, waiting, stop; /* left: parts that are not finished; waiting: is the caller? */
    int count;
} pool;

/* Between two looks: a moment, and now and then a turn for whoever else wants this processor, who may be the one that is waited for. */
static inline void pool_pause(int looks) {
    if (looks % EF_LOOKS == EF_LOOKS - 1) sched_yield();
    else RELAX();
}

/* Does a part that nobody has taken; 0 if there is none. A ticket that is still the same belongs to the job that was read. */
static int pool_part(pool *p) {
    uintptr_t ticket = p->ticket;
    for (;;) {
        const int part = (int)(ticket % EF_PARTS);
        if (part >= p->count) return 0;
        const kernel run = p->run;
        const job *const j = p->job;
        if (!atomic_compare_exchange_weak(&p->ticket, &ticket, ticket + 1)) continue;
        run(j, part, p->count);
        if (atomic_fetch_sub(&p->left, 1) == 1 && p->waiting) {
            pthread_mutex_lock(&p->lock);
            pthread_cond_signal(&p->done);
            pthread_mutex_unlock(&p->lock);
        }
        return 1;
    }
}

static void *work(void *argument) {
    pool *p = argument;
    uintptr_t seen = 0;
    for (;;) {
        for (int i = 0; i < EF_PATIENCE && p->ticket / EF_PARTS == seen && !p->stop; i++) pool_pause(i);
        if (p->ticket / EF_PARTS == seen && !p->stop) {
            pthread_mutex_lock(&p->lock);
            p->sleeping++;
            while (p->ticket / EF_PARTS == seen && !p->stop) pthread_cond_wait(&p->work, &p->lock);
            p->sleeping--;
            pthread_mutex_unlock(&p->lock);
        }
        if (p->stop) return NULL;
        seen = p->ticket / EF_PARTS;
        while (pool_part(p)) {}
    }
}

static void pool_wake(pool *p) {
    pthread_mutex_lock(&p->lock);
    pthread_cond_broadcast(&p->work);
    pthread_mutex_unlock(&p->lock);
}

static void pool_stop(pool *p) {
    if (p->count <= 1) return;
    p->stop = 1;
    pool_wake(p);
    for (int i = 1; i < p->count; i++) pthread_join(p->workers[i], NULL);
    pthread_cond_destroy(&p->work);
    pthread_cond_destroy(&p->done);
    pthread_mutex_destroy(&p->lock);
    p->count = 1;
}

static int pool_start(pool *p, int threads) {
    p->count = 1;
    p->ticket = 0;
    p->left = p->sleeping = p->waiting = p->stop = 0;
    if (threads <= 1) return 0;
    if (pthread_mutex_init(&p->lock, NULL) || pthread_cond_init(&p->work, NULL) || pthread_cond_init(&p->done, NULL)) return -1;
    for (int i = 1; i < threads; i++) {
        if (pthread_create(&p->workers[i], NULL, work, p)) {
            pool_stop(p);
            return -1;
        }
        p->count = i + 1;
    }
    return 0;
}

static void pool_run(pool *p, kernel run, const job *j) {
    if (p->count == 1) {
        run(j, 0, 1);
        return;
    }
    p->run = run;
    p->job = j;
    p->left = p->count;
    p->ticket = (p->ticket / EF_PARTS + 1) * EF_PARTS; /* from now on they are taken */
    if (p->sleeping) pool_wake(p);
    while (pool_part(p)) {}
    for (int i = 0; i < EF_PATIENCE && p->left; i++) pool_pause(i);
    if (!p->left) return;
    pthread_mutex_lock(&p->lock);
    p->waiting = 1;
    while (p->left) pthread_cond_wait(&p->done, &p->lock);
    p->waiting = 0;
    pthread_mutex_unlock(&p->lock);
}
#else
typedef struct {
    int count;
} pool;
static int pool_start(pool *p, int threads) {
    (void)threads;
    p->count = 1;
    return 0;
}
static void pool_stop(pool *p) { (void)p; }
static void pool_run(pool *p, kernel run, const job *j) {
    (void)p;
    run(j, 0, 1);
}
#endif

/* One stream: its pointers to states, its counters, its threads. The arena lies behind it. */
struct ef_stream {
    pool pool;
    const float *weights; /* the data of the blob */
    float *arena;
    int64_t counter[EF_COUNTERS + 1];
    float *slot[EF_SLOTS + 1];   /* where each state is now */
    float *fresh[EF_FRESH + 1];  /* where this step puts what becomes a state */
};

static inline const int32_t *ints(const ef_stream *s, uint32_t at) { return (const int32_t *)(s->weights + at); }

/* Part `part` of `parts` of 0 .. count - 1. */
static inline int32_t begin(int32_t count, int part, int parts) { return (int32_t)((int64_t)count * part / parts); }
