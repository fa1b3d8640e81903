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
#include <stdatomic.h>

/* Between the jobs of a step, microseconds apart, workers look out for the next one; after EF_PATIENCE looks in vain they sleep, so
   that nothing is taken from the decoder between steps. */
enum { EF_PATIENCE = 4000 };
#if defined(__x86_64__)
#define RELAX() __builtin_ia32_pause()
#else
#define RELAX() ((void)0)
#endif
typedef struct {
    pthread_mutex_t lock;
    pthread_cond_t work, done;
    pthread_t workers[EF_MAX_THREADS];
    kernel run;
    const job *job;
    atomic_uint turn; /* counts jobs, so that a worker knows a new one */
    atomic_int busy, stop;
    int count;
} pool;

struct worker {
    pool *pool;
    int part;
};

static void *work(void *argument) {
    struct worker me = *(struct worker *)argument;
    pool *p = me.pool;
    unsigned seen = 0;
    pthread_mutex_lock(&p->lock);
    p->busy--; /* `me` has been copied: the caller may go on */
    pthread_cond_signal(&p->done);
    pthread_mutex_unlock(&p->lock);
    for (;;) {
        for (int i = 0; i < EF_PATIENCE && p->turn == seen && !p->stop; i++) RELAX();
        if (p->turn == seen && !p->stop) {
            pthread_mutex_lock(&p->lock);
            while (p->turn == seen && !p->stop) pthread_cond_wait(&p->work, &p->lock);
            pthread_mutex_unlock(&p->lock);
        }
        if (p->stop) return NULL;
        seen = p->turn;
        p->run(p->job, me.part, p->count);
        if (atomic_fetch_sub(&p->busy, 1) == 1) {
            pthread_mutex_lock(&p->lock);
            pthread_cond_signal(&p->done);
            pthread_mutex_unlock(&p->lock);
        }
    }
}

static void pool_stop(pool *p) {
    if (p->count <= 1) return;
    pthread_mutex_lock(&p->lock);
    p->stop = 1;
    pthread_cond_broadcast(&p->work);
    pthread_mutex_unlock(&p->lock);
    for (int i = 1; i < p->count; i++) pthread_join(p->workers[i], NULL);
    pthread_cond_destroy(&p->work);
    pthread_cond_destroy(&p->done);
    pthread_mutex_destroy(&p->lock);
    p->count = 1;
}

static int pool_start(pool *p, int threads) {
    p->count = 1;
    p->turn = 0;
    p->busy = p->stop = 0;
    if (threads <= 1) return 0;
    if (pthread_mutex_init(&p->lock, NULL) || pthread_cond_init(&p->work, NULL) || pthread_cond_init(&p->done, NULL)) return -1;
    for (int i = 1; i < threads; i++) {
        struct worker me = {p, i};
        p->busy = 1;
        if (pthread_create(&p->workers[i], NULL, work, &me)) {
            pool_stop(p);
            return -1;
        }
        pthread_mutex_lock(&p->lock);
        while (p->busy) pthread_cond_wait(&p->done, &p->lock);
        pthread_mutex_unlock(&p->lock);
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
    p->busy = p->count - 1;
    pthread_mutex_lock(&p->lock);
    p->turn++;
    pthread_cond_broadcast(&p->work);
    pthread_mutex_unlock(&p->lock);
    run(j, 0, p->count);
    for (int i = 0; i < EF_PATIENCE && p->busy; i++) RELAX();
    if (!p->busy) return;
    pthread_mutex_lock(&p->lock);
    while (p->busy) pthread_cond_wait(&p->done, &p->lock);
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
