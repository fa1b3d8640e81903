/* Every value from any place. planes: per channel, source and offset there; places: what is added to it for each position, or -1 for
   the number 0. apart: there are no planes, and places has source and offset of every value. lanes: values that lie side by side here
   and there and move together: a block of channels, or 1. */
typedef struct {
    form out;
    uint32_t planes, places;
    int32_t lanes, apart;
    float zero; /* as it is stored */
} move_layer;

static void move(const job *j, int part, int parts) {
    const move_layer *k = j->layer;
    const int32_t width = k->out.width, lanes = k->lanes, lines = (k->out.channels + lanes - 1) / lanes * k->out.height;
    for (int32_t line = begin(lines, part, parts); line < begin(lines, part + 1, parts); line++) {
        const int32_t c = line / k->out.height, y = line % k->out.height;
        const int32_t *plane = ints(j->stream, k->planes) + 2 * c, *place = ints(j->stream, k->places);
        place += k->apart ? 2 * (int64_t)line * width : (int64_t)y * width;
        int64_t to = value_at(&k->out, c * lanes, y, 0);
        for (int32_t x = 0; x < width; x++, to += k->out.block) {
            const int32_t from = k->apart ? place[2 * x] : plane[0];
            int64_t at = k->apart ? place[2 * x + 1] : place[x];
            if (at < 0) {
                for (int32_t i = 0; i < lanes; i++) put_value(j->out, to + i, k->zero, k->out.size);
                continue;
            }
            if (!k->apart) at += plane[1];
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
