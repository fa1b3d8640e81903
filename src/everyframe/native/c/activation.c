/* -- activations that convolutions apply ------------------------------------------------------------------------------------ */

enum { ACT_NONE, ACT_SIGMOID, ACT_SILU, ACT_TANH, ACT_HARDSWISH, ACT_RELU6 };

static vf activate(int32_t which, vf x) {
    switch (which) {
    case ACT_SIGMOID: return v_sigmoid(x);
    case ACT_SILU: return v_silu(x);
    case ACT_TANH: return v_tanh(x);
    case ACT_HARDSWISH: return v_hardswish(x);
    case ACT_RELU6: return v_relu6(x);
    default: return x;
    }
}
