/* -- element-wise operators --------------------------------------------------------------------------------------------------- */

/* lines: (block, row) pairs; a frame without borders is one line a block. in_line, in_block: of each input, in floats; both 0 for a
   constant of one vector a block. floats: values of a line. parameters: numbers that
   maps of one form do not share. */
typedef struct {
    int32_t blocks, rows, floats, out_block, out_row;
    const int32_t *in_block, *in_row;
    const float *parameters;
} map_layer;
