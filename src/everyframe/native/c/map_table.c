/* The result of a function of one byte: any function, exactly. */
typedef struct {
    map_layer map;
    const uint8_t *table;
} map_table_layer;

static void map_table(const job *j, int part, int parts) {
    const map_table_layer *t = j->layer;
    const map_layer *k = &t->map;
    const int32_t lines = k->blocks * k->rows;
    for (int32_t line = begin(lines, part, parts); line < begin(lines, part + 1, parts); line++) {
        const int64_t block = line / k->rows, row = line % k->rows;
        const uint8_t *in = (const uint8_t *)j->in[0] + block * k->in_block[0] + row * k->in_row[0];
        uint8_t *out = (uint8_t *)j->out + block * k->out_block + row * k->out_row;
        int32_t x = 0;
#ifdef __AVX512VBMI__
        const __m512i a = _mm512_loadu_si512(t->table), b = _mm512_loadu_si512(t->table + 64);
        const __m512i c = _mm512_loadu_si512(t->table + 128), d = _mm512_loadu_si512(t->table + 192);
        for (; x < k->floats; x += 64) {
            const int32_t left = k->floats - x;
            const __mmask64 which = left < 64 ? ((__mmask64)1 << left) - 1 : ~(__mmask64)0;
            const __m512i from = _mm512_maskz_loadu_epi8(which, in + x);
            const __m512i low = _mm512_permutex2var_epi8(a, from, b), high = _mm512_permutex2var_epi8(c, from, d);
            _mm512_mask_storeu_epi8(out + x, which, _mm512_mask_blend_epi8(_mm512_movepi8_mask(from), low, high));
        }
#elif defined(__ARM_NEON) && defined(__aarch64__)
        const uint8x16x4_t a = vld1q_u8_x4(t->table), b = vld1q_u8_x4(t->table + 64);
        const uint8x16x4_t c = vld1q_u8_x4(t->table + 128), d = vld1q_u8_x4(t->table + 192);
        for (; x + 16 <= k->floats; x += 16) {
            const uint8x16_t from = vld1q_u8(in + x), step = vdupq_n_u8(64);
            uint8x16_t i = from, made = vqtbl4q_u8(a, i);
            made = vqtbx4q_u8(made, b, i = vsubq_u8(i, step));
            made = vqtbx4q_u8(made, c, i = vsubq_u8(i, step));
            vst1q_u8(out + x, vqtbx4q_u8(made, d, vsubq_u8(i, step)));
        }
#endif
        for (; x < k->floats; x++) out[x] = t->table[in[x]];
    }
}
