/* Every value from any place. heads: per channel, source and offset there. how: to that is added, of MOVE_ROWS, what `places` has for
   the row and `columns` for the column; of MOVE_ALIKE, what `places` has for the position, -1 for the number 0; of MOVE_APART there are
   no heads, and places has source and offset of every value. rows, width: of a channel; lanes: values that lie side by side here and
   there and move together: a block of channels, or 1. flat: the output is one value after another. */
enum { MOVE_ROWS, MOVE_ALIKE, MOVE_APART };
typedef struct {
    form out;
    int32_t rows, width, lanes, flat, how;
    uint32_t heads, places, columns;
    float zero; /* as it is stored */
} move_layer;

static void move(const job *j, int part, int parts) {
    const move_layer *k = j->layer;
    const int32_t width = k->width, lanes = k->lanes, step = k->flat ? 1 : k->out.block;
    const int32_t lines = (k->flat ? k->out.channels / width : (k->out.channels + lanes - 1) / lanes * k->rows);
    const int32_t *columns = ints(j->stream, k->columns);
    for (int32_t line = begin(lines, part, parts); line < begin(lines, part + 1, parts); line++) {
        const int32_t c = line / k->rows, y = line % k->rows;
        const int32_t *head = ints(j->stream, k->heads) + 2 * c, *place = ints(j->stream, k->places);
        int64_t to = k->flat ? (int64_t)line * width : value_at(&k->out, c * lanes, y, 0);
        if (k->how == MOVE_ROWS && lanes == 1 && k->out.size == 4) {
            const float *in = j->in[head[0]] + head[1] + place[y];
            float *out = j->out + to;
            if (step == 1)
                for (int32_t x = 0; x < width; x++) out[x] = in[columns[x]];
            else
                for (int32_t x = 0; x < width; x++) out[(int64_t)x * step] = in[columns[x]];
            continue;
        }
        place += k->how == MOVE_APART ? 2 * (int64_t)line * width : k->how == MOVE_ALIKE ? (int64_t)y * width : y;
        for (int32_t x = 0; x < width; x++, to += step) {
            const int32_t from = k->how == MOVE_APART ? place[2 * x] : head[0];
            int64_t at = k->how == MOVE_APART ? place[2 * x + 1] : k->how == MOVE_ALIKE ? place[x] : place[0] + columns[x];
            if (k->how != MOVE_ROWS && at < 0) {
                for (int32_t i = 0; i < lanes; i++) put_value(j->out, to + i, k->zero, k->out.size);
                continue;
            }
            if (k->how != MOVE_APART) at += head[1];
#if VL > 1
            if (lanes == VL && k->out.size == 4) {
                store(j->out + to, load(j->in[from] + at));
                continue;
            }
#endif
            copy_values(j->out, to, 1, j->in[from], at, 1, lanes, k->out.size);
        }
    }
}
