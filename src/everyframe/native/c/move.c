/* Every value from any place. planes: per channel, source and offset there; places: what is added to it for each position, or -1 for
   the number 0. apart: there are no planes, and places has source and offset of every value. */
typedef struct {
    form out;
    uint32_t planes, places;
    int32_t apart;
    float zero; /* as it is stored */
} move_layer;

static void move(const job *j, int part, int parts) {
    const move_layer *k = j->layer;
    const int32_t lines = k->out.channels * k->out.height, width = k->out.width;
    for (int32_t line = begin(lines, part, parts); line < begin(lines, part + 1, parts); line++) {
        const int32_t c = line / k->out.height, y = line % k->out.height;
        const int32_t *plane = ints(j->stream, k->planes) + 2 * c, *place = ints(j->stream, k->places);
        place += k->apart ? 2 * (int64_t)line * width : (int64_t)y * width;
        for (int32_t x = 0; x < width; x++) {
            const int64_t to = value_at(&k->out, c, y, x);
            const int32_t at = k->apart ? place[2 * x + 1] : place[x];
            if (at < 0) put_value(j->out, to, k->zero, k->out.size);
            else if (k->apart) copy_values(j->out, to, 1, j->in[place[2 * x]], at, 1, 1, k->out.size);
            else copy_values(j->out, to, 1, j->in[plane[0]], (int64_t)plane[1] + at, 1, 1, k->out.size);
        }
    }
}
